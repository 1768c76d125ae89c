// Fuzzes the readers of the command: MovingAI maps, ESRI ASCII grids, .npy and .csv. The first byte of an input picks the reader; the rest
// is the file. A reader may accept or throw an input_error that names the file; anything else is a defect.
// Built for libFuzzer, or with -DPERTURB_FUZZ_STANDALONE as a program that edits its seeds by itself:
//     fuzz_readers [seconds] [-runs=N] [-seed=FIRST]     a failure names its run: fuzz_readers -runs=1 -seed=RUN repeats it
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "csv.h"
#include "error.h"
#include "grid_file.h"
#include "npy.h"

#if defined(PERTURB_FUZZ_STANDALONE) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#include <sanitizer/common_interface_defs.h>
#define PERTURB_SANITIZER
#endif

namespace {

using namespace perturb::cli;

// Stops the program, which is how a fuzzer learns of a defect.
void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz_readers: %s\n", what);
  std::abort();
}

void check_grid(const grid& map) {
  require(map.height >= 1 && map.height <= largest_grid_side && map.width >= 1 && map.width <= largest_grid_side, "a grid of a wrong size");
  require(map.cost.size() == static_cast<size_t>(map.cells()) && map.passable.size() == map.cost.size(), "sizes of a grid differ");
  for (const float cost : map.cost) require(std::isfinite(cost), "a cost that is not finite");
}

void read_one(int reader, std::string_view bytes) {
  if (reader == 0) {
    check_grid(read_movingai_map(bytes, "fuzz"));
  } else if (reader == 1) {
    check_grid(read_esri_ascii(bytes, "fuzz"));
  } else if (reader == 2) {
    const array values = read_npy(bytes, "fuzz");
    int64_t count = 1;
    for (const int64_t side : values.shape) count = side == 0 ? 0 : count == 0 ? 0 : count * side;
    require(std::find(values.shape.begin(), values.shape.end(), 0) != values.shape.end() ? values.data.empty()
                                                                                         : values.data.size() == static_cast<size_t>(count),
            "an array's shape and data differ");
    if (values.shape.size() == 2 && values.shape[0] * values.shape[1] > 0) check_grid(grid_from_array(values, "fuzz"));
    // What we write of it reads back as the same floats.
    std::vector<float> floats;
    for (const double value : values.data) floats.push_back(static_cast<float>(value));
    if (values.data.empty()) return;
    const array again = read_npy(write_npy(values.shape, floats), "fuzz");
    require(again.shape == values.shape, "a round trip changed the shape");
    for (size_t i = 0; i < floats.size(); ++i) {
      const float back = static_cast<float>(again.data[i]);
      require(back == floats[i] || (std::isnan(back) && std::isnan(floats[i])), "a round trip changed a number");
    }
  } else {
    const std::optional<bool> header = reader == 3 ? std::nullopt : std::optional<bool>(reader == 4);
    const csv_table table = read_csv(bytes, "fuzz", header);
    require(table.rows() >= 1 && table.width() >= 1, "a table without rows or columns");
    require(table.fields.size() == static_cast<size_t>(table.rows() * table.width()), "a table's size and fields differ");
    for (int64_t row = 0; row < table.rows(); ++row) {
      for (int64_t column = 0; column < table.width(); ++column) {
        try {
          require(std::isfinite(csv_number(table, row, column)), "a number that is not finite");
        } catch (const input_error&) {
        }
      }
    }
  }
}

const std::vector<std::string>& seeds() {
  const auto npy = [](const std::string& dict, const std::string& data) {
    return "\x02\x93NUMPY\x01" + std::string(1, '\0') + static_cast<char>(dict.size()) + std::string(1, '\0') + dict + data;
  };
  static const std::vector<std::string> all = {
      std::string(1, '\0') + "type octile\nheight 2\nwidth 4\nmap\n.GS@\nOTW.\n",
      std::string(1, '\0') + "width 1\r\ntype octile\r\nheight 1\r\nmap\r\n.\r\n",
      "\x01ncols 3\nnrows 2\nxllcorner 0.5\nyllcorner -1e3\ncellsize 30\nNODATA_value -9999\n5 -9999 7.5\n5 6 +5e0\n",
      "\x01NCOLS 2\nNROWS 1\nnodata_value nan\nnan 4\n",
      npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", std::string(24, '?')),
      npy("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }\n", std::string(32, '@')),
      npy("{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }\n", "abcde"),
      npy("{\"shape\":(1L,1),\"descr\":\"<i2\",\"fortran_order\":False}", "ab"),
      "\x03"
      "a,b,c\n1,2,3\n4,5.5,-6e7\n",
      "\x03\xEF\xBB\xBF\"x, \"\"y\"\"\",z\r\n 1 ,\"2\"\r\n\r\nnan,\n",
      "\x04"
      "1,2\n3,4\n",
      "\x05"
      "x\n\n1e999\n",
  };
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    read_one(data[0] % 6, bytes);
  } catch (const input_error& error) {
    require(std::string_view(error.what()).substr(0, 5) == "fuzz:", "a message that does not name the file");
    require(std::strlen(error.what()) < 1000, "a message that is too long");
  }
  return 0;
}

#ifndef PERTURB_FUZZ_STANDALONE

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// An empty corpus starts from the seeds: tiny inputs are replaced by one of them, all others go libFuzzer's own way.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (size <= 2) {
    const std::string& start = seeds()[seed % seeds().size()];
    if (start.size() <= max_size) {
      std::memcpy(data, start.data(), start.size());
      return start.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

#else

namespace {

// splitmix64: every run has its own sequence, so that it can be repeated alone.
class random_numbers {
 public:
  explicit random_numbers(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t limit) {
    uint64_t x = state_ += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return (x ^ (x >> 31)) % limit;
  }

 private:
  uint64_t state_;
};

// One edit: a byte flipped, replaced or removed, a piece repeated, a word of the formats put in or over, or another seed spliced on.
void edit(std::string& input, random_numbers& random) {
  static const std::vector<std::string> words = {"-1",         "0",
                                                 "4096",       "4097",
                                                 "9999999999", "99999999999999999999",
                                                 "1e999",      "nan",
                                                 "inf",        "\n",
                                                 "\r\n",       ",",
                                                 "\"",         "\"\"",
                                                 "map",        "type",
                                                 "@@@",        "...",
                                                 "height ",    "width ",
                                                 "ncols ",     "\xFF\xFF\xFF\xFF",
                                                 "(",          ")",
                                                 "'",          "}",
                                                 "L",          "True",
                                                 "shape':",    "<f8",
                                                 "|b1",        " "};
  const size_t at = random.below(input.size() + 1);
  switch (random.below(7)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random.below(8)));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random.below(256));
      break;
    case 2:
      input.erase(at, 1 + random.below(8));
      break;
    case 3:
      input.insert(at, input.substr(random.below(input.size() + 1), 1 + random.below(32)));
      break;
    case 4:
      input.insert(at, words[random.below(words.size())]);
      break;
    case 5: {
      const std::string& word = words[random.below(words.size())];
      input.replace(at, std::min<size_t>(word.size(), input.size() - at), word);
      break;
    }
    default: {
      const std::string& other = seeds()[random.below(seeds().size())];
      input = input.substr(0, at) + other.substr(random.below(other.size()));
    }
  }
}

unsigned long long current_run = 0;

void name_run() { std::fprintf(stderr, "fuzz_readers: run %llu\n", current_run); }

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = UINT64_MAX, first = 1;
  double seconds = 10;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "-runs=", 6) == 0)
      runs = std::strtoull(argv[i] + 6, nullptr, 10), seconds = 1e9;
    else if (std::strncmp(argv[i], "-seed=", 6) == 0)
      first = std::strtoull(argv[i] + 6, nullptr, 10);
    else
      seconds = std::strtod(argv[i], nullptr);
  }
#ifdef PERTURB_SANITIZER
  __sanitizer_set_death_callback(name_run);
#endif
  std::signal(SIGABRT, [](int) { name_run(); });  // abort() goes on to end the program
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [start] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  uint64_t done = 0;
  for (; done < runs && (done % 64 != 0 || elapsed() < seconds); ++done) {
    current_run = first + done;
    random_numbers random(current_run);
    std::string input = seeds()[random.below(seeds().size())];
    for (uint64_t edits = random.below(4) == 0 ? random.below(20) : random.below(5); edits > 0; --edits) edit(input, random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
  }
  std::printf("fuzz_readers: %llu inputs, no defect\n", static_cast<unsigned long long>(done));
  return 0;
}

#endif
