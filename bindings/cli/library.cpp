// The C API with owners and exceptions.
#include "library.h"

#include "error.h"

namespace perturb::cli {

void check(perturb_status status) {
  if (status == PERTURB_OK) return;
  const std::string text = perturb_last_error();
  const std::string name = perturb_status_name(status);
  throw compute_error(text.empty() ? name : text + " (" + name + ")");
}

context_handle make_context(const std::string& device, int threads) {
  perturb_context_options options = PERTURB_CONTEXT_OPTIONS_INIT;
  options.backend = device == "cpu" ? PERTURB_BACKEND_CPU : device == "cuda" ? PERTURB_BACKEND_CUDA : PERTURB_BACKEND_AUTO;
  options.threads = threads;
  perturb_context* context = nullptr;
  check(perturb_context_create(&options, &context));
  return context_handle(context);
}

oracle_handle make_argmax(int64_t n) {
  perturb_oracle* oracle = nullptr;
  check(perturb_argmax_create(n, &oracle));
  return oracle_handle(oracle);
}

oracle_handle make_top_k(int64_t n, int64_t k) {
  perturb_oracle* oracle = nullptr;
  check(perturb_top_k_create(n, k, &oracle));
  return oracle_handle(oracle);
}

oracle_handle make_rank(int64_t n, bool descending, int base) {
  perturb_rank_options options = PERTURB_RANK_OPTIONS_INIT;
  options.descending = descending ? 1 : 0;
  options.base = base;
  perturb_oracle* oracle = nullptr;
  check(perturb_rank_create(n, &options, &oracle));
  return oracle_handle(oracle);
}

oracle_handle make_sort(int64_t n, bool descending) {
  perturb_oracle* oracle = nullptr;
  check(perturb_sort_create(n, descending ? 1 : 0, &oracle));
  return oracle_handle(oracle);
}

oracle_handle make_ordered_top_k(int64_t n, int64_t k) {
  perturb_oracle* oracle = nullptr;
  check(perturb_ordered_top_k_create(n, k, &oracle));
  return oracle_handle(oracle);
}

oracle_handle make_grid_path(const perturb_grid_path_options& options) {
  perturb_oracle* oracle = nullptr;
  check(perturb_grid_path_create(&options, &oracle));
  return oracle_handle(oracle);
}

std::string version_text(uint32_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
}

}  // namespace perturb::cli
