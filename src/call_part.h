// What a call does of perturb -> solve -> reduce -> finish: all of it, or, for an accumulator, the sums alone, or only their results.
#pragma once

namespace perturb {

enum class call_part { whole, sums, results };

}  // namespace perturb
