// The two ways a command can fail. main() turns each into one line on stderr and an exit code.
#ifndef PERTURB_CLI_ERROR_H
#define PERTURB_CLI_ERROR_H

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace perturb::cli {

// Bad usage or bad input, exit code 2. The text is the whole message: "FILE:LINE: what is wrong" where a file is at fault.
struct input_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The library or the operating system could not do the work, exit code 1.
struct compute_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws an input_error. Lines count from 1; bytes from 0, for binary files.
[[noreturn]] void fail_in_file(std::string_view file, const std::string& what);
[[noreturn]] void fail_at_line(std::string_view file, int64_t line, const std::string& what);
[[noreturn]] void fail_at_byte(std::string_view file, uint64_t byte, const std::string& what);

}  // namespace perturb::cli

#endif
