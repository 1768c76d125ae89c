// What the command writes: JSON, tables, pictures, and files that appear whole or not at all.
#include <png.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "canvas.h"
#include "font.h"
#include "json.h"
#include "path_picture.h"
#include "support.h"
#include "table.h"
#include "text.h"

namespace {

using namespace perturb::cli;

TEST(json, everything) {
  json_writer json;
  json.begin_object().member("text", "a\"\\\n\x01\xC3\xA9\xFF").member("yes", true).member("whole", int64_t{-3});
  json.member("real", 0.1).member("single", 0.1f).member("none", std::numeric_limits<double>::infinity());
  json.key("list").begin_array().value(1).value("two").end_array();
  json.key("empty").begin_array().end_array();
  const float values[] = {1, 0.5f, NAN};
  json.key("numbers").numbers(std::span<const float>(values)).end_object();
  EXPECT_EQ(json.text(),
            "{\n  \"text\": \"a\\\"\\\\\\u000a\\u0001\xC3\xA9\\ufffd\",\n  \"yes\": true,\n  \"whole\": -3,\n  \"real\": 0.1,\n  "
            "\"single\": 0.1,\n"
            "  \"none\": null,\n  \"list\": [\n    1,\n    \"two\"\n  ],\n  \"empty\": [],\n  \"numbers\": [1, 0.5, null]\n}\n");
}

TEST(table, alignment) {
  text_table table({"item", "score"});
  table.add({"a", "1.25"});
  table.add({"longer", "-3"});
  EXPECT_EQ(table.text(), "  item    score\n  a        1.25\n  longer     -3\n");
}

TEST(text, quoting_and_numbers) {
  EXPECT_EQ(in_quotes("a\tb"), "'a\\x09b'");
  EXPECT_EQ(in_quotes(std::string(40, 'x')), "'" + std::string(32, 'x') + "...'");
  EXPECT_EQ(format_number(0.1f), "0.1");
  EXPECT_EQ(format_short(123456.0, 3), "1.23e+05");
  EXPECT_FALSE(parse_number(""));
  EXPECT_FALSE(parse_number("+"));
  EXPECT_FALSE(parse_number("1 "));
  EXPECT_EQ(parse_number("1e-999"), 0.0);
  EXPECT_FALSE(parse_integer("1.0"));
}

// Reads a PNG back with libpng.
canvas decode(const std::string& bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  EXPECT_NE(png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()), 0) << image.message;
  image.format = PNG_FORMAT_RGB;
  std::vector<uint8_t> pixels(PNG_IMAGE_SIZE(image));
  EXPECT_NE(png_image_finish_read(&image, nullptr, pixels.data(), 0, nullptr), 0) << image.message;
  canvas result(static_cast<int>(image.width), static_cast<int>(image.height), rgb{});
  for (int y = 0; y < result.height(); ++y)
    for (int x = 0; x < result.width(); ++x) {
      const uint8_t* p = &pixels[static_cast<size_t>(y * result.width() + x) * 3];
      result.rectangle(x, y, 1, 1, rgb{p[0], p[1], p[2]});
    }
  return result;
}

bool same(rgb a, rgb b) { return a.red == b.red && a.green == b.green && a.blue == b.blue; }

TEST(canvas, png_round_trip_and_clipping) {
  canvas picture(37, 21, rgb{10, 20, 30});
  picture.rectangle(-5, -5, 10, 10, rgb{200, 100, 50});
  picture.disc(36, 20, 9, rgb{255, 255, 255});
  picture.segment(-100, 3, 100, 40, 2, rgb{1, 2, 3}, 0.5);
  picture.diamond(18, 10, 4, rgb{0, 255, 0});
  picture.text(30, 15, "clipped \x7F \xFF", 2, rgb{255, 0, 0});
  const canvas back = decode(picture.png());
  ASSERT_EQ(back.width(), 37);
  ASSERT_EQ(back.height(), 21);
  for (int y = 0; y < 21; ++y)
    for (int x = 0; x < 37; ++x) ASSERT_TRUE(same(back.at(x, y), picture.at(x, y))) << x << "," << y;
  EXPECT_TRUE(same(back.at(0, 0), rgb{200, 100, 50}));
}

TEST(font, glyphs_differ) {
  for (size_t a = 0; a < std::size(font); ++a)
    for (size_t b = 0; b < a; ++b) {
      const bool hanging = hangs(static_cast<char>(a + 32)) != hangs(static_cast<char>(b + 32));
      EXPECT_TRUE(font[a] != font[b] || hanging) << static_cast<char>(a + 32) << " " << static_cast<char>(b + 32);
    }
}

TEST(path_picture, size_walls_and_heat) {
  grid map;
  map.height = 3;
  map.width = 5;
  map.cost.assign(15, 1.0f);
  map.passable.assign(15, 1);
  map.passable[7] = 0;
  std::vector<float> expected(15, 0.0f);
  for (const int cell : {0, 1, 2, 3, 4}) expected[static_cast<size_t>(cell)] = 1.0f;
  path_picture picture;
  picture.map = &map;
  picture.title = "a title";
  picture.hard_path = {0, 1, 2, 3, 4};
  picture.sources = {0};
  picture.targets = {4};
  for (const char* title : {"epsilon = 1", "epsilon = 2"}) picture.panels.push_back({title, "", expected});
  const canvas drawn = decode(draw(picture).png());
  // Two panels of 5 cells of 40 pixels are narrower than the legend, which then goes on over several lines.
  EXPECT_GE(drawn.width(), 2 * 200 + 20);
  EXPECT_LE(drawn.width(), 700);
  EXPECT_GE(drawn.height(), 120);
  int full = 0;
  for (int y = 0; y < drawn.height(); ++y)
    for (int x = 0; x < drawn.width(); ++x) full += same(drawn.at(x, y), heat_colour(1.0)) ? 1 : 0;
  EXPECT_GT(full, 2 * 5 * 40 * 40 / 2);  // most of ten full cells; lines and markers cover the rest
}

TEST(path_picture, every_size_of_map) {
  struct size {
    int64_t height, width;
  };
  for (const size s : {size{1, 1}, {1, 900}, {900, 1}, {64, 64}, {1100, 30}, {4096, 2}}) {
    grid map;
    map.height = s.height;
    map.width = s.width;
    map.cost.assign(static_cast<size_t>(map.cells()), 1.0f);
    map.cost[0] = 2.0f;
    map.passable.assign(map.cost.size(), 1);
    const std::vector<float> expected(map.cost.size(), 0.5f);
    path_picture picture;
    picture.map = &map;
    picture.title = std::string(200, 'W');
    picture.sources = {0};
    picture.targets = {map.cells() - 1};
    picture.hard_path = {0};
    picture.panels.push_back({"epsilon = 1", "expected cost 1 \x7F 0.1", expected});
    const canvas drawn = draw(picture);
    EXPECT_LE(drawn.width(), 1200);
    EXPECT_LE(drawn.height(), 1400);
  }
}

TEST(heat, lightness_grows) {
  double before = -1;
  for (int i = 0; i <= 200; ++i) {
    const rgb c = heat_colour(i / 200.0);
    const double lightness =
        0.2126 * std::pow(c.red / 255.0, 2.2) + 0.7152 * std::pow(c.green / 255.0, 2.2) + 0.0722 * std::pow(c.blue / 255.0, 2.2);
    EXPECT_GE(lightness, before - 1e-9) << i;
    before = lightness;
  }
}

TEST(file, appears_whole_or_not_at_all) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / ("perturb_cli_file_" + std::to_string(::getpid()));
  fs::remove_all(folder);
  fs::create_directory(folder);
  const std::string path = (folder / "out.csv").string();
  write_file(path, "first");
  write_file(path, "second");
  EXPECT_EQ(read_file(path), "second");
  fs::create_symlink(path, folder / "link.csv");
  write_file((folder / "link.csv").string(), "third");
  EXPECT_TRUE(fs::is_symlink(folder / "link.csv"));
  EXPECT_EQ(read_file(path), "third");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), fs::directory_iterator()), 2);  // nothing left over
  EXPECT_EQ(message_of([&] { check_writable(folder.string()); }), folder.string() + ": cannot be written: it is not a regular file");
  EXPECT_EQ(message_of([&] { check_writable("/dev/null"); }), "/dev/null: cannot be written: it is not a regular file");
  EXPECT_EQ(message_of([&] { check_writable((folder / "no" / "x.csv").string()); }),
            (folder / "no" / "x.csv").string() + ": cannot be written: No such file or directory");
  EXPECT_THROW(write_file((folder / "no" / "x.csv").string(), "x"), compute_error);
  EXPECT_EQ(message_of([&] { read_file((folder / "none").string()); }),
            (folder / "none").string() + ": cannot be opened: No such file or directory");
  EXPECT_EQ(message_of([&] { read_file(folder.string()); }), folder.string() + ": is a folder");
  fs::remove_all(folder);
}

TEST(file, names) {
  EXPECT_EQ(extension("a.b/c.PNG"), ".png");
  EXPECT_EQ(extension("a.b/c"), "");
  EXPECT_EQ(file_name("a/b.map"), "b.map");
}

}  // namespace
