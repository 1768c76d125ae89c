// The C API with owners and exceptions: unique_ptr for handles, compute_error for a status that is not OK.
#ifndef PERTURB_CLI_LIBRARY_H
#define PERTURB_CLI_LIBRARY_H

#include <perturb/perturb.h>

#include <cstdint>
#include <memory>
#include <string>

namespace perturb::cli {

struct context_deleter {
  void operator()(perturb_context* context) const { perturb_context_destroy(context); }
};
struct oracle_deleter {
  void operator()(perturb_oracle* oracle) const { perturb_oracle_destroy(oracle); }
};
using context_handle = std::unique_ptr<perturb_context, context_deleter>;
using oracle_handle = std::unique_ptr<perturb_oracle, oracle_deleter>;

// Throws what perturb_last_error() says, as a compute_error, unless the status is OK.
void check(perturb_status status);

// device: cpu, cuda or auto. threads: of the CPU, 0 for one per processor.
context_handle make_context(const std::string& device, int threads);

oracle_handle make_argmax(int64_t n);
oracle_handle make_top_k(int64_t n, int64_t k);
oracle_handle make_rank(int64_t n, bool descending, int base);
oracle_handle make_sort(int64_t n, bool descending);
oracle_handle make_ordered_top_k(int64_t n, int64_t k);
oracle_handle make_grid_path(const perturb_grid_path_options& options);

std::string version_text(uint32_t version);  // "0.1.0" of 100

}  // namespace perturb::cli

#endif
