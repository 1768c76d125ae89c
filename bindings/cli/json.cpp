// The JSON writer.
#include "json.h"

#include <cmath>
#include <cstdio>

#include "text.h"

namespace perturb::cli {

namespace {

// The length of the UTF-8 character that starts at text[at]; 0 if there is none.
size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(at + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned second = byte(at + 1);
    if (!continues(at + 1) || !continues(at + 2) || (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned second = byte(at + 1);
    if (!continues(at + 1) || !continues(at + 2) || !continues(at + 3)) return 0;
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
    return 4;
  }
  return 0;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t length = utf8_length(text, i);
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
      out += code;
    } else {
      out += text.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return out + '"';
}

std::string json_number(double number) { return std::isfinite(number) ? format_number(number) : "null"; }
std::string json_number(float number) { return std::isfinite(number) ? format_number(number) : "null"; }
std::string json_number(int64_t number) { return std::to_string(number); }

}  // namespace

void json_writer::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (has_items_.empty()) return;
  if (has_items_.back()) out_ += ',';
  has_items_.back() = true;
  out_ += '\n';
  out_.append(2 * has_items_.size(), ' ');
}

json_writer& json_writer::open(char bracket) {
  separate();
  out_ += bracket;
  has_items_.push_back(false);
  return *this;
}

json_writer& json_writer::close(char bracket) {
  const bool had_items = has_items_.back();
  has_items_.pop_back();
  if (had_items) {
    out_ += '\n';
    out_.append(2 * has_items_.size(), ' ');
  }
  out_ += bracket;
  if (has_items_.empty()) out_ += '\n';
  return *this;
}

json_writer& json_writer::key(std::string_view name) {
  separate();
  out_ += json_string(name) + ": ";
  after_key_ = true;
  return *this;
}

json_writer& json_writer::raw(std::string_view text) {
  separate();
  out_ += text;
  return *this;
}

json_writer& json_writer::value(std::string_view text) { return raw(json_string(text)); }
json_writer& json_writer::value(double number) { return raw(json_number(number)); }
json_writer& json_writer::value(float number) { return raw(json_number(number)); }

template <typename Number>
json_writer& json_writer::numbers(std::span<const Number> values) {
  std::string text = "[";
  for (const Number number : values) text += (text.size() > 1 ? ", " : "") + json_number(number);
  return raw(text + "]");
}
template json_writer& json_writer::numbers(std::span<const float>);
template json_writer& json_writer::numbers(std::span<const double>);
template json_writer& json_writer::numbers(std::span<const int64_t>);

}  // namespace perturb::cli
