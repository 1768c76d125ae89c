// A progress bar on stderr: only on a terminal, only for work of more than half a second, and gone when the work ends.
#ifndef PERTURB_CLI_PROGRESS_H
#define PERTURB_CLI_PROGRESS_H

#include <chrono>
#include <string>

namespace perturb::cli {

class progress {
 public:
  explicit progress(std::string what);
  ~progress();
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;
  void show(double share);  // 0 to 1

 private:
  std::string what_;
  std::chrono::steady_clock::time_point start_;
  bool terminal_, drawn_ = false;
};

}  // namespace perturb::cli

#endif
