// Blocks of draws, their masses, and how a draw becomes a point.
#include "ball.h"

#include <algorithm>
#include <vector>

#include "check.h"

using namespace clever;

namespace {

void test_grid_covers_once() {
  for (int64_t numel = 0; numel <= 200; ++numel) {
    const BlockGrid grid(numel);
    CHECK(grid.n_blocks == (numel + 3) / 4, "%ld", static_cast<long>(numel));
    std::vector<int> seen(static_cast<size_t>(numel), 0);
    for (int64_t block = 0; block < grid.n_blocks; ++block) {
      int elements = 0;
      for (int i = 0; i < 4; ++i) {
        const int64_t element = grid.element(i, block);
        if (element >= numel) continue;
        // Those that a block lacks are its last ones: the CPU's loop stops at the first.
        CHECK(elements == i, "a gap in block %ld of %ld", static_cast<long>(block),
              static_cast<long>(numel));
        ++elements;
        ++seen[static_cast<size_t>(element)];
      }
      CHECK((elements == 4) == (block < grid.full), "block %ld of %ld has %d",
            static_cast<long>(block), static_cast<long>(numel), elements);
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }),
          "%ld elements are not each covered once", static_cast<long>(numel));
  }
}

// A draw's masses are |t|^p, mass() is their sum, and block_mass() that of those that are there, in
// units that hold it.
template <class Norm>
void test_masses(double p) {
  using Sampler = typename Norm::Sampler;
  const Stream stream = make_stream(stream_key(1, 2, p), 3);
  double largest = 0.0;
  for (uint32_t block = 0; block < 20000; ++block) {
    const Block drawn = Sampler::draw(stream, block, p);
    double sum = 0.0;
    for (int i = 0; i < 4; ++i) {
      const double size = std::abs(static_cast<double>(drawn.t[i]));
      const double mass = std::isinf(p) ? 0.0 : std::pow(size, p);
      // t is exp of something within 20, rounded to float32, and its p-th power repeats that
      // error p times; masses below 1e-37 are held there.
      CHECK(std::abs(static_cast<double>(drawn.mass[i]) - mass) <= p * 3e-6 * mass + 2e-38 ||
                std::isinf(p),
            "%s(%g): %a, mass %a", Norm::kName, p, size, static_cast<double>(drawn.mass[i]));
      sum += static_cast<double>(drawn.mass[i]);
      largest = std::max(largest, size);
    }
    const double mass = static_cast<double>(Sampler::mass(stream, block, p));
    CHECK(std::abs(mass - sum) <= 1e-6 * sum, "%s(%g): masses %a and %a", Norm::kName, p, mass,
          sum);
  }
  CHECK(largest > 0.9 && largest < 30.0, "%s(%g): largest draw %g", Norm::kName, p, largest);

  for (int64_t numel = 1; numel < 12; ++numel) {
    const BlockGrid grid(numel);
    for (int64_t block = 0; block < grid.n_blocks; ++block) {
      const Block drawn = Sampler::draw(stream, static_cast<uint32_t>(block), p);
      float expected = 0.0f;
      for (int i = 0; i < 4; ++i) {
        if (grid.element(i, block) < numel) expected += drawn.mass[i];
      }
      if (block < grid.full) expected = Sampler::mass(stream, static_cast<uint32_t>(block), p);
      const double mass = block_mass<Norm>(stream, block, grid, p) * kMassUnit;
      CHECK(std::abs(mass - static_cast<double>(expected)) <= kMassUnit / 2,
            "%s(%g): block %ld of %ld elements", Norm::kName, p, static_cast<long>(block),
            static_cast<long>(numel));
    }
  }
}

// The heaviest words of every law fit in 31 bits.
void test_largest_masses() {
  const uint32_t words[] = {0u, 1u, 0x40000000u, 0x7fffffffu, 0x80000000u, 0xffffffffu};
  double largest = 0.0;
  for (const uint32_t w0 : words) {
    for (const uint32_t w1 : words) {
      const float sums[] = {NormalLaw::mass(w0, w1, w0, w1), LaplaceLaw::mass(w0, w1, w0, w1)};
      for (const float sum : sums) largest = std::max(largest, static_cast<double>(sum));
      for (const double p : {1.0 + 1e-6, 1.01, 1.5, 2.0, 3.0, 100.0}) {
        const float of_one = GammaSampler(p).candidate(w0, w1, 0u, 0xffffffffu).mass;
        largest = std::max(largest, 4.0 * static_cast<double>(of_one));
      }
    }
  }
  CHECK(largest > 130.0 && largest < 150.0, "%g", largest);
  CHECK(mass_units(static_cast<float>(largest)) > 0, "%g", largest);
}

// All for a share of 1 and none for one of 0; what is there for a small share stays for a larger.
void test_signs() {
  std::mt19937 random(7);
  const SparseSigns none(0.0), few(0.125), all(1.0);
  int there = 0, positive = 0;
  constexpr int kWords = 100000;
  for (int i = 0; i < kWords; ++i) {
    const auto word = static_cast<uint32_t>(random());
    const float sign = few.element(word);
    CHECK(none.element(word) == 0.0f && std::abs(all.element(word)) == 1.0f, "word %u", word);
    CHECK(sign == 0.0f || sign == all.element(word), "word %u", word);
    there += sign != 0.0f ? 1 : 0;
    positive += sign > 0.0f ? 1 : 0;
  }
  CHECK(std::abs(there - kWords / 8) < 5 * 105, "%d of %d elements are there", there, kWords);
  CHECK(std::abs(positive - kWords / 16) < 5 * 77, "%d are positive", positive);
}

// The move is within an ulp of scale * t, whose scale is no float32.
void test_writer_precision() {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  const Clip none{-INFINITY, INFINITY};
  double worst = 0.0;
  for (int trial = 0; trial < 1'000'000; ++trial) {
    const double scale = std::exp(10.0 * uniform(random));
    const auto t = static_cast<float>(4.0 * uniform(random));
    const double exact = scale * static_cast<double>(t);
    worst = std::max(worst, ulps(PointWriter(scale, none)(0.0f, t), exact));
    CHECK(PointWriterDouble(scale, none)(0.0, t) == exact, "%a * %a", scale, double{t});
  }
  CHECK(worst <= 1.0, "%g ulp", worst);
}

void test_clip() {
  const Clip clip{-0.25, 0.75};
  for (const float center : {-3.0f, -0.25f, 0.0f, 0.5f, 0.75f, 3.0f}) {
    for (const float t : {-2.0f, -0.1f, 0.0f, 0.1f, 2.0f}) {
      const float x = PointWriter(0.5, clip)(center, t);
      const double y = PointWriterDouble(0.5, clip)(center, t);
      const double exact = std::clamp(double{center} + 0.5 * double{t}, -0.25, 0.75);
      CHECK(y == exact && std::abs(double{x} - exact) <= 1e-7, "%g %g", double{center}, double{t});
    }
  }
  // A NaN in an image is not hidden by the clip.
  CHECK(std::isnan(PointWriter(0.5, clip)(NAN, 1.0f)), "NaN");
  CHECK(std::isnan(PointWriterDouble(0.5, clip)(NAN, 1.0f)), "NaN");
}

}  // namespace

int main() {
  test_grid_covers_once();
  test_masses<L1>(1.0);
  test_masses<L2>(2.0);
  test_masses<LInf>(INFINITY);
  for (const double p : {1.01, 1.5, 3.0, 10.0, 100.0}) test_masses<Lp>(p);
  test_largest_masses();
  test_signs();
  test_writer_precision();
  test_clip();
  return report();
}
