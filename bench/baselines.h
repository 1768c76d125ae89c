// The yardstick: the same expectations as a competent engineer would write them first. One thread, the standard library, buffers reused.
#pragma once

#include <cstdint>

#include "workloads.h"

namespace perturb::bench {

// The mean of y over `samples` perturbations of each of the first `rows` rows to mean[rows, n]; unless null, the mean of <y, scores>
// (of a path: its cost) to value[rows]. Timed without value.
void run_baseline(const workload& w, int64_t rows, int64_t samples, uint64_t seed, float* mean, double* value = nullptr);

// n standard normals.
void fill_baseline(int64_t n, uint64_t seed, float* z);

// Compares the baseline with the library on a workload's first row, each with seeds of its own: the mean value and every mean of y must
// agree within 6 combined standard errors. Empty if they do, else what differs. For paths with ties the value alone is compared.
std::string disagreement(const workload& w);

}  // namespace perturb::bench
