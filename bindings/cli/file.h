// Whole files in and out. Outputs appear complete or not at all: they are written beside their place and renamed.
#ifndef PERTURB_CLI_FILE_H
#define PERTURB_CLI_FILE_H

#include <string>
#include <string_view>

namespace perturb::cli {

// The bytes of a file. input_error if it cannot be read or is larger than 1 GiB.
std::string read_file(const std::string& path);

// Throws an input_error unless a file can be written at `path`: to be called before the work whose result goes there.
void check_writable(const std::string& path);

// Replaces the file at `path`. compute_error if that fails; an older file is then still there.
void write_file(const std::string& path, std::string_view bytes);

// ".png" of "a/b.PNG", in lower case; "" without one.
std::string extension(std::string_view path);
// "b.png" of "a/b.png".
std::string file_name(std::string_view path);

}  // namespace perturb::cli

#endif
