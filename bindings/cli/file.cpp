// Whole files in and out (POSIX).
#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "error.h"

namespace perturb::cli {

namespace {

constexpr size_t largest_file = size_t{1} << 30;

class descriptor {
 public:
  explicit descriptor(int number) : number_(number) {}
  ~descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  int get() const { return number_; }
  int close() { return ::close(std::exchange(number_, -1)); }

 private:
  int number_;
};

std::string reason() { return std::strerror(errno); }

// The file that a symbolic link points to is what gets replaced, not the link.
std::string final_place(const std::string& path) {
  std::error_code error;
  const std::filesystem::path place = std::filesystem::canonical(path, error);
  return error ? path : place.string();
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

std::string read_file(const std::string& path) {
  const descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail_in_file(path, "cannot be opened: " + reason());
  struct stat status {};
  if (::fstat(file.get(), &status) == 0 && S_ISDIR(status.st_mode)) fail_in_file(path, "is a folder");
  std::string bytes;
  if (S_ISREG(status.st_mode) && static_cast<size_t>(status.st_size) <= largest_file)
    bytes.reserve(static_cast<size_t>(status.st_size) + 1);
  // Read until the end, whatever the size says: pipes have none.
  while (true) {
    const size_t had = bytes.size();
    constexpr size_t step = size_t{1} << 18;
    bytes.resize(had + step);
    const ssize_t got = ::read(file.get(), bytes.data() + had, step);
    if (got < 0 && errno == EINTR) {
      bytes.resize(had);
      continue;
    }
    if (got < 0) fail_in_file(path, "cannot be read: " + reason());
    bytes.resize(had + static_cast<size_t>(got));
    if (bytes.size() > largest_file) fail_in_file(path, "is larger than the limit of 1 GiB");
    if (got == 0) return bytes;
  }
}

void check_writable(const std::string& path) {
  const std::string place = final_place(path);
  struct stat status {};
  if (::stat(place.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) fail_in_file(path, "cannot be written: it is not a regular file");
  if (::access(folder_of(place).c_str(), W_OK | X_OK) != 0) fail_in_file(path, "cannot be written: " + reason());
}

void write_file(const std::string& path, std::string_view bytes) {
  const std::string place = final_place(path);
  const std::string partial = place + ".partial-" + std::to_string(::getpid());
  const auto fail = [&](const char* what) {
    const std::string why = reason();
    ::unlink(partial.c_str());
    throw compute_error(path + ": " + what + ": " + why);
  };
  descriptor file(::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.get() < 0) throw compute_error(path + ": cannot be written: " + reason());
  while (!bytes.empty()) {
    const ssize_t put = ::write(file.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail("cannot be written");
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  if (file.close() != 0) fail("cannot be written");
  if (::rename(partial.c_str(), place.c_str()) != 0) fail("cannot be put in place");
}

std::string extension(std::string_view path) {
  std::string text = std::filesystem::path(path).extension().string();
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string file_name(std::string_view path) { return std::filesystem::path(path).filename().string(); }

}  // namespace perturb::cli
