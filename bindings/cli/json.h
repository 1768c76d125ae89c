// Writes one JSON text, indented by two blanks; arrays of numbers stay on one line. Numbers that JSON lacks (NaN, infinity) become null.
#ifndef PERTURB_CLI_JSON_H
#define PERTURB_CLI_JSON_H

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perturb::cli {

// Calls must nest as the text does: key() before each value in an object.
class json_writer {
 public:
  json_writer& begin_object() { return open('{'); }
  json_writer& end_object() { return close('}'); }
  json_writer& begin_array() { return open('['); }
  json_writer& end_array() { return close(']'); }
  json_writer& key(std::string_view name);

  json_writer& value(std::string_view text);  // bytes that are not UTF-8 become U+FFFD
  json_writer& value(const char* text) { return value(std::string_view(text)); }
  json_writer& value(const std::string& text) { return value(std::string_view(text)); }
  json_writer& value(double number);
  json_writer& value(float number);
  json_writer& value(std::same_as<bool> auto truth) { return raw(truth ? "true" : "false"); }
  json_writer& value(std::integral auto number) requires(!std::same_as<decltype(number), bool>) { return raw(std::to_string(number)); }
  template <typename Number>
  json_writer& numbers(std::span<const Number> values);  // [1, 2, 3] on one line

  // key() and value() in one.
  template <typename Value>
  json_writer& member(std::string_view name, const Value& v) {
    return key(name).value(v);
  }

  const std::string& text() const { return out_; }

 private:
  json_writer& open(char bracket);
  json_writer& close(char bracket);
  json_writer& raw(std::string_view text);
  void separate();

  std::string out_;
  std::vector<bool> has_items_;  // per open bracket
  bool after_key_ = false;
};

}  // namespace perturb::cli

#endif
