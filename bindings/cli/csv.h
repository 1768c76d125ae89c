// Comma-separated values: a reader that keeps the fields as text, so that only the columns that a user picks must be numbers.
// The reader takes the file's text and its name (for messages), throws input_error and never looks at the disk.
#ifndef PERTURB_CLI_CSV_H
#define PERTURB_CLI_CSV_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perturb::cli {

constexpr int64_t largest_table = int64_t{1} << 25;  // fields

// Fields may be quoted as in RFC 4180 ("a ""b"", c"), but not span lines. Blank lines are skipped.
struct csv_table {
  std::string file;                  // its name, for messages
  std::vector<std::string> columns;  // the names in the first line, or "0", "1", ...
  bool has_header = false;
  std::vector<std::string_view> fields;  // [rows, columns], unquoted but with "" still doubled; they point into the caller's text
  std::vector<int64_t> line_of_row;      // where each row is in the file
  int64_t rows() const { return static_cast<int64_t>(line_of_row.size()); }
  int64_t width() const { return static_cast<int64_t>(columns.size()); }
};

// header: whether the first line holds names; nothing: it does if any of its fields is not a number. `text` must outlive the table.
csv_table read_csv(std::string_view text, std::string_view file, std::optional<bool> header);

// The finite number in one field; an input_error with file, line, column and what is there otherwise.
float csv_number(const csv_table& table, int64_t row, int64_t column);

// A field of our own output: quoted where it must be.
std::string csv_field(std::string_view text);

}  // namespace perturb::cli

#endif
