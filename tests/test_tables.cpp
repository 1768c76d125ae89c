// Oracles whose rows differ: every row of a table gives the bits of the oracle of that row alone, whatever the threads, the instruction
// set, the split of the rows and the operation; what a table may hold; and accumulators that tell tables apart.
#include <gtest/gtest.h>

#include <cstddef>

#include "accumulators.h"

namespace perturb::test {
namespace {

// Of every class of src/cpu/oracles and every operation. Combs make some rows' ends far apart and others' near, so that scales differ.
std::vector<test_case> tables() {
  case_list list;
  const auto add = [&](test_case c, int64_t samples, const char* note) {
    c.tables = true;
    c.samples = samples;
    c.batch = 7;
    list.add(c, note);
  };
  add(list.top_k_case(9, 9), 20, "grouped_or_sorted");
  add(list.top_k_case(60, 6), 40, "grouped");
  add(list.top_k_case(60, 60), 40, "sorted");
  add(list.top_k_case(700, 500), 10, "single");
  add(list.top_k_case(12, 12, inputs::ties), 3, "ties");
  add(list.grid_case(5, 7), 20, "group");
  add(list.grid_case(6, 6, PERTURB_CONNECT_4), 1, "one_sample");
  test_case comb = list.grid_case(11, 13, PERTURB_CONNECT_8_NO_CORNER_CUTTING);
  comb.wall = walls::comb;
  comb.count_source = 0;
  add(comb, 20, "comb");
  comb.diagonal_factor = 1.41421356f;
  comb.distribution = PERTURB_NORMAL;
  comb.mode = PERTURB_MULTIPLICATIVE;
  add(comb, 20, "comb_slanted");
  add(list.grid_case(40, 130), 2, "beyond_the_groups_limit_of_a_side");
  add(list.grid_case(129, 130), 2, "large");
  return list.all;
}

TEST(tables, rows_are_those_of_their_own_oracles) {
  const context_ptr reference = make_context(1);
  std::vector<context_ptr> contexts;
  for (const char* isa : {"scalar", "avx2", "avx512"})
    for (int32_t threads : {1, 3})
      if (context_ptr context = make_context_on(isa, threads)) contexts.push_back(std::move(context));
  for (const test_case& of : tables())
    for (int64_t first_row : {0, 2}) {
      test_case c = of;
      c.first_row = first_row;
      if (first_row && c.n > 4000) continue;
      prepared_case table(reference.get(), c), alone(reference.get(), c);
      for (perturb_operation operation : operations) {
        if (!table.has(operation)) continue;
        SCOPED_TRACE(c.name + " " + operation_names[operation] + " first_row " + std::to_string(first_row));
        const bool noisy = operation != PERTURB_OP_SOLVE && operation != PERTURB_OP_LPGD && operation != PERTURB_OP_SPO_PLUS;
        std::vector<float> expected;
        for (int64_t b = 0; b < c.batch; ++b) {
          alone.oracle = make_oracle(row_case(c, noisy ? first_row + b : b));
          const std::vector<float> row = run_rows(reference.get(), alone, operation, make_noise(c, table.factors), b, 1);
          expected.insert(expected.end(), row.begin(), row.end());
        }
        for (const context_ptr& context : contexts) EXPECT_TRUE(same_bits(expected, run_all(context.get(), table, operation)));
        if (!noisy || operation == PERTURB_OP_SAMPLE) continue;
        std::vector<float> joined;
        for (int64_t b = 0; b < c.batch; b += 3) {
          const std::vector<float> rows =
              run_rows(contexts.back().get(), table, operation, make_noise(c, table.factors), b, std::min<int64_t>(3, c.batch - b));
          joined.insert(joined.end(), rows.begin(), rows.end());
        }
        EXPECT_TRUE(same_bits(expected, joined)) << "three rows at a time";
      }
    }
}

TEST(tables, equal_entries_are_the_plain_oracle) {
  const context_ptr context = make_context(2);
  for (test_case c : tables()) {
    c.tables = false;
    prepared_case plain(context.get(), c), table(context.get(), c);
    const std::vector<int64_t> k(c.batch, c.k), sources(c.batch, c.source), targets(c.batch, c.target);
    if (c.is_grid()) {
      const std::vector<uint8_t> passable = make_passable(c);
      perturb_grid_path_options options = grid_options(c, passable);
      options.rows = c.batch;
      options.row_sources = sources.data();
      options.row_targets = targets.data();
      options.source = options.target = -1;  // ignored
      table.oracle = make_grid(options);
    } else {
      table.oracle = make_top_k_rows(c.n, k);
    }
    for (perturb_operation operation : operations) {
      if (!plain.has(operation)) continue;
      EXPECT_TRUE(same_bits(run_all(context.get(), plain, operation), run_all(context.get(), table, operation)))
          << c.name << " " << operation_names[operation];
    }
  }
}

// A row's fixed point has the range that its own source needs: from the corridor cells are 64 times as many steps away as in the block, and in
// quanta that suit it the two ways around the middle of the block would cost the same.
TEST(tables, scales_are_the_rows_own) {
  const context_ptr context = make_context(2);
  const int64_t width = 200, sources[] = {0, 2 * width}, targets[] = {width - 1, 4 * width + 2};
  std::vector<uint8_t> passable(5 * width, 0);
  std::vector<float> theta(2 * 5 * width, 1.0f), y(theta.size()), alone(5 * width);
  for (int64_t column = 0; column < width; ++column) passable[column] = 1;
  for (int64_t row = 2; row < 5; ++row)
    for (int64_t column = 0; column < 3; ++column) passable[row * width + column] = 1;
  float* const block = theta.data() + 5 * width + 2 * width;
  block[1] = block[2] = block[width + 2] = 1.4f;
  block[width + 1] = 0x1p24f;
  perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
  options.height = 5;
  options.width = width;
  options.connectivity = PERTURB_CONNECT_4;
  options.passable = passable.data();
  options.rows = 2;
  options.row_sources = sources;
  options.row_targets = targets;
  const oracle_ptr table = make_grid(options);
  require(perturb_solve(context.get(), table.get(), 2, theta.data(), y.data(), nullptr));
  std::vector<float> expected(5 * width);
  for (const int64_t cell : {2 * width, 3 * width, 4 * width, 4 * width + 1, 4 * width + 2}) expected[cell] = 1;
  EXPECT_TRUE(same_bits(expected, std::vector<float>(y.begin() + 5 * width, y.end())));
}

// The workspace that is advertised is enough for the row that needs most.
TEST(tables, workspace) {
  const context_ptr context = make_context(2);
  for (const test_case& c : tables()) {
    const prepared_case p(context.get(), c);
    for (entry_point entry : entry_points) {
      if (!has(p, entry) || entry == entry_point::noise_fill) continue;
      host_call call(context.get(), p, entry);
      const std::vector<float> expected = call.run();
      const size_t bytes = workspace_of(call.valid);
      std::vector<unsigned char> memory(bytes + 64, 0xa5);
      require(perturb_context_set_workspace(context.get(), memory.data() + 1, bytes));
      EXPECT_TRUE(same_bits(expected, call.run())) << c.name << " " << name_of(entry);
      require(perturb_context_set_workspace(context.get(), nullptr, 0));
      for (size_t i = 0; i < memory.size(); ++i)
        if ((i < 1 || i > bytes) && memory[i] != 0xa5) {
          ADD_FAILURE() << "byte " << i << " outside the workspace was written";
          break;
        }
      count();
    }
  }
}

// Every entry point, and the size query: rows past the last are refused, the last is fine.
TEST(tables, calls_past_the_last_row_are_refused) {
  const context_ptr context = make_context(2);
  const auto invalid = PERTURB_ERROR_INVALID_ARGUMENT;
  const auto grid_of_three = [] {
    perturb_grid_path_options options = PERTURB_GRID_PATH_OPTIONS_INIT;
    options.height = options.width = 3;
    const int64_t sources[] = {0, 4, 8}, targets[] = {8, 4, 2};
    options.rows = 3;
    options.row_sources = sources;
    options.row_targets = targets;
    return make_grid(options);
  };
  for (bool grid : {false, true})
    for (entry_point entry : entry_points) {
      if (entry == entry_point::noise_fill || of_sorts(entry)) continue;
      prepared_request p(context.get(), entry, grid ? grid_of_three() : make_top_k_rows(4, {1, 4, 2}));
      EXPECT_TRUE(accepted(p));
      request r = p.valid;
      perturb_noise later = p.noise;
      const auto size_status = [&] {
        size_t bytes = 77;
        const perturb_status status =
            perturb_workspace_size(context.get(), operation_of(entry), r.oracle, r.takes_noise() ? r.noise : nullptr, r.batch, &bytes);
        if (status != PERTURB_OK) {
          EXPECT_EQ(bytes, 77u);
        }
        return status;
      };
      EXPECT_EQ(size_status(), PERTURB_OK);
      r.batch = 4;
      EXPECT_TRUE(refused(p, r, invalid, "batch: expected rows of the oracle's table, 0 to 2, got rows 0 to 3"));
      EXPECT_EQ(size_status(), invalid);
      r.batch = 0;
      EXPECT_EQ(r.call(), PERTURB_OK);
      if (!r.takes_noise()) continue;
      r.noise = &later;
      r.batch = 2;
      later.first_row = 2;
      EXPECT_TRUE(refused(p, r, invalid, "got rows 2 to 3"));
      r.batch = 1;
      EXPECT_EQ(r.call(), PERTURB_OK) << perturb_last_error();
      later.first_row = 3;
      EXPECT_TRUE(refused(p, r, invalid, "got rows 3 to 3"));
      later.first_row = (int64_t{1} << 32) - 1;
      EXPECT_TRUE(refused(p, r, invalid, "batch"));
      later.first_row = 0;
      for (entry_point kept : accumulated) {
        if (kept != entry) continue;
        perturb_accumulator* made = nullptr;
        EXPECT_EQ(perturb_accumulator_create(context.get(), operation_of(entry), r.oracle, &later, 4, &made), invalid);
        EXPECT_EQ(made, nullptr);
        count(2);
      }
    }
}

TEST(tables, top_k_tables_are_checked) {
  const auto refuse = [](int64_t n, int64_t rows, const int64_t* k, const char* name) -> testing::AssertionResult {
    count();
    perturb_oracle* oracle = reinterpret_cast<perturb_oracle*>(&rows);
    const perturb_status status = perturb_top_k_rows_create(n, rows, k, &oracle);
    const std::string error = perturb_last_error();
    if (status != PERTURB_ERROR_INVALID_ARGUMENT || oracle || error.find(name) == std::string::npos)
      return testing::AssertionFailure() << perturb_status_name(status) << " \"" << error << "\", expected " << name;
    return testing::AssertionSuccess();
  };
  const int64_t good[] = {1, 5, 3}, zero[] = {1, 0, 3}, large[] = {1, 2, 6}, negative[] = {INT64_MIN, 2, 3};
  for (int64_t n : {int64_t{0}, int64_t{-1}, int64_t{1} << 31}) EXPECT_TRUE(refuse(n, 3, good, "n: expected"));
  for (int64_t rows : {int64_t{0}, int64_t{-1}, (int64_t{1} << 32) + 1, INT64_MAX}) EXPECT_TRUE(refuse(5, rows, good, "rows: expected 1 to"));
  EXPECT_TRUE(refuse(5, 3, nullptr, "k: must not be NULL"));
  EXPECT_TRUE(refuse(5, 3, zero, "k[1]: expected 1 to 5, got 0"));
  EXPECT_TRUE(refuse(5, 3, large, "k[2]: expected 1 to 5, got 6"));
  EXPECT_TRUE(refuse(5, 3, negative, "k[0]"));
  EXPECT_EQ(perturb_top_k_rows_create(5, 3, good, nullptr), PERTURB_ERROR_INVALID_ARGUMENT);
  std::vector<int64_t> k(good, good + 3);
  const oracle_ptr oracle = make_top_k_rows(5, k);
  k = {9, 9, 9};  // copied
  EXPECT_EQ(perturb_oracle_input_size(oracle.get()), 5);
  const context_ptr context = make_context(1);
  const std::vector<float> theta{1, 5, 2, 4, 3, 1, 5, 2, 4, 3, 1, 5, 2, 4, 3};
  std::vector<float> y(15), value(3);
  require(perturb_solve(context.get(), oracle.get(), 3, theta.data(), y.data(), value.data()));
  EXPECT_TRUE(same_bits({0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1}, y));
  EXPECT_TRUE(same_bits({5, 15, 12}, value));
}

// Parts of an accumulator with tables, merged and carried over bytes, give the bits of one call; another table is another estimate.
TEST(tables, accumulators) {
  const context_ptr context = make_context(2);
  for (test_case c : tables()) {
    if (c.n > 4000 || c.samples < 3) continue;
    c.first_row = 1;
    const prepared_case p(context.get(), c);
    // One entry more; other k or sources; other targets.
    std::vector<prepared_case> others;
    for (int change = 0; change < 3; ++change) {
      test_case different = c;
      if (change == 0) different.batch += 1;
      if (change == 1) different.source = c.n - 1;
      if (change > 0) different.k = 1 + c.k / (1 + change);
      others.emplace_back(context.get(), c);
      others.back().oracle = make_tables(different, change == 2);
    }
    for (entry_point entry : accumulated) {
      if (!has(p, entry)) continue;
      SCOPED_TRACE(c.name + " " + name_of(entry));
      host_call call(context.get(), p, entry);
      const std::vector<float> expected = call.run();
      const accumulator_ptr first = make_accumulator(call.valid), second = make_accumulator(call.valid);
      require(perturb_accumulator_add(first.get(), 2, c.samples - 2, call.valid.theta, call.valid.extra));
      require(perturb_accumulator_add(second.get(), 0, 2, call.valid.theta, call.valid.extra));
      const std::vector<unsigned char> bytes = saved(second.get());
      for (const prepared_case& other : others) {
        host_call of_other(context.get(), other, entry);
        const accumulator_ptr foreign = make_accumulator(of_other.valid);
        EXPECT_EQ(perturb_accumulator_load(foreign.get(), bytes.data(), bytes.size()), PERTURB_ERROR_INVALID_ARGUMENT);
        EXPECT_NE(std::string(perturb_last_error()).find(c.is_grid() ? "grid" : "k is"), std::string::npos) << perturb_last_error();
        EXPECT_EQ(perturb_accumulator_merge(foreign.get(), second.get()), PERTURB_ERROR_INVALID_ARGUMENT);
        count(3);
      }
      require(perturb_accumulator_load(first.get(), bytes.data(), bytes.size()));
      require(perturb_accumulator_result(first.get(), call.valid.theta, call.valid.extra, call.valid.output));
      EXPECT_TRUE(same_bits(expected, call.results()));
    }
  }
}

}  // namespace
}  // namespace perturb::test
