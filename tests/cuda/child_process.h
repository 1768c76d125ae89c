// Tests that spoil the whole process run in a child: this program again, with one disabled test picked. Its environment may differ.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

namespace perturb::test {

// Whether this process runs in the emulator.
inline bool is_emulated() {
  const char* preload = std::getenv("LD_PRELOAD");
  return preload && std::string(preload).find("libcudart") != std::string::npos;
}

// The child's tests pass; else what it printed. `prepare` changes the child's environment.
inline testing::AssertionResult passes_in_a_child(const char* test, void (*prepare)()) {
  int ends[2];
  if (pipe(ends) != 0) return testing::AssertionFailure() << "no pipe";
  const pid_t child = fork();
  if (child < 0) return testing::AssertionFailure() << "no child";
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    prepare();
    const std::string filter = std::string("--gtest_filter=") + test;
    execl("/proc/self/exe", "child", filter.c_str(), "--gtest_also_run_disabled_tests", static_cast<char*>(nullptr));
    _exit(127);
  }
  close(ends[1]);
  std::string output;
  std::array<char, 4096> part;
  for (ssize_t got; (got = read(ends[0], part.data(), part.size())) > 0;) output.append(part.data(), static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  const bool ran = output.find("[  PASSED  ] 1 test") != std::string::npos;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && ran) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "the child ended with status " << status << ":\n" << output;
}

// Its device is gone: without the emulator the runtime finds no driver, and on a GPU it may see none.
inline void without_devices() {
  if (is_emulated()) {
    unsetenv("LD_PRELOAD");
    unsetenv("LD_LIBRARY_PATH");
  }
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
}

// Faults are meant: what the emulator reports of them is no failure of the child.
inline void with_faults() { setenv("CUSIM_EXIT_CODE", "0", 1); }

}  // namespace perturb::test
