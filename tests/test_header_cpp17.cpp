// perturb.h is a C++ header too: it compiles as C++17 without extensions and links with C linkage.
#include <perturb/perturb.h>

#include <cstdio>
#include <type_traits>

static_assert(std::is_standard_layout<perturb_noise>::value && std::is_trivially_copyable<perturb_noise>::value, "plain data");
static_assert(std::is_standard_layout<perturb_context_options>::value && std::is_trivially_copyable<perturb_context_options>::value,
              "plain data");
static_assert(std::is_standard_layout<perturb_aimle_state>::value && sizeof(perturb_aimle_state) == 24, "a layout that device code can rely on");

int main() {
  const perturb_noise noise = PERTURB_NOISE_INIT;
  const perturb_context_options context = PERTURB_CONTEXT_OPTIONS_INIT;
  const perturb_rank_options rank = PERTURB_RANK_OPTIONS_INIT;
  const perturb_grid_path_options grid = PERTURB_GRID_PATH_OPTIONS_INIT;
  const perturb_custom_options custom = PERTURB_CUSTOM_OPTIONS_INIT;
  const perturb_lpgd_options lpgd = PERTURB_LPGD_OPTIONS_INIT;
  const perturb_adaptive_options adaptive = PERTURB_ADAPTIVE_OPTIONS_INIT;
  const perturb_cost_options cost = PERTURB_COST_OPTIONS_INIT;
  const perturb_aimle_options aimle = PERTURB_AIMLE_OPTIONS_INIT;
  const perturb_aimle_state state = PERTURB_AIMLE_STATE_INIT;
  const bool fine = noise.struct_size == sizeof noise && context.struct_size == sizeof context && rank.struct_size == sizeof rank &&
                    grid.struct_size == sizeof grid && custom.struct_size == sizeof custom && lpgd.struct_size == sizeof lpgd && adaptive.struct_size == sizeof adaptive &&
                    cost.struct_size == sizeof cost && aimle.struct_size == sizeof aimle && state.alpha == 1.0f && perturb_version() == PERTURB_VERSION && perturb_last_error() != nullptr;
  std::printf("checks: 11\n");
  return fine ? 0 : 1;
}
