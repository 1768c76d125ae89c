// Text handling shared by the readers: lines, tokens, numbers, and quoting of text that came from a file.
// Works on memory only and never throws but for lack of memory, so that every reader can be fuzzed.
#ifndef PERTURB_CLI_TEXT_H
#define PERTURB_CLI_TEXT_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace perturb::cli {

// Walks over the lines of a text. "\n" and "\r\n" end a line; a last line without an end counts too.
class line_reader {
 public:
  explicit line_reader(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line);             // false at the end of the text
  int64_t line_number() const { return line_; }  // of the line that next() gave last, from 1

 private:
  std::string_view rest_;
  int64_t line_ = 0;
};

// Cuts the next blank-separated token off the front of `line`; empty at the end.
std::string_view next_token(std::string_view& line);

// The text without blanks at either end.
std::string_view trimmed(std::string_view text);

// A whole token as a number, "+1.5", "nan" and "inf" included. Nothing if any character is left over. A magnitude that double cannot
// hold becomes infinity or zero.
std::optional<double> parse_number(std::string_view text);
std::optional<int64_t> parse_integer(std::string_view text);

bool equal_ignoring_case(std::string_view a, std::string_view b);

// 'text' in quotes for a message: at most 32 characters, anything but printable ASCII as \xNN.
std::string in_quotes(std::string_view text);

// The shortest text that reads back as the same number.
std::string format_number(float value);
std::string format_number(double value);
// printf("%.*g"): for people.
std::string format_short(double value, int digits);

}  // namespace perturb::cli

#endif
