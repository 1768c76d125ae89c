// Readers of MovingAI maps and ESRI ASCII grids.
#include "grid_file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "error.h"
#include "text.h"

namespace perturb::cli {

namespace {

const std::string side_rule = "expected 1 to " + std::to_string(largest_grid_side);

int64_t parse_side(std::string_view token, std::string_view what, std::string_view file, int64_t line) {
  const std::optional<int64_t> side = parse_integer(token);
  if (!side) fail_at_line(file, line, std::string(what) + " is " + in_quotes(token) + ", not a whole number");
  if (*side < 1 || *side > largest_grid_side)
    fail_at_line(file, line, std::string(what) + " is " + std::to_string(*side) + ": " + side_rule);
  return *side;
}

}  // namespace

grid read_movingai_map(std::string_view text, std::string_view file) {
  line_reader lines(text);
  std::string_view line;
  bool have_type = false, have_map = false;
  grid result;
  result.kind = grid_kind::movingai;

  while (!have_map) {
    if (!lines.next(line)) fail_at_line(file, lines.line_number() + 1, "the file ends before the line 'map'");
    const int64_t at = lines.line_number();
    std::string_view rest = line;
    const std::string_view key = next_token(rest);
    if (key == "map") {
      have_map = true;
    } else if (key == "type") {
      if (have_type) fail_at_line(file, at, "a second 'type' line");
      have_type = true;
      next_token(rest);  // "octile" in every published map; the movement rule is chosen on the command line
    } else if (key == "height" || key == "width") {
      int64_t& side = key == "height" ? result.height : result.width;
      if (side != 0) fail_at_line(file, at, "a second '" + std::string(key) + "' line");
      side = parse_side(next_token(rest), key, file, at);
    } else {
      fail_at_line(file, at, "expected 'type', 'height', 'width' or 'map', found " + in_quotes(line));
    }
    if (!trimmed(rest).empty()) fail_at_line(file, at, "unexpected " + in_quotes(trimmed(rest)) + " after '" + std::string(key) + "'");
  }
  if (!have_type) fail_at_line(file, lines.line_number(), "no 'type' line before 'map'");
  if (result.height == 0) fail_at_line(file, lines.line_number(), "no 'height' line before 'map'");
  if (result.width == 0) fail_at_line(file, lines.line_number(), "no 'width' line before 'map'");

  // A text of this size cannot hold the map: say so before memory is taken for it.
  if (static_cast<uint64_t>(result.cells()) > text.size())
    fail_at_line(file, lines.line_number(),
                 "the header promises " + std::to_string(result.height) + " lines of " + std::to_string(result.width) +
                     " characters, but the whole file has " + std::to_string(text.size()) + " bytes");
  result.passable.reserve(static_cast<size_t>(result.cells()));
  for (int64_t r = 0; r < result.height; ++r) {
    if (!lines.next(line))
      fail_at_line(file, lines.line_number() + 1,
                   "the map ends after " + std::to_string(r) + " of " + std::to_string(result.height) + " lines");
    if (static_cast<int64_t>(line.size()) != result.width)
      fail_at_line(file, lines.line_number(),
                   "this map line has " + std::to_string(line.size()) + " characters, expected width " + std::to_string(result.width));
    for (size_t c = 0; c < line.size(); ++c) {
      switch (line[c]) {
        case '.':
        case 'G':
        case 'S':
          result.passable.push_back(1);
          break;
        case '@':
        case 'O':
        case 'T':
        case 'W':
          result.passable.push_back(0);
          break;
        default:
          fail_at_line(file, lines.line_number(),
                       "column " + std::to_string(c + 1) + " has " + in_quotes(line.substr(c, 1)) +
                           ", expected one of . G S (passable) @ O T W (wall)");
      }
    }
  }
  while (lines.next(line))
    if (!trimmed(line).empty()) fail_at_line(file, lines.line_number(), "more lines than height " + std::to_string(result.height));
  result.cost.assign(result.passable.size(), 1.0f);
  return result;
}

namespace {

// The header of an .asc file. Only the sizes and NODATA matter here; the rest is checked to be a number.
struct esri_header {
  int64_t columns = 0, rows = 0;
  std::optional<double> nodata;
};

bool is_nodata(double value, const esri_header& header) {
  if (!header.nodata) return false;
  return value == *header.nodata || (std::isnan(value) && std::isnan(*header.nodata));
}

// Reads header lines up to the first line that starts with a number, which is left in `line`.
esri_header read_esri_header(line_reader& lines, std::string_view& line, std::string_view file) {
  esri_header header;
  std::vector<std::string> seen;
  while (true) {
    if (!lines.next(line)) fail_at_line(file, lines.line_number() + 1, "the file ends before the first elevation");
    const int64_t at = lines.line_number();
    std::string_view rest = line;
    const std::string_view key = next_token(rest);
    if (key.empty()) continue;
    if (parse_number(key)) break;
    const std::string_view value = next_token(rest);
    const auto is = [&](std::string_view name) { return equal_ignoring_case(key, name); };
    const bool known = is("ncols") || is("nrows") || is("xllcorner") || is("xllcenter") || is("yllcorner") || is("yllcenter") ||
                       is("cellsize") || is("dx") || is("dy") || is("nodata_value");
    if (!known) fail_at_line(file, at, "expected a header line such as 'ncols N' or elevations, found " + in_quotes(line));
    std::string name(key);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) fail_at_line(file, at, "a second '" + name + "' line");
    seen.push_back(name);
    if (is("ncols")) {
      header.columns = parse_side(value, "ncols", file, at);
    } else if (is("nrows")) {
      header.rows = parse_side(value, "nrows", file, at);
    } else {
      const std::optional<double> number = parse_number(value);
      if (!number) fail_at_line(file, at, name + " is " + in_quotes(value) + ", not a number");
      if (is("nodata_value")) header.nodata = number;
    }
    if (!trimmed(rest).empty()) fail_at_line(file, at, "unexpected " + in_quotes(trimmed(rest)) + " after the value of " + name);
  }
  if (header.columns == 0) fail_at_line(file, lines.line_number(), "elevations begin, but there was no 'ncols' line");
  if (header.rows == 0) fail_at_line(file, lines.line_number(), "elevations begin, but there was no 'nrows' line");
  return header;
}

}  // namespace

grid read_esri_ascii(std::string_view text, std::string_view file) {
  line_reader lines(text);
  std::string_view line;
  const esri_header header = read_esri_header(lines, line, file);
  grid result;
  result.kind = grid_kind::esri_ascii;
  result.height = header.rows;
  result.width = header.columns;
  const int64_t cells = result.cells();
  const std::string promise =
      std::to_string(cells) + " elevations (nrows " + std::to_string(header.rows) + " times ncols " + std::to_string(header.columns) + ")";
  // Each elevation takes two bytes at least, but for the last: say so before memory is taken for them.
  if (static_cast<uint64_t>(cells) > text.size() / 2 + 1)
    fail_at_line(file, lines.line_number(),
                 "the header promises " + promise + ", but the whole file has " + std::to_string(text.size()) + " bytes");

  std::vector<double> elevation;
  elevation.reserve(static_cast<size_t>(cells));
  double least = std::numeric_limits<double>::infinity();
  do {
    int64_t field = 0;
    for (std::string_view token = next_token(line); !token.empty(); token = next_token(line)) {
      ++field;
      const std::optional<double> value = parse_number(token);
      if (!value) fail_at_line(file, lines.line_number(), "field " + std::to_string(field) + " is " + in_quotes(token) + ", not a number");
      if (static_cast<int64_t>(elevation.size()) == cells)
        fail_at_line(file, lines.line_number(), "field " + std::to_string(field) + " comes after the last of " + promise);
      if (!is_nodata(*value, header)) {
        if (!std::isfinite(*value))
          fail_at_line(file, lines.line_number(), "field " + std::to_string(field) + " is " + in_quotes(token) + ", not a finite number");
        least = std::min(least, *value);
      }
      elevation.push_back(*value);
    }
  } while (lines.next(line));
  if (static_cast<int64_t>(elevation.size()) != cells)
    fail_at_line(file, lines.line_number(), "the file ends after " + std::to_string(elevation.size()) + " of " + promise);

  result.cost.assign(elevation.size(), 1.0f);
  result.passable.assign(elevation.size(), 0);
  for (size_t i = 0; i < elevation.size(); ++i) {
    if (is_nodata(elevation[i], header)) continue;
    const double cost = elevation[i] - least + 1.0;
    if (!(cost <= std::numeric_limits<float>::max()))
      fail_in_file(file, "elevations " + format_number(least) + " to " + format_number(elevation[i]) + " span more than float32 holds");
    result.cost[i] = static_cast<float>(cost);
    result.passable[i] = 1;
  }
  return result;
}

grid grid_from_array(const array& values, std::string_view file) {
  if (values.shape.size() != 2)
    fail_in_file(file, "the array has shape " + shape_text(values.shape) + "; a cost grid needs two dimensions (height, width)");
  if (values.is_bool) fail_in_file(file, "the array is bool; a cost grid needs numbers, with NaN or infinity as walls");
  grid result;
  result.height = values.shape[0];
  result.width = values.shape[1];
  if (result.height < 1 || result.height > largest_grid_side || result.width < 1 || result.width > largest_grid_side)
    fail_in_file(file, "the array has shape " + shape_text(values.shape) + "; each side: " + side_rule);
  result.cost.assign(values.data.size(), 1.0f);
  result.passable.assign(values.data.size(), 0);
  for (size_t i = 0; i < values.data.size(); ++i) {
    if (!std::isfinite(values.data[i])) continue;
    const float cost = static_cast<float>(values.data[i]);
    if (!std::isfinite(cost))
      fail_in_file(file, "cell " + std::to_string(static_cast<int64_t>(i) / result.width) + "," +
                             std::to_string(static_cast<int64_t>(i) % result.width) + " is " + format_number(values.data[i]) +
                             ", too large for float32");
    result.cost[i] = cost;
    result.passable[i] = 1;
  }
  return result;
}

}  // namespace perturb::cli
