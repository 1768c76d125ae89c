// The .npy format (numpy/lib/format.py describes it): magic, version, header length, a Python dict literal, raw data.
#include "npy.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "error.h"
#include "text.h"

namespace perturb::cli {

static_assert(std::endian::native == std::endian::little, "npy.cpp copies little-endian data as it is");

namespace {

constexpr std::string_view magic = "\x93NUMPY";

struct npy_header {
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Parses the dict literal, which has exactly the keys descr, fortran_order and shape. Positions in messages are offsets in the file.
class dict_parser {
 public:
  dict_parser(std::string_view text, uint64_t offset, std::string_view file) : text_(text), offset_(offset), file_(file) {}

  npy_header parse() {
    npy_header header;
    bool have_descr = false, have_order = false, have_shape = false;
    expect('{');
    while (!accept('}')) {
      const size_t key_at = skip_blanks();
      const std::string key = string_literal("a key in quotes or '}'");
      expect(':');
      bool* have = key == "descr" ? &have_descr : key == "fortran_order" ? &have_order : key == "shape" ? &have_shape : nullptr;
      if (have == nullptr) fail(key_at, "unknown key " + in_quotes(key) + ", expected descr, fortran_order or shape");
      if (*have) fail(key_at, "the key " + in_quotes(key) + " comes twice");
      *have = true;
      if (have == &have_descr) {
        const size_t at = skip_blanks();
        if (at < text_.size() && text_[at] == '[') fail(at, "structured arrays are not supported; save plain numbers");
        header.descr = string_literal("a type such as '<f4'");
      } else if (have == &have_order) {
        header.fortran_order = bool_literal();
      } else {
        header.shape = tuple();
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    const size_t end = skip_blanks();
    if (end != text_.size()) fail(end, "text after the header's closing brace");
    if (!have_descr || !have_order || !have_shape)
      fail(0, std::string("the header has no key '") + (!have_descr ? "descr" : !have_order ? "fortran_order" : "shape") + "'");
    return header;
  }

 private:
  [[noreturn]] void fail(size_t at, const std::string& what) const { fail_at_byte(file_, offset_ + at, what); }

  size_t skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
    return at_;
  }
  bool accept(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(at_, std::string("expected '") + c + "' in the header" + found());
  }
  std::string found() const { return at_ < text_.size() ? ", found " + in_quotes(text_.substr(at_, 1)) : ", but it ends here"; }

  std::string string_literal(std::string_view what) {
    skip_blanks();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) fail(at_, "expected " + std::string(what) + found());
    const char quote = text_[at_];
    const size_t begin = at_ + 1;
    const size_t end = text_.find(quote, begin);
    if (end == std::string_view::npos) fail(at_, "a quote that is never closed");
    at_ = end + 1;
    return std::string(text_.substr(begin, end - begin));
  }

  bool bool_literal() {
    const size_t at = skip_blanks();
    for (const bool value : {true, false}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(at, word.size()) == word) {
        at_ = at + word.size();
        return value;
      }
    }
    fail(at, "fortran_order must be True or False");
  }

  std::vector<int64_t> tuple() {
    constexpr size_t most_dimensions = 32;  // NumPy's own limit
    std::vector<int64_t> shape;
    expect('(');
    while (!accept(')')) {
      const size_t begin = skip_blanks();
      size_t end = begin;
      while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
      const std::optional<int64_t> side = parse_integer(text_.substr(begin, end - begin));
      if (!side) fail(begin, "the shape needs whole numbers of at most 63 bits" + found());
      if (shape.size() == most_dimensions) fail(begin, "more than 32 dimensions");
      shape.push_back(*side);
      at_ = end;
      if (end < text_.size() && text_[end] == 'L') ++at_;  // written by Python 2
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view text_;
  uint64_t offset_;
  std::string_view file_;
  size_t at_ = 0;
};

double half_to_double(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  double magnitude;
  if (exponent == 31)
    magnitude = fraction != 0 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
  else if (exponent == 0)
    magnitude = std::ldexp(fraction, -24);
  else
    magnitude = std::ldexp(fraction + 1024, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

template <typename Number>
void convert(std::string_view raw, std::vector<double>& out) {
  for (size_t i = 0; i < out.size(); ++i) {
    Number value;
    std::memcpy(&value, raw.data() + i * sizeof value, sizeof value);
    out[i] = static_cast<double>(value);
  }
}

struct number_type {
  const char* descr;  // without the byte-order mark
  size_t bytes;
  void (*convert)(std::string_view, std::vector<double>&);
};

void convert_half(std::string_view raw, std::vector<double>& out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, raw.data() + i * 2, 2);
    out[i] = half_to_double(bits);
  }
}
void convert_bool(std::string_view raw, std::vector<double>& out) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = raw[i] != 0 ? 1.0 : 0.0;
}

constexpr number_type number_types[] = {
    {"f4", 4, convert<float>},    {"f8", 8, convert<double>},   {"f2", 2, convert_half},      {"i1", 1, convert<int8_t>},
    {"i2", 2, convert<int16_t>},  {"i4", 4, convert<int32_t>},  {"i8", 8, convert<int64_t>},  {"u1", 1, convert<uint8_t>},
    {"u2", 2, convert<uint16_t>}, {"u4", 4, convert<uint32_t>}, {"u8", 8, convert<uint64_t>}, {"b1", 1, convert_bool},
};

const number_type& find_type(std::string_view descr, std::string_view file, uint64_t at) {
  if (descr.size() == 3 && descr[0] == '>' && descr[2] != '1')
    fail_at_byte(file, at, "type " + in_quotes(descr) + " is big-endian; save it as little-endian, e.g. array.astype('<f4')");
  if (descr.size() == 3 && std::string_view("<|=>").find(descr[0]) != std::string_view::npos)
    for (const number_type& type : number_types)
      if (descr.substr(1) == type.descr) return type;
  fail_at_byte(file, at, "type " + in_quotes(descr) + " is not supported, expected <f2 <f4 <f8, i1 to i8, u1 to u8 or b1");
}

// From Fortran order (first index fastest) to C order.
std::vector<double> to_c_order(const std::vector<double>& in, const std::vector<int64_t>& shape) {
  std::vector<double> out(in.size());
  std::vector<int64_t> index(shape.size(), 0);
  std::vector<int64_t> stride(shape.size(), 1);
  for (size_t d = 1; d < shape.size(); ++d) stride[d] = stride[d - 1] * shape[d - 1];
  int64_t from = 0;
  for (double& value : out) {
    value = in[static_cast<size_t>(from)];
    for (size_t d = shape.size(); d-- > 0;) {
      from += stride[d];
      if (++index[d] < shape[d]) break;
      from -= stride[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}

}  // namespace

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "(";
  for (size_t d = 0; d < shape.size(); ++d) text += (d > 0 ? ", " : "") + std::to_string(shape[d]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

array read_npy(std::string_view bytes, std::string_view file) {
  if (bytes.substr(0, magic.size()) != magic) fail_at_byte(file, 0, "not a .npy file: it does not start with \\x93NUMPY");
  if (bytes.size() < magic.size() + 2) fail_at_byte(file, bytes.size(), "the file ends in the format version");
  const unsigned version = static_cast<unsigned char>(bytes[6]);
  if (version < 1 || version > 3) fail_at_byte(file, 6, "format version " + std::to_string(version) + ", expected 1, 2 or 3");
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t begin = magic.size() + 2 + length_bytes;
  if (bytes.size() < begin) fail_at_byte(file, bytes.size(), "the file ends in the header length");
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, length_bytes);
  if (length > bytes.size() - begin)
    fail_at_byte(file, 8,
                 "the header length is " + std::to_string(length) + ", but only " + std::to_string(bytes.size() - begin) + " bytes follow");

  const npy_header header = dict_parser(bytes.substr(begin, length), begin, file).parse();
  const number_type& type = find_type(header.descr, file, begin);
  int64_t count = 1;
  bool empty = false;
  for (const int64_t side : header.shape) empty = empty || side == 0;
  for (const int64_t side : header.shape) {
    if (empty) break;
    if (side > largest_array / count)
      fail_at_byte(file, begin,
                   "shape " + shape_text(header.shape) + " has more than the limit of " + std::to_string(largest_array) + " values");
    count *= side;
  }
  if (empty) count = 0;
  const std::string_view raw = bytes.substr(begin + length);
  const uint64_t needed = static_cast<uint64_t>(count) * type.bytes;
  if (raw.size() != needed)
    fail_at_byte(file, begin + length,
                 "shape " + shape_text(header.shape) + " of type " + in_quotes(header.descr) + " needs " + std::to_string(needed) +
                     " bytes of data, the file has " + std::to_string(raw.size()));

  array result;
  result.shape = header.shape;
  result.is_bool = std::string_view(type.descr) == "b1";
  result.data.resize(static_cast<size_t>(count));
  type.convert(raw, result.data);
  if (header.fortran_order && header.shape.size() > 1 && count > 0) result.data = to_c_order(result.data, header.shape);
  return result;
}

std::string write_npy(std::span<const int64_t> shape, std::span<const float> data) {
  std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  // Spaces and a line end pad the header so that the data starts at a multiple of 64.
  const size_t before = magic.size() + 2 + 2;
  dict.append(63 - (before + dict.size()) % 64, ' ');
  dict += '\n';
  std::string out(magic);
  out += '\x01';
  out += '\0';
  out += static_cast<char>(dict.size() & 255);
  out += static_cast<char>(dict.size() >> 8);
  out += dict;
  out.append(reinterpret_cast<const char*>(data.data()), data.size_bytes());
  return out;
}

}  // namespace perturb::cli
