// Text handling shared by the readers, and the messages of error.h.
#include "text.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "error.h"

namespace perturb::cli {

void fail_in_file(std::string_view file, const std::string& what) { throw input_error(std::string(file) + ": " + what); }

void fail_at_line(std::string_view file, int64_t line, const std::string& what) {
  throw input_error(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

void fail_at_byte(std::string_view file, uint64_t byte, const std::string& what) {
  throw input_error(std::string(file) + ": byte " + std::to_string(byte) + ": " + what);
}

bool line_reader::next(std::string_view& line) {
  if (rest_.empty()) return false;
  ++line_;
  const size_t end = rest_.find('\n');
  line = rest_.substr(0, end);
  rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + 1);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return true;
}

namespace {
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
// from_chars takes no leading '+'; "+-1" must stay wrong.
std::string_view without_plus(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  return text;
}
}  // namespace

std::string_view next_token(std::string_view& line) {
  size_t begin = 0;
  while (begin < line.size() && is_blank(line[begin])) ++begin;
  size_t end = begin;
  while (end < line.size() && !is_blank(line[end])) ++end;
  const std::string_view token = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return token;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<double> parse_number(std::string_view text) {
  text = without_plus(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    // from_chars leaves the value alone; strtod says which way it went.
    const double far = std::strtod(std::string(text).c_str(), nullptr);
    return far;
  }
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  text = without_plus(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t longest = 32;
  std::string out = "'";
  for (const char c : text.substr(0, longest)) {
    if (c >= ' ' && c <= '~') {
      out += c;
    } else {
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code;
    }
  }
  if (text.size() > longest) out += "...";
  return out + "'";
}

namespace {
template <typename Number>
std::string shortest(Number value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return error == std::errc() ? std::string(text, end) : std::string("?");
}
}  // namespace

std::string format_number(float value) { return shortest(value); }
std::string format_number(double value) { return shortest(value); }

std::string format_short(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

}  // namespace perturb::cli
