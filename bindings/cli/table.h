// A table for people: the first column to the left, all others to the right.
#ifndef PERTURB_CLI_TABLE_H
#define PERTURB_CLI_TABLE_H

#include <string>
#include <vector>

namespace perturb::cli {

class text_table {
 public:
  explicit text_table(std::vector<std::string> heads) : rows_{std::move(heads)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }  // as many cells as there are heads
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace perturb::cli

#endif
