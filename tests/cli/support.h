// Shared by the command's tests: the message of a failure, and the files of tests/data.
#ifndef PERTURB_TESTS_CLI_SUPPORT_H
#define PERTURB_TESTS_CLI_SUPPORT_H

#include <gtest/gtest.h>

#include <string>

#include "error.h"
#include "file.h"

// The message of the input_error that `work` throws; "no error" if it throws none.
template <typename Work>
std::string message_of(const Work& work) {
  try {
    work();
  } catch (const perturb::cli::input_error& error) {
    return error.what();
  }
  return "no error";
}

inline std::string data_file(const std::string& name) { return std::string(PERTURB_TEST_DATA) + "/" + name; }
inline std::string data_text(const std::string& name) { return perturb::cli::read_file(data_file(name)); }

#endif
