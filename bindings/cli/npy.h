// NumPy .npy files, format versions 1, 2 and 3: a reader of little-endian numbers in C or Fortran order, and a writer of float32.
// The reader takes the file's bytes and its name (for messages), throws input_error and never looks at the disk.
#ifndef PERTURB_CLI_NPY_H
#define PERTURB_CLI_NPY_H

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace perturb::cli {

constexpr int64_t largest_array = int64_t{1} << 27;  // values; 1 GiB once they are doubles

struct array {
  std::vector<int64_t> shape;
  std::vector<double> data;  // in C order whatever the file had. 64-bit integers beyond 2^53 are rounded.
  bool is_bool = false;
};

// Types: <f2 <f4 <f8, |i1 <i2 <i4 <i8, |u1 <u2 <u4 <u8, |b1.
array read_npy(std::string_view bytes, std::string_view file);

// The bytes of a version 1 file with dtype <f4. data.size() must be the product of shape.
std::string write_npy(std::span<const int64_t> shape, std::span<const float> data);

// "(3, 4)", "(5,)" or "()": as NumPy prints it.
std::string shape_text(std::span<const int64_t> shape);

}  // namespace perturb::cli

#endif
