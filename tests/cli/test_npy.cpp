// The .npy reader and writer: every type and version, both orders, round trips, and every way a file can be wrong.
#include <bit>
#include <cmath>
#include <cstring>

#include "npy.h"
#include "support.h"

namespace {

using perturb::cli::array;
using perturb::cli::read_npy;
using perturb::cli::shape_text;
using perturb::cli::write_npy;

// A file with this dict and these bytes of data.
std::string file_of(const std::string& dict, const std::string& data, int version = 1) {
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  const uint32_t length = static_cast<uint32_t>(dict.size());
  out.append(reinterpret_cast<const char*>(&length), version == 1 ? 2 : 4);
  return out + dict + data;
}

std::string dict_of(const std::string& descr, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }\n";
}

template <typename Number>
std::string bytes_of(const std::vector<Number>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Number));
}

template <typename Number>
std::vector<double> read_as(const std::string& descr, const std::vector<Number>& values) {
  return read_npy(file_of(dict_of(descr, "(" + std::to_string(values.size()) + ",)"), bytes_of(values)), "a.npy").data;
}

TEST(npy, every_type) {
  EXPECT_EQ(read_as<float>("<f4", {1.5f, -2}), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(read_as<double>("<f8", {1e300, -2}), (std::vector<double>{1e300, -2}));
  EXPECT_EQ(read_as<int8_t>("|i1", {-128, 127}), (std::vector<double>{-128, 127}));
  EXPECT_EQ(read_as<int16_t>("<i2", {-32768, 3}), (std::vector<double>{-32768, 3}));
  EXPECT_EQ(read_as<int32_t>("<i4", {-5, 3}), (std::vector<double>{-5, 3}));
  EXPECT_EQ(read_as<int64_t>("<i8", {-5, int64_t{1} << 40}), (std::vector<double>{-5, 1099511627776.0}));
  EXPECT_EQ(read_as<uint8_t>("|u1", {255, 3}), (std::vector<double>{255, 3}));
  EXPECT_EQ(read_as<uint16_t>("<u2", {65535, 3}), (std::vector<double>{65535, 3}));
  EXPECT_EQ(read_as<uint32_t>("<u4", {4294967295u, 3}), (std::vector<double>{4294967295.0, 3}));
  EXPECT_EQ(read_as<uint64_t>("<u8", {5, uint64_t{1} << 63}), (std::vector<double>{5, 9223372036854775808.0}));
  EXPECT_EQ(read_as<uint8_t>("|b1", {0, 1}), (std::vector<double>{0, 1}));
  EXPECT_EQ(read_as<float>("=f4", {2}), (std::vector<double>{2}));
  // Half precision: 1, -2, the largest, the smallest, infinity.
  const std::vector<double> half = read_as<uint16_t>("<f2", {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x7C00, 0x7E00});
  EXPECT_EQ(std::vector<double>(half.begin(), half.begin() + 5), (std::vector<double>{1, -2, 65504, std::ldexp(1.0, -24), INFINITY}));
  EXPECT_TRUE(std::isnan(half[5]));
}

TEST(npy, versions_shapes_and_spelling) {
  const std::string data = bytes_of<float>({1, 2, 3, 4, 5, 6});
  for (const int version : {1, 2, 3}) {
    const array a = read_npy(file_of(dict_of("<f4", "(2, 3)"), data, version), "a.npy");
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(a.data, (std::vector<double>{1, 2, 3, 4, 5, 6}));
    EXPECT_FALSE(a.is_bool);
  }
  // Other order of keys, double quotes, no last comma, a size that Python 2 wrote.
  const array b = read_npy(file_of("{\"shape\":(6L,),\"descr\":\"<f4\",\"fortran_order\":False}", data), "a.npy");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{6}));
  EXPECT_TRUE(read_npy(file_of(dict_of("<f4", "()"), bytes_of<float>({7})), "a.npy").shape.empty());
  EXPECT_TRUE(read_npy(file_of(dict_of("<f4", "(0, 9999999999, 9999999999)", true), ""), "a.npy").data.empty());
  EXPECT_TRUE(read_npy(file_of(dict_of("|b1", "(1,)"), std::string(1, '\1')), "a.npy").is_bool);
}

TEST(npy, fortran_order) {
  const array a = read_npy(file_of(dict_of("<f4", "(2, 3)", true), bytes_of<float>({1, 4, 2, 5, 3, 6})), "a.npy");
  EXPECT_EQ(a.data, (std::vector<double>{1, 2, 3, 4, 5, 6}));
  std::vector<float> raw;
  for (int k = 0; k < 4; ++k)
    for (int j = 0; j < 3; ++j)
      for (int i = 0; i < 2; ++i) raw.push_back(static_cast<float>(100 * i + 10 * j + k));
  const array b = read_npy(file_of(dict_of("<f4", "(2, 3, 4)", true), bytes_of(raw)), "a.npy");
  size_t at = 0;
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 4; ++k) EXPECT_EQ(b.data[at++], 100 * i + 10 * j + k);
}

TEST(npy, round_trip) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{6}, {2, 3}, {1, 2, 3}, {3, 2, 1}}) {
    const std::vector<float> data = {1, -0.0f, 3.25f, INFINITY, 1e-40f, -3e38f};
    const std::string file = write_npy(shape, data);
    EXPECT_EQ(file.size() % 64, 24u);  // the data starts at a multiple of 64
    const array back = read_npy(file, "a.npy");
    EXPECT_EQ(back.shape, shape);
    for (size_t i = 0; i < data.size(); ++i)
      EXPECT_EQ(std::bit_cast<uint32_t>(static_cast<float>(back.data[i])), std::bit_cast<uint32_t>(data[i]));
  }
}

TEST(npy, malformed) {
  const auto message = [](const std::string& bytes) { return message_of([&] { read_npy(bytes, "a.npy"); }); };
  const auto header = [&](const std::string& dict) { return message(file_of(dict, "")); };
  const std::string good = file_of(dict_of("<f4", "(2,)"), bytes_of<float>({1, 2}));
  EXPECT_EQ(message(""), "a.npy: byte 0: not a .npy file: it does not start with \\x93NUMPY");
  EXPECT_EQ(message("PK\x03\x04"), "a.npy: byte 0: not a .npy file: it does not start with \\x93NUMPY");
  EXPECT_EQ(message(good.substr(0, 7)), "a.npy: byte 7: the file ends in the format version");
  EXPECT_EQ(message(file_of("", "", 4)), "a.npy: byte 6: format version 4, expected 1, 2 or 3");
  EXPECT_EQ(message(good.substr(0, 9)), "a.npy: byte 9: the file ends in the header length");
  EXPECT_EQ(message(good.substr(0, 30)), "a.npy: byte 8: the header length is 58, but only 20 bytes follow");
  EXPECT_EQ(message(good.substr(0, good.size() - 1)), "a.npy: byte 68: shape (2,) of type '<f4' needs 8 bytes of data, the file has 7");
  EXPECT_EQ(message(good + "x"), "a.npy: byte 68: shape (2,) of type '<f4' needs 8 bytes of data, the file has 9");
  EXPECT_EQ(header(""), "a.npy: byte 10: expected '{' in the header, but it ends here");
  EXPECT_EQ(header("["), "a.npy: byte 10: expected '{' in the header, found '['");
  EXPECT_EQ(header("{descr"), "a.npy: byte 11: expected a key in quotes or '}', found 'd'");
  EXPECT_EQ(header("{'descr"), "a.npy: byte 11: a quote that is never closed");
  EXPECT_EQ(header("{'descr' '<f4'"), "a.npy: byte 19: expected ':' in the header, found '''");
  EXPECT_EQ(header("{'order': 1"), "a.npy: byte 11: unknown key 'order', expected descr, fortran_order or shape");
  EXPECT_EQ(header("{'descr': '<f4', 'descr': '<f4'}"), "a.npy: byte 27: the key 'descr' comes twice");
  EXPECT_EQ(header("{'descr': [('a', '<f4')]}"), "a.npy: byte 20: structured arrays are not supported; save plain numbers");
  EXPECT_EQ(header("{'fortran_order': maybe}"), "a.npy: byte 28: fortran_order must be True or False");
  EXPECT_EQ(header("{'shape': 3}"), "a.npy: byte 20: expected '(' in the header, found '3'");
  EXPECT_EQ(header("{'shape': (-3,)}"), "a.npy: byte 21: the shape needs whole numbers of at most 63 bits, found '-'");
  EXPECT_EQ(header("{'shape': (3 4)}"), "a.npy: byte 23: expected ')' in the header, found '4'");
  EXPECT_EQ(header("{'shape': (99999999999999999999,)}"), "a.npy: byte 21: the shape needs whole numbers of at most 63 bits, found '9'");
  EXPECT_EQ(header("{'descr': '<f4' 'shape': (3,)}"), "a.npy: byte 26: expected '}' in the header, found '''");
  EXPECT_EQ(header("{}"), "a.npy: byte 10: the header has no key 'descr'");
  EXPECT_EQ(header("{'descr': '<f4', 'shape': (3,)}"), "a.npy: byte 10: the header has no key 'fortran_order'");
  EXPECT_EQ(header("{'descr': '<f4', 'fortran_order': False}"), "a.npy: byte 10: the header has no key 'shape'");
  EXPECT_EQ(header(dict_of("<f4", "(1,)") + "x"), "a.npy: byte 68: text after the header's closing brace");
  EXPECT_EQ(header(dict_of(">f4", "(1,)")), "a.npy: byte 10: type '>f4' is big-endian; save it as little-endian, e.g. array.astype('<f4')");
  EXPECT_EQ(header(dict_of("<c8", "(1,)")), "a.npy: byte 10: type '<c8' is not supported, expected <f2 <f4 <f8, i1 to i8, u1 to u8 or b1");
  EXPECT_EQ(header(dict_of("|O", "(1,)")), "a.npy: byte 10: type '|O' is not supported, expected <f2 <f4 <f8, i1 to i8, u1 to u8 or b1");
  EXPECT_EQ(header(dict_of("|u1", "(9999999999,)")), "a.npy: byte 10: shape (9999999999,) has more than the limit of 134217728 values");
  EXPECT_EQ(header(dict_of("|u1", "(4294967296, 4294967296, 4294967296)")),
            "a.npy: byte 10: shape (4294967296, 4294967296, 4294967296) has more than the limit of 134217728 values");
  std::string many = "(";
  for (int i = 0; i < 33; ++i) many += "1, ";
  EXPECT_EQ(header(dict_of("|u1", many + ")")), "a.npy: byte 157: more than 32 dimensions");
}

TEST(npy, shape_text) {
  EXPECT_EQ(shape_text(std::vector<int64_t>{}), "()");
  EXPECT_EQ(shape_text(std::vector<int64_t>{3}), "(3,)");
  EXPECT_EQ(shape_text(std::vector<int64_t>{3, 4}), "(3, 4)");
}

}  // namespace
