// Reader of comma-separated values.
#include "csv.h"

#include <cmath>

#include "error.h"
#include "text.h"

namespace perturb::cli {

namespace {

// Appends the fields of one line. Blanks around a field are dropped, those inside quotes kept.
void split_line(std::string_view line, std::string_view file, int64_t at, std::vector<std::string_view>& fields) {
  const size_t first = fields.size();
  const auto column = [&] { return "field " + std::to_string(fields.size() - first + 1); };
  while (true) {
    size_t begin = 0;
    while (begin < line.size() && (line[begin] == ' ' || line[begin] == '\t')) ++begin;
    size_t comma;
    if (begin < line.size() && line[begin] == '"') {
      size_t end = begin + 1;
      while (true) {
        end = line.find('"', end);
        if (end == std::string_view::npos) fail_at_line(file, at, column() + " opens a quote that is not closed on this line");
        if (end + 1 >= line.size() || line[end + 1] != '"') break;
        end += 2;
      }
      comma = std::min(line.find(',', end + 1), line.size());
      const std::string_view after = trimmed(line.substr(end + 1, comma - end - 1));
      if (!after.empty()) fail_at_line(file, at, column() + " has " + in_quotes(after) + " after its closing quote");
      fields.push_back(line.substr(begin + 1, end - begin - 1));
    } else {
      comma = std::min(line.find(','), line.size());
      fields.push_back(trimmed(line.substr(0, comma)));
    }
    if (comma == line.size()) return;
    line.remove_prefix(comma + 1);
  }
}

std::string undoubled(std::string_view field) {
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    text += field[i];
    if (field[i] == '"' && i + 1 < field.size() && field[i + 1] == '"') ++i;
  }
  return text;
}

bool all_numbers(const std::vector<std::string_view>& fields) {
  for (const std::string_view field : fields)
    if (!parse_number(field)) return false;
  return true;
}

}  // namespace

csv_table read_csv(std::string_view text, std::string_view file, std::optional<bool> header) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.substr(0, byte_order_mark.size()) == byte_order_mark) text.remove_prefix(byte_order_mark.size());
  csv_table table;
  table.file = file;
  line_reader lines(text);
  std::string_view line;
  int64_t first_line = 0;
  while (lines.next(line)) {
    if (trimmed(line).empty()) continue;
    const int64_t at = lines.line_number();
    const size_t before = table.fields.size();
    split_line(line, file, at, table.fields);
    if (static_cast<int64_t>(table.fields.size()) > largest_table)
      fail_at_line(file, at, "more than the limit of " + std::to_string(largest_table) + " fields");
    if (first_line == 0) {
      first_line = at;
      table.has_header = header.value_or(!all_numbers(table.fields));
      for (size_t c = 0; c < table.fields.size(); ++c)
        table.columns.push_back(table.has_header ? undoubled(table.fields[c]) : std::to_string(c));
      if (table.has_header) {
        table.fields.clear();
        continue;
      }
    }
    const size_t found = table.fields.size() - before;
    if (found != table.columns.size())
      fail_at_line(
          file, at,
          std::to_string(found) + " fields, but line " + std::to_string(first_line) + " has " + std::to_string(table.columns.size()));
    table.line_of_row.push_back(at);
  }
  if (first_line == 0) fail_at_line(file, 1, "the file has no rows");
  if (table.rows() == 0) fail_at_line(file, first_line, "the file has a header but no rows");
  return table;
}

float csv_number(const csv_table& table, int64_t row, int64_t column) {
  const std::string_view field = table.fields[static_cast<size_t>(row * table.width() + column)];
  const std::optional<double> value = parse_number(field);
  if (value && std::isfinite(*value) && std::isfinite(static_cast<float>(*value))) return static_cast<float>(*value);
  std::string where = "field " + std::to_string(column + 1);
  if (table.has_header) where += " (" + in_quotes(table.columns[static_cast<size_t>(column)]) + ")";
  const char* const what = field.empty()           ? " is empty, expected a number"
                           : !value                ? ", not a number"
                           : std::isfinite(*value) ? ", too large for float32"
                                                   : ", not a finite number";
  fail_at_line(table.file, table.line_of_row[static_cast<size_t>(row)], where + (field.empty() ? "" : " is " + in_quotes(field)) + what);
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace perturb::cli
