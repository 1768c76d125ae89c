// The progress bar.
#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace perturb::cli {

progress::progress(std::string what)
    : what_(std::move(what)), start_(std::chrono::steady_clock::now()), terminal_(::isatty(STDERR_FILENO) == 1) {}

progress::~progress() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void progress::show(double share) {
  if (!terminal_ || std::chrono::steady_clock::now() - start_ < std::chrono::milliseconds(500)) return;
  constexpr int width = 30;
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
  const std::string bar = std::string(static_cast<size_t>(full), '#') + std::string(static_cast<size_t>(width - full), '.');
  std::fprintf(stderr, "\r\x1b[K%s [%s] %3.0f%%", what_.c_str(), bar.c_str(), share * 100);
  std::fflush(stderr);
  drawn_ = true;
}

}  // namespace perturb::cli
