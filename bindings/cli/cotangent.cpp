// A cotangent from what --cotangent says.
#include "cotangent.h"

#include <cmath>
#include <optional>

#include "csv.h"
#include "error.h"
#include "file.h"
#include "npy.h"
#include "text.h"

namespace perturb::cli {

std::vector<float> load_cotangent(const std::string& source, int64_t rows, int64_t columns, bool one_row_serves) {
  std::vector<float> g;
  if (source == "ones") return std::vector<float>(static_cast<size_t>(rows * columns), 1.0f);
  std::vector<int64_t> shape;
  if (extension(source) == ".csv") {
    const std::string text = read_file(source);
    const csv_table table = read_csv(text, source, std::nullopt);
    shape = {table.rows(), table.width()};
    for (int64_t r = 0; r < table.rows(); ++r)
      for (int64_t c = 0; c < table.width(); ++c) g.push_back(csv_number(table, r, c));
  } else if (extension(source) == ".npy") {
    const array values = read_npy(read_file(source), source);
    shape = values.shape;
    for (const double value : values.data) {
      if (!std::isfinite(static_cast<float>(value)))
        fail_in_file(source, "value " + std::to_string(g.size()) + " is not a finite float32 number");
      g.push_back(static_cast<float>(value));
    }
  } else {
    throw input_error("--cotangent: expected ones or a .csv or .npy file, got " + in_quotes(source));
  }
  if (shape.size() == 1) shape.insert(shape.begin(), 1);
  if (shape == std::vector<int64_t>{1, columns} && one_row_serves) {
    g.reserve(static_cast<size_t>(rows * columns));
    for (int64_t r = 1; r < rows; ++r) g.insert(g.end(), g.begin(), g.begin() + columns);
    return g;
  }
  if (shape != std::vector<int64_t>{rows, columns})
    fail_in_file(source, "the cotangent has shape " + shape_text(shape) + ", expected (" + std::to_string(rows) + ", " +
                             std::to_string(columns) + ")" + (one_row_serves ? " or one row for all" : ""));
  return g;
}

}  // namespace perturb::cli
