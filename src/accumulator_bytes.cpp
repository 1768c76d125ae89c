// Writing and reading saved accumulators. Every field is written byte by byte, so that neither padding nor byte order matters.
#include "accumulator_bytes.h"

#include <cinttypes>
#include <cstring>

#include "error.h"

namespace perturb {
namespace {

constexpr char magic[8] = {'p', 'e', 'r', 't', 'u', 'r', 'b', 'A'};
constexpr uint32_t format_version = 1;

// FNV-1a.
class checksum {
 public:
  void add(const void* bytes, size_t count) {
    for (size_t i = 0; i < count; ++i) hash_ = (hash_ ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001b3u;
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

class writer {
 public:
  explicit writer(unsigned char* out) : out_(out) {}
  void word(uint64_t value) {
    for (int i = 0; i < 8; ++i, ++used_)
      if (out_) out_[used_] = (unsigned char)(value >> (8 * i));
  }
  void text(const char* bytes, size_t count) {
    if (out_) std::memcpy(out_ + used_, bytes, count);
    used_ += count;
  }
  size_t used() const { return used_; }

 private:
  unsigned char* out_;
  size_t used_ = 0;
};

uint64_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

void add_number(checksum& sum, int64_t number) {
  unsigned char bytes[8];
  writer(bytes).word((uint64_t)number);
  sum.add(bytes, sizeof bytes);
}

uint64_t grid_hash(const grid* g) {
  if (!g) return 0;
  checksum sum;
  const int64_t numbers[] = {g->height, g->width, g->ends.source, g->ends.target, g->count_source, g->refuse_negative, (int64_t)bits_of(g->diagonal_factor), (int64_t)bits_of(g->cost_floor)};
  for (const int64_t number : numbers) add_number(sum, number);
  sum.add(g->passable.data(), g->passable.size());
  sum.add(g->steps.data(), g->steps.size());
  for (const grid_ends& ends : g->rows) {
    add_number(sum, ends.source);
    add_number(sum, ends.target);
  }
  for (const std::vector<int32_t>* set : {&g->sources, &g->targets}) {
    if (set->empty()) continue;
    add_number(sum, (int64_t)set->size());
    for (const int32_t cell : *set) add_number(sum, cell);
  }
  return sum.value();
}

// k, or a hash of the rows'.
uint64_t k_hash(const perturb_oracle& o) {
  if (o.row_k.empty()) return (uint64_t)o.k;
  checksum sum;
  for (const int32_t k : o.row_k) add_number(sum, k);
  return sum.value();
}

// What makes two estimates the same, with the names that an error uses.
struct field {
  const char* name;
  uint64_t value;
};
constexpr int field_count = 18;
struct fields {
  field all[field_count];
};

// k and terms of sum-of-gamma noise, beside the distribution's number.
uint64_t gamma_bits(const call& c) { return (uint64_t)c.gamma.power << 8 | (uint64_t)c.gamma.terms << 32; }

fields fields_of(const perturb_accumulator& a) {
  const call& c = a.call;
  const perturb_oracle& o = *c.oracle;
  return {{{"format version", format_version},
           {"operation", (uint64_t)c.operation},
           {"oracle", (uint64_t)o.kind},
           {"n", (uint64_t)o.n},
           {"m", (uint64_t)o.m},
           {"k", k_hash(o)},
           {"rank order", o.descending},
           {"rank base", (uint64_t)o.base},
           {"grid", grid_hash(o.grid.get())},
           {"noise.distribution", (uint64_t)c.noise | gamma_bits(c)},
           {"noise.mode", c.multiplicative},
           {"noise.sampling", c.antithetic},
           {"noise.epsilon", bits_of(c.epsilon)},
           {"noise.epsilon_per_item and epsilon_per_row (given or not)", (uint64_t)(c.epsilon_per_item != nullptr) | (uint64_t)(c.epsilon_per_row != nullptr) << 1},
           {"noise.seed", a.seed},
           {"noise.first_row", (uint64_t)c.first_row},
           {"batch", (uint64_t)c.batch},
           {"words of a row", (uint64_t)a.words_per_row}}};
}

perturb_status check_field(const char* what, const field& f, uint64_t value) {
  if (value == f.value) return PERTURB_OK;
  return fail(PERTURB_ERROR_INVALID_ARGUMENT, "%s: of another estimate: %s is %" PRIu64 " there and %" PRIu64 " here", what, f.name, value, f.value);
}

// The layout, for sizes and for bytes.
size_t write(const perturb_accumulator& a, const int64_t* rows, unsigned char* out) {
  writer w(out);
  w.text(magic, sizeof magic);
  for (const field& f : fields_of(a).all) w.word(f.value);
  w.word(a.samples.ranges().size());
  for (const sample_range& r : a.samples.ranges()) {
    w.word((uint64_t)r.first);
    w.word((uint64_t)r.last);
  }
  const int64_t count = a.call.batch * (a.words_per_row + saved_sum_words);
  if (!out) return w.used() + (size_t)count * 8 + 8;
  for (int64_t i = 0; i < count; ++i) w.word((uint64_t)rows[i]);
  checksum sum;
  sum.add(out, w.used());
  w.word(sum.value());
  return w.used();
}

}  // namespace

uint64_t word_at(const unsigned char* bytes) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= (uint64_t)bytes[i] << (8 * i);
  return value;
}

size_t saved_size(const perturb_accumulator& a) { return write(a, nullptr, nullptr); }

void write_accumulator(const perturb_accumulator& a, const int64_t* rows, void* bytes) { write(a, rows, static_cast<unsigned char*>(bytes)); }

perturb_status check_same_estimate(const perturb_accumulator& a, const perturb_accumulator& other) {
  const fields mine = fields_of(a), theirs = fields_of(other);
  for (int i = 0; i < field_count; ++i)
    if (const perturb_status s = check_field("other", mine.all[i], theirs.all[i].value)) return s;
  return PERTURB_OK;
}

perturb_status read_accumulator(const perturb_accumulator& a, const void* bytes, size_t size, saved_accumulator& saved) {
  const unsigned char* at = static_cast<const unsigned char*>(bytes);
  const size_t head = sizeof magic + (field_count + 1) * 8;
  if (size < head + 8 || std::memcmp(at, magic, sizeof magic) != 0)
    return fail(PERTURB_ERROR_INVALID_ARGUMENT, "bytes: not a saved accumulator (%zu bytes)", size);
  checksum sum;
  sum.add(bytes, size - 8);
  if (sum.value() != word_at(at + size - 8)) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "bytes: cut short or changed (their checksum is wrong)");
  at += sizeof magic;
  for (const field& f : fields_of(a).all) {
    if (const perturb_status s = check_field("bytes", f, word_at(at))) return s;
    at += 8;
  }
  const uint64_t count = word_at(at);
  at += 8;
  const size_t rows = (size_t)(a.call.batch * (a.words_per_row + saved_sum_words)) * 8;
  if (count > size / 16 || size != head + count * 16 + rows + 8) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "bytes: %zu of them, expected %zu", size, head + (size_t)count * 16 + rows + 8);
  int64_t last = -1;
  for (uint64_t i = 0; i < count; ++i, at += 16) {
    const sample_range range = {(int64_t)word_at(at), (int64_t)word_at(at + 8)};
    if (range.first <= last || range.last <= range.first || range.last > (INT64_C(1) << 32)) return fail(PERTURB_ERROR_INVALID_ARGUMENT, "bytes: their sample ranges are not ascending");
    last = range.last;
    saved.ranges.push_back(range);
  }
  saved.rows = at;
  return PERTURB_OK;
}

}  // namespace perturb
