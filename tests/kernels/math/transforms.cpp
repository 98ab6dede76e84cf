// Logarithm, exponential, sine, cosine and root against the machine's double precision library.
//
// transforms.h promises 3 ulp for each; the worst that these grids find is printed. A float32
// result that is correctly rounded is within half an ulp, so 3 leaves room for no wrong
// coefficient: one that is off in its last digits costs tens of ulp somewhere.
#include "transforms.h"

#include <algorithm>

#include "check.h"

using namespace clever;

namespace {

constexpr double kMaxUlps = 3.0;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int32_t kSmallestNormal = 0x00800000;
constexpr int32_t kLargest = 0x7f7fffff;

struct Worst {
  const char* name;
  double error = 0.0;
  explicit Worst(const char* name_) : name(name_) {}
  ~Worst() { std::printf("%s: at most %.2f ulp\n", name, error); }
  void add(double input, float got, double exact) {
    const double distance = ulps(got, exact);
    error = std::max(error, distance);
    CHECK(distance <= kMaxUlps, "%s(%a) = %a, true %a: %.2f ulp", name, input,
          static_cast<double>(got), exact, distance);
  }
};

void test_log() {
  Worst worst("log_positive");
  const auto check = [&](int32_t bits) {
    const float x = bits_to_float(bits);
    worst.add(x, log_positive(x), std::log(static_cast<double>(x)));
  };
  // A stride without a factor of 2 visits every exponent with ever other mantissas.
  for (int64_t bits = kSmallestNormal; bits <= kLargest; bits += 401) {
    check(static_cast<int32_t>(bits));
  }
  // Around 1 the result vanishes, and around the roots of 1/2 and 2 the exponent changes.
  for (const float at : {1.0f, 0.70710678f, 1.41421356f}) {
    for (int32_t step = -50000; step <= 50000; ++step) check(float_to_bits(at) + step);
  }
  check(kSmallestNormal);
  check(kLargest);
  CHECK(log_positive(1.0f) == 0.0f, "%a", static_cast<double>(log_positive(1.0f)));
  // Garbage is allowed here, but finite garbage: the norms add (x - x) to it.
  for (const float x : {0.0f, kInf, -1.0f, 1e-42f}) {
    CHECK(std::isfinite(log_positive(x)), "log_positive(%a)", static_cast<double>(x));
  }
}

void test_exp() {
  Worst worst("exp_bounded");
  const auto check = [&](float x) { worst.add(x, exp_bounded(x), std::exp(double{x})); };
  for (int i = 0; i <= 4'000'000; ++i) check(-87.0f + static_cast<float>(i) * (175.3f / 4e6f));
  for (int32_t bits = 0; bits < 0x42ae0000; bits += 997) {  // to 87, dense around zero
    check(bits_to_float(bits));
    check(-bits_to_float(bits));
  }
  const float held = exp_bounded(-87.0f);
  CHECK(held > 1.5e-38f && held < 1.7e-38f, "exp(-87) = %a", static_cast<double>(held));
  for (const float x : {-87.01f, -88.0f, -1000.0f, -3e38f, -kInf}) {
    CHECK(exp_bounded(x) == held, "exp_bounded(%a)", static_cast<double>(x));
  }
  for (const float x : {89.0f, 1000.0f, 3e38f, kInf}) {
    CHECK(exp_bounded(x) == kInf, "exp_bounded(%a)", static_cast<double>(x));
  }
  CHECK(exp_bounded(0.0f) == 1.0f && exp_bounded(-0.0f) == 1.0f, "exp(0)");
}

void test_sincos() {
  Worst worst_sin("sine"), worst_cos("cosine");
  constexpr long double kTwoPi = 6.283185307179586476925286766559L;
  const auto check = [&](uint32_t word) {
    const SinCos got = sincos_turns(word);
    // Turned by symmetry into the first eighth, so that the reference is exact to double precision
    // where the result is close to 0 too. The turns are integers: nothing is rounded on the way.
    const uint32_t half = word & 0x7fffffffu;
    const uint32_t quarter = half > 0x40000000u ? 0x80000000u - half : half;
    const bool high = quarter > 0x20000000u;
    const auto turn = static_cast<long double>(high ? 0x40000000u - quarter : quarter) * 0x1p-32L;
    const auto s = static_cast<double>(std::sin(kTwoPi * turn));
    const auto c = static_cast<double>(std::cos(kTwoPi * turn));
    const double sine = high ? c : s, cosine = high ? s : c;
    worst_sin.add(word, got.sin, word < 0x80000000u ? sine : -sine);
    worst_cos.add(word, got.cos, (half > 0x40000000u) == (word < 0x80000000u) ? -cosine : cosine);
  };
  for (uint64_t word = 0; word < uint64_t{1} << 32; word += 2503)
    check(static_cast<uint32_t>(word));
  for (uint32_t eighth = 0; eighth < 8; ++eighth) {
    for (uint32_t step = 0; step < 40000; ++step) check((eighth << 29) + step - 20000);
  }
  const struct {
    uint32_t word;
    float sin, cos;
  } exact[] = {{0, 0, 1}, {1u << 30, 1, 0}, {1u << 31, 0, -1}, {3u << 30, -1, 0}};
  for (const auto& turn : exact) {
    const SinCos got = sincos_turns(turn.word);
    CHECK(got.sin == turn.sin && got.cos == turn.cos, "%08x: %g %g", turn.word,
          static_cast<double>(got.sin), static_cast<double>(got.cos));
  }
}

void test_uniforms() {
  CHECK(uniform_positive(0) == 0x1p-33f, "smallest");
  CHECK(uniform_positive(0xffffffffu) == 1.0f, "largest");
  CHECK(uniform_symmetric(0x7fffffffu) == 1.0f && uniform_symmetric(0x80000000u) == -1.0f, "ends");
  CHECK(uniform_symmetric(0) == 0x1p-32f && uniform_symmetric(0xffffffffu) == -0x1p-32f, "middle");
  float previous = 0.0f, previous_symmetric = -2.0f;
  for (uint64_t word = 0; word < uint64_t{1} << 32; word += 1009) {
    const float u = uniform_positive(static_cast<uint32_t>(word));
    CHECK(u > 0.0f && u <= 1.0f && u >= previous, "word %llx", static_cast<long long>(word));
    previous = u;
    const float s = uniform_symmetric(static_cast<uint32_t>(word) ^ 0x80000000u);
    CHECK(s >= -1.0f && s <= 1.0f && s >= previous_symmetric, "word %llx",
          static_cast<long long>(word));
    previous_symmetric = s;
  }
}

// The exponential never rises with its word by more than the rounding of its logarithm, is never
// negative, and its root (a normal's radius) is that of the true one.
void test_exponential() {
  Worst worst("sqrt of an exponential");
  float previous = kInf;
  const auto check = [&](uint32_t word) {
    const float z = exponential(word);
    CHECK(z >= 0.0f && z <= 22.88f, "exponential(%08x) = %a", word, static_cast<double>(z));
    CHECK(z <= previous * (1.0f + 6.0f * 0x1p-24f), "exponential rises at %08x", word);
    previous = z;
    const double u = static_cast<double>(uniform_positive(word));
    worst.add(word, sqrtf(z), std::sqrt(-std::log(u)));
  };
  for (uint64_t word = 0; word < uint64_t{1} << 32; word += 1009)
    check(static_cast<uint32_t>(word));
  previous = kInf;
  for (uint64_t word = 0xfff00000u; word <= 0xffffffffu; word += 7) {
    check(static_cast<uint32_t>(word));
  }
}

// Increasing inputs give results that increase, but for the rounding of neighbours.
void test_monotone() {
  std::mt19937 random(1);
  for (int start = 0; start < 200; ++start) {
    const auto first = static_cast<int32_t>(0x33800000 + random() % (0x42ae0000 - 0x33800000));
    for (int32_t bits = first; bits < first + 2000; ++bits) {
      const float a = bits_to_float(bits), b = bits_to_float(bits + 4);
      CHECK(log_positive(b) >= log_positive(a), "log at %a", static_cast<double>(a));
      CHECK(exp_bounded(b) >= exp_bounded(a) * (1.0f - 0x1p-23f), "exp at %a",
            static_cast<double>(a));
    }
  }
}

}  // namespace

int main() {
  test_log();
  test_exp();
  test_sincos();
  test_uniforms();
  test_exponential();
  test_monotone();
  return report();
}
