// Grid readers: real files, and every way a .map, an .asc or an array can be wrong, with the line that the message names.
#include <cmath>
#include <limits>
#include <numeric>

#include "grid_file.h"
#include "support.h"

namespace {

using perturb::cli::array;
using perturb::cli::grid;
using perturb::cli::grid_from_array;
using perturb::cli::grid_kind;
using perturb::cli::read_esri_ascii;
using perturb::cli::read_movingai_map;

int64_t passable_cells(const grid& map) { return std::accumulate(map.passable.begin(), map.passable.end(), int64_t{0}); }

TEST(movingai, real_maps) {
  struct expectation {
    const char* name;
    int64_t height, width, passable;
  };
  // Counted with `tail -n +5 FILE | tr -cd .GS | wc -c`.
  for (const expectation& e : {expectation{"maze-32-32-2.map", 32, 32, 666},
                               {"random-32-32-20.map", 32, 32, 819},
                               {"room-64-64-16.map", 64, 64, 3646},
                               {"den312d.map", 81, 65, 2445},
                               {"Berlin_1_256.map", 256, 256, 47540}}) {
    const grid map = read_movingai_map(data_text(e.name), e.name);
    EXPECT_EQ(map.height, e.height) << e.name;
    EXPECT_EQ(map.width, e.width) << e.name;
    EXPECT_EQ(passable_cells(map), e.passable) << e.name;
    EXPECT_EQ(map.kind, grid_kind::movingai);
    EXPECT_EQ(map.cost.size(), static_cast<size_t>(map.cells()));
  }
}

TEST(movingai, every_character) {
  const grid map = read_movingai_map("type octile\nheight 2\nwidth 4\nmap\n.GS@\nOTW.\n", "m");
  EXPECT_EQ(map.passable, (std::vector<uint8_t>{1, 1, 1, 0, 0, 0, 0, 1}));
  EXPECT_EQ(map.cost, std::vector<float>(8, 1.0f));
}

TEST(movingai, order_of_header_line_ends_and_blank_tail) {
  const grid map = read_movingai_map("width 2\r\nheight 1\r\ntype tile\r\nmap\r\n.@\r\n\r\n  \r\n", "m");
  EXPECT_EQ(map.height, 1);
  EXPECT_EQ(map.width, 2);
  EXPECT_EQ(read_movingai_map("type octile\nheight 1\nwidth 2\nmap\n.@", "m").passable, (std::vector<uint8_t>{1, 0}));
}

TEST(movingai, malformed) {
  const std::string head = "type octile\nheight 2\nwidth 3\nmap\n";
  const auto message = [](const std::string& text) { return message_of([&] { read_movingai_map(text, "m.map"); }); };
  EXPECT_EQ(message(""), "m.map:1: the file ends before the line 'map'");
  EXPECT_EQ(message("type octile\nheight 2\n"), "m.map:3: the file ends before the line 'map'");
  EXPECT_EQ(message("P6\n"), "m.map:1: expected 'type', 'height', 'width' or 'map', found 'P6'");
  EXPECT_EQ(message("type octile\n\nheight 2\n"), "m.map:2: expected 'type', 'height', 'width' or 'map', found ''");
  EXPECT_EQ(message("type octile\ntype octile\n"), "m.map:2: a second 'type' line");
  EXPECT_EQ(message("type octile\nheight 2\nheight 2\n"), "m.map:3: a second 'height' line");
  EXPECT_EQ(message("type octile\nheight two\n"), "m.map:2: height is 'two', not a whole number");
  EXPECT_EQ(message("type octile\nheight\n"), "m.map:2: height is '', not a whole number");
  EXPECT_EQ(message("type octile\nheight 0\n"), "m.map:2: height is 0: expected 1 to 4096");
  EXPECT_EQ(message("type octile\nwidth -3\n"), "m.map:2: width is -3: expected 1 to 4096");
  EXPECT_EQ(message("type octile\nwidth 4097\n"), "m.map:2: width is 4097: expected 1 to 4096");
  EXPECT_EQ(message("type octile\nwidth 99999999999999999999\n"), "m.map:2: width is '99999999999999999999', not a whole number");
  EXPECT_EQ(message("type octile\nwidth 3 4\n"), "m.map:2: unexpected '4' after 'width'");
  EXPECT_EQ(message("height 2\nwidth 3\nmap\n"), "m.map:3: no 'type' line before 'map'");
  EXPECT_EQ(message("type octile\nwidth 3\nmap\n"), "m.map:3: no 'height' line before 'map'");
  EXPECT_EQ(message("type octile\nheight 2\nmap\n"), "m.map:3: no 'width' line before 'map'");
  EXPECT_EQ(message("type octile\nheight 4096\nwidth 4096\nmap\n...\n"),
            "m.map:4: the header promises 4096 lines of 4096 characters, but the whole file has 43 bytes");
  EXPECT_EQ(message(head + "...\n"), "m.map:6: the map ends after 1 of 2 lines");
  EXPECT_EQ(message(head + "...\n..\n"), "m.map:6: this map line has 2 characters, expected width 3");
  EXPECT_EQ(message(head + "....\n...\n"), "m.map:5: this map line has 4 characters, expected width 3");
  EXPECT_EQ(message(head + "...\n.x.\n"), "m.map:6: column 2 has 'x', expected one of . G S (passable) @ O T W (wall)");
  EXPECT_EQ(message(head + std::string("...\n.\0.\n", 8)),
            "m.map:6: column 2 has '\\x00', expected one of . G S (passable) @ O T W (wall)");
  EXPECT_EQ(message(head + "...\n...\n...\n"), "m.map:7: more lines than height 2");
}

TEST(esri_ascii, real_terrain) {
  const grid map = read_esri_ascii(data_text("west_bijou_escarpment_67x129.asc"), "t.asc");
  EXPECT_EQ(map.height, 67);
  EXPECT_EQ(map.width, 129);
  EXPECT_EQ(passable_cells(map), 67 * 129);
  EXPECT_EQ(*std::min_element(map.cost.begin(), map.cost.end()), 1.0f);    // 1690 m
  EXPECT_EQ(*std::max_element(map.cost.begin(), map.cost.end()), 118.0f);  // 1807 m
}

TEST(esri_ascii, nodata_any_line_breaks_and_case) {
  const grid map =
      read_esri_ascii("NCOLS 3\nNROWS 2\nxllcorner 0\nyllcenter -1.5\ncellsize 30\nnodata_value -9999\n5 -9999 7.5 5\n6\n +5e0\n", "t");
  EXPECT_EQ(map.passable, (std::vector<uint8_t>{1, 0, 1, 1, 1, 1}));
  EXPECT_EQ(map.cost, (std::vector<float>{1, 1, 3.5f, 1, 2, 1}));
  const grid nan_is_nodata = read_esri_ascii("ncols 2\nnrows 1\nNODATA_value nan\nnan 4\n", "t");
  EXPECT_EQ(nan_is_nodata.passable, (std::vector<uint8_t>{0, 1}));
  const grid no_cell = read_esri_ascii("ncols 2\nnrows 1\nNODATA_value 4\n4 4\n", "t");
  EXPECT_EQ(passable_cells(no_cell), 0);
}

TEST(esri_ascii, malformed) {
  const std::string head = "ncols 3\nnrows 2\ncellsize 1\n";
  const auto message = [](const std::string& text) { return message_of([&] { read_esri_ascii(text, "t.asc"); }); };
  EXPECT_EQ(message(""), "t.asc:1: the file ends before the first elevation");
  EXPECT_EQ(message(head), "t.asc:4: the file ends before the first elevation");
  EXPECT_EQ(message("columns 3\n"), "t.asc:1: expected a header line such as 'ncols N' or elevations, found 'columns 3'");
  EXPECT_EQ(message("ncols 3\nNCOLS 3\n"), "t.asc:2: a second 'ncols' line");
  EXPECT_EQ(message("ncols 3.5\n"), "t.asc:1: ncols is '3.5', not a whole number");
  EXPECT_EQ(message("ncols 5000\n"), "t.asc:1: ncols is 5000: expected 1 to 4096");
  EXPECT_EQ(message("ncols 3\ncellsize big\n"), "t.asc:2: cellsize is 'big', not a number");
  EXPECT_EQ(message("ncols 3\ncellsize\n"), "t.asc:2: cellsize is '', not a number");
  EXPECT_EQ(message("ncols 3 3\n"), "t.asc:1: unexpected '3' after the value of ncols");
  EXPECT_EQ(message("nrows 1\n1 2 3\n"), "t.asc:2: elevations begin, but there was no 'ncols' line");
  EXPECT_EQ(message("ncols 3\n1 2 3\n"), "t.asc:2: elevations begin, but there was no 'nrows' line");
  EXPECT_EQ(message("ncols 4096\nnrows 4096\n1\n"),
            "t.asc:3: the header promises 16777216 elevations (nrows 4096 times ncols 4096), but the whole file has 24 bytes");
  EXPECT_EQ(message(head + "1 2 3\n4 x 6\n"), "t.asc:5: field 2 is 'x', not a number");
  EXPECT_EQ(message(head + "1 2 3\n4 5,5 6\n"), "t.asc:5: field 2 is '5,5', not a number");
  EXPECT_EQ(message(head + "1 2 3\n4 inf 6\n"), "t.asc:5: field 2 is 'inf', not a finite number");
  EXPECT_EQ(message(head + "1 2 3\n4 1e999 6\n"), "t.asc:5: field 2 is '1e999', not a finite number");
  EXPECT_EQ(message(head + "1 2 3\n4 nan 6\n"), "t.asc:5: field 2 is 'nan', not a finite number");
  EXPECT_EQ(message(head + "1 2 3\n4 5\n"), "t.asc:5: the file ends after 5 of 6 elevations (nrows 2 times ncols 3)");
  EXPECT_EQ(message(head + "1 2 3\n4 5 6 7\n"), "t.asc:5: field 4 comes after the last of 6 elevations (nrows 2 times ncols 3)");
  EXPECT_EQ(message(head + "1 2 3\n4 5 1e60\n"), "t.asc: elevations 1 to 1e+60 span more than float32 holds");
}

TEST(array_grid, walls_and_shape) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const grid map = grid_from_array(array{{2, 2}, {1.5, nan, -inf, 0}}, "a.npy");
  EXPECT_EQ(map.passable, (std::vector<uint8_t>{1, 0, 0, 1}));
  EXPECT_EQ(map.cost, (std::vector<float>{1.5f, 1, 1, 0}));
  const auto message = [](const array& a) { return message_of([&] { grid_from_array(a, "a.npy"); }); };
  EXPECT_EQ(message({{4}, {1, 2, 3, 4}}), "a.npy: the array has shape (4,); a cost grid needs two dimensions (height, width)");
  EXPECT_EQ(message({{1, 2, 1}, {1, 2}}), "a.npy: the array has shape (1, 2, 1); a cost grid needs two dimensions (height, width)");
  EXPECT_EQ(message({{0, 3}, {}}), "a.npy: the array has shape (0, 3); each side: expected 1 to 4096");
  EXPECT_EQ(message({{1, 2}, {1, 0}, true}), "a.npy: the array is bool; a cost grid needs numbers, with NaN or infinity as walls");
  EXPECT_EQ(message({{1, 2}, {1, 1e300}}), "a.npy: cell 0,1 is 1e+300, too large for float32");
}

}  // namespace
