// Readers of the data folder's files, for the tests: MovingAI maps and scenarios, Warcraft grids, elevation grids, motion-planning mazes
// and label rankings. They trust the files (the project's own readers are tested elsewhere) and throw on what they cannot read.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace perturb::test {

inline std::filesystem::path data_directory() {
  const char* chosen = std::getenv("PERTURB_DATA");
  return chosen ? chosen : PERTURB_DATA_DEFAULT;
}

inline std::ifstream open_data(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open " + path.string());
  return file;
}

struct octile_map {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> passable;  // '.', 'G' and 'S'
};
inline octile_map read_octile_map(const std::filesystem::path& path) {
  std::ifstream file = open_data(path);
  octile_map map;
  std::string word, row;
  while (file >> word && word != "map") {
    if (word == "height") file >> map.height;
    if (word == "width") file >> map.width;
  }
  for (int64_t r = 0; r < map.height && file >> row; ++r)
    for (int64_t c = 0; c < map.width; ++c) map.passable.push_back(row.at(c) == '.' || row.at(c) == 'G' || row.at(c) == 'S');
  if (static_cast<int64_t>(map.passable.size()) != map.height * map.width) throw std::runtime_error("short map " + path.string());
  return map;
}

struct scenario {
  int64_t source = 0, target = 0;
  double length = 0;
};
inline std::vector<scenario> read_scenarios(const std::filesystem::path& path, const octile_map& map) {
  std::ifstream file = open_data(path);
  std::string line, name;
  std::getline(file, line);
  std::vector<scenario> all;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    int64_t bucket, width, height, sx, sy, gx, gy;
    double length;
    if (!(fields >> bucket >> name >> width >> height >> sx >> sy >> gx >> gy >> length)) continue;
    const int64_t source = sy * map.width + sx, target = gy * map.width + gx;
    if (map.passable.at(source) && map.passable.at(target)) all.push_back({source, target, length});
  }
  return all;
}

struct cost_grid {
  std::string name;
  int64_t height = 0, width = 0;
  double recorded_cost = 0;
  std::vector<float> cost, path;  // path: 0/1
};
inline std::vector<cost_grid> read_warcraft(const std::filesystem::path& path) {
  std::ifstream file = open_data(path);
  int64_t count = 0, height = 0, width = 0;
  file >> count >> height >> width;
  std::vector<cost_grid> all(count);
  std::string word;
  for (cost_grid& grid : all) {
    grid.height = height;
    grid.width = width;
    file >> word >> grid.name >> word >> grid.recorded_cost;
    grid.cost.resize(height * width);
    grid.path.resize(height * width);
    for (float& c : grid.cost) file >> c;
    for (float& p : grid.path) file >> p;
  }
  if (!file) throw std::runtime_error("short file " + path.string());
  return all;
}

// Costs as the reference uses them: elevation - least elevation + 1.
inline cost_grid read_elevation(const std::filesystem::path& path) {
  std::ifstream file = open_data(path);
  cost_grid grid;
  std::string key;
  double value = 0;
  for (int line = 0; line < 6; ++line) {
    file >> key >> value;
    if (key == "ncols") grid.width = static_cast<int64_t>(value);
    if (key == "nrows") grid.height = static_cast<int64_t>(value);
  }
  grid.cost.resize(grid.height * grid.width);
  float least = 1e30f;
  for (float& c : grid.cost) {
    file >> c;
    least = c < least ? c : least;
  }
  if (!file) throw std::runtime_error("short file " + path.string());
  for (float& c : grid.cost) c = c - least + 1;
  return grid;
}

struct maze {
  int64_t height = 0, width = 0, goal = 0;
  std::vector<uint8_t> passable;
  std::vector<int> distance;  // to the goal, -1: none
};
inline std::vector<maze> read_mazes(const std::filesystem::path& path) {
  std::ifstream file = open_data(path);
  int64_t count = 0, height = 0, width = 0;
  file >> count >> height >> width;
  std::vector<maze> all(count);
  std::string word;
  for (maze& m : all) {
    m.height = height;
    m.width = width;
    int64_t index = 0, r = 0, c = 0;
    file >> word >> index >> word >> r >> c;
    m.goal = r * width + c;
    for (int64_t row = 0; row < height && file >> word; ++row)
      for (char cell : word) m.passable.push_back(cell == '.');
    m.distance.resize(height * width);
    for (int& d : m.distance) file >> d;
  }
  if (!file) throw std::runtime_error("short file " + path.string());
  return all;
}

// The label columns (L1..Ll) of a label ranking table: 1 is the best.
struct rankings {
  int64_t rows = 0, labels = 0;
  std::vector<float> rank;
};
inline rankings read_rankings(const std::filesystem::path& path) {
  std::ifstream file = open_data(path);
  std::string line, field;
  std::getline(file, line);
  int64_t columns = 0, features = 0;
  rankings out;
  for (std::istringstream header(line); std::getline(header, field, ','); ++columns) features += field[0] == 'A';
  out.labels = columns - features;
  while (std::getline(file, line)) {
    if (line.size() < 2) continue;
    std::istringstream fields(line);
    for (int64_t c = 0; c < columns && std::getline(fields, field, ','); ++c)
      if (c >= features) out.rank.push_back(std::stof(field));
    ++out.rows;
  }
  if (static_cast<int64_t>(out.rank.size()) != out.rows * out.labels) throw std::runtime_error("ragged table " + path.string());
  return out;
}

}  // namespace perturb::test
