// The option --cotangent, of commands that have gradients.
#ifndef PERTURB_CLI_COTANGENT_H
#define PERTURB_CLI_COTANGENT_H

#include <cstdint>
#include <string>
#include <vector>

namespace perturb::cli {

// [rows, columns]: ones, or the numbers of a .csv or .npy of that shape. Where one_row_serves, a single row is taken for all.
std::vector<float> load_cotangent(const std::string& source, int64_t rows, int64_t columns, bool one_row_serves);

}  // namespace perturb::cli

#endif
