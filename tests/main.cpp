// The main of every GoogleTest binary: runs the tests, then prints how many comparisons they made ("checks: 12345"), so that a
// family that compares nothing cannot look green.
#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>

#include "support.h"

namespace {

class report_checks : public testing::EmptyTestEventListener {
  void OnTestProgramEnd(const testing::UnitTest& unit) override {
    std::printf("checks: %" PRId64 " in %d tests\n", perturb::test::checks().load(), unit.test_to_run_count());
    std::fflush(stdout);
  }
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new report_checks);
  return RUN_ALL_TESTS();
}
