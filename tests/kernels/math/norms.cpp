// Properties that every norm of the list must have, whatever its name: a norm that is added to the
// list is tested here without a new line.
#include "norms.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "check.h"

using namespace clever;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// The exponents that a norm stands for: its own, or some where it stands for all that are left.
template <class Norm>
std::vector<double> exponents() {
  if (std::isnan(Norm::kP)) return {1.0001, 1.5, 3.0, 7.0, 10.0, 100.0};
  return {Norm::kP};
}

double dual(double p) {
  if (p == 1.0) return kInf;
  return std::isinf(p) ? 1.0 : p / (p - 1.0);
}

// The norm as a kernel finds it, with the sum in A.
template <class A>
double norm_of(const std::vector<A>& x, double p) {
  return with_norm(p, [&](auto norm) {
    using Norm = decltype(norm);
    A acc{0};
    for (const A value : x) acc = Norm::update(acc, std::abs(value), p);
    if (!needs_rescale<Norm, A>(acc)) return Norm::finish(acc, p);
    double largest = 0.0;
    for (const A value : x) largest = larger_magnitude(largest, double{std::abs(value)});
    if (!(largest > 0.0 && largest <= DBL_MAX)) return largest;
    double sum = 0.0;
    for (const A value : x) sum = Norm::scaled_update(sum, double{std::abs(value)} / largest, p);
    return largest * Norm::finish(sum, p);
  });
}

// Relative error of a norm of n terms whose logarithms are within 10: each addition costs half an
// ulp, and in float32 a power of x costs |p log x| half ulps of its exponent, of which the root
// takes the p-th part. Twice that.
template <class A>
double tolerance(size_t n) {
  return (static_cast<double>(n) + 24.0) * static_cast<double>(std::numeric_limits<A>::epsilon());
}

template <class A>
std::vector<A> random_vector(std::mt19937& random, size_t n) {
  std::normal_distribution<double> normal;
  std::vector<A> x(n);
  for (A& value : x) value = static_cast<A>(normal(random));
  return x;
}

template <class Norm, class A>
void test_axioms(double p) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    const size_t n = 1 + random() % 40;
    const std::vector<A> x = random_vector<A>(random, n), y = random_vector<A>(random, n);
    const double tol = tolerance<A>(n);
    const double norm_x = norm_of(x, p), norm_y = norm_of(y, p);
    CHECK(norm_x > 0.0 && std::isfinite(norm_x), "%s(%g) of %zu: %a", Norm::kName, p, n, norm_x);

    // Homogeneity, far beyond where a plain sum of powers over- and underflows.
    for (const int exponent : {-100, -60, -1, 1, 60, 100}) {
      std::vector<A> scaled = x;
      for (A& value : scaled) value = static_cast<A>(std::ldexp(value, exponent));
      const double expected = std::ldexp(norm_x, exponent);
      // Elements that became subnormal have lost bits, at most half of one unit each.
      const double lost = static_cast<double>(n) * std::numeric_limits<A>::denorm_min();
      CHECK(std::abs(norm_of(scaled, p) - expected) <= 2 * tol * expected + lost,
            "%s(%g) times 2^%d", Norm::kName, p, exponent);
    }
    std::vector<A> negated = x, sum = x;
    double product = 0.0, largest = 0.0, total = 0.0;
    for (size_t i = 0; i < n; ++i) {
      negated[i] = -x[i];
      sum[i] = x[i] + y[i];
      product += double{x[i]} * double{y[i]};
      largest = std::max(largest, double{std::abs(x[i])});
      total += double{std::abs(x[i])};
    }
    CHECK(norm_of(negated, p) == norm_x, "%s(%g) of -x", Norm::kName, p);
    CHECK(norm_of(sum, p) <= (norm_x + norm_y) * (1 + 2 * tol), "%s(%g): triangle", Norm::kName, p);
    CHECK(std::abs(product) <= norm_x * norm_of(y, dual(p)) * (1 + 2 * tol), "%s(%g): Hoelder",
          Norm::kName, p);
    CHECK(norm_x >= largest * (1 - tol) && norm_x <= total * (1 + tol),
          "%s(%g): between the largest and the sum", Norm::kName, p);

    // Hoelder is an equality where |y|^q is in proportion to |x|^p.
    if (p > 1.0 && p <= 10.0) {
      std::vector<double> aligned(n), as_double(x.begin(), x.end());
      double reached = 0.0;
      for (size_t i = 0; i < n; ++i) {
        aligned[i] = std::copysign(std::pow(std::abs(as_double[i]), p - 1.0), as_double[i]);
        reached += aligned[i] * as_double[i];
      }
      const double bound = norm_x * norm_of(aligned, dual(p));
      CHECK(std::abs(reached - bound) <= 4 * tol * bound, "%s(%g): %a and %a", Norm::kName, p,
            reached, bound);
    }
  }
}

template <class Norm, class A>
void test_special_values(double p) {
  const std::vector<A> zeros(5, A{0});
  CHECK(norm_of(zeros, p) == 0.0, "%s(%g) of zeros", Norm::kName, p);
  CHECK(norm_of(std::vector<A>{}, p) == 0.0, "%s(%g) of nothing", Norm::kName, p);
  for (size_t place = 0; place < 5; ++place) {
    std::vector<A> one = zeros, infinite(5, A{2}), undefined(5, A{2}), both(5, A{2});
    one[place] = A{-3};
    CHECK(std::abs(norm_of(one, p) - 3.0) <= 3 * tolerance<A>(1), "%s(%g) of one element",
          Norm::kName, p);
    infinite[place] = static_cast<A>(-kInf);
    CHECK(norm_of(infinite, p) == kInf, "%s(%g) loses an infinity", Norm::kName, p);
    undefined[place] = static_cast<A>(kNaN);
    CHECK(std::isnan(norm_of(undefined, p)), "%s(%g) loses a NaN", Norm::kName, p);
    for (size_t other = 0; other < 5; ++other) {
      both.assign(5, A{2});
      both[other] = static_cast<A>(kInf);
      both[place] = static_cast<A>(kNaN);
      CHECK(std::isnan(norm_of(both, p)), "%s(%g): infinity hides a NaN", Norm::kName, p);
    }
  }
  // The smallest and the largest numbers there are.
  using Limits = std::numeric_limits<A>;
  for (const A size : {Limits::denorm_min(), Limits::min(), Limits::max()}) {
    const std::vector<A> pair{size, A{0}, -size};
    const double factor = std::isinf(p) ? 1.0 : std::pow(2.0, 1.0 / p);
    const double expected = double{size} * factor;
    const double got = norm_of(pair, p);
    // A float64 of one or two subnormal bits cannot hold the factor: half a unit of error.
    const double slack = 1e-12 * expected + 0.5 * std::numeric_limits<double>::denorm_min();
    CHECK(got == expected || std::abs(got - expected) <= slack, "%s(%g) of %a: %a", Norm::kName, p,
          double{size}, got);
  }
}

template <class Norm>
void test_rescaling() {
  for (const double bad : {kInf, kNaN, 0.0, 1e-300}) {
    CHECK((needs_rescale<Norm, double>(bad)) == Norm::kIsSum, "%s: %g", Norm::kName, bad);
  }
  for (const double bad : {kInf, kNaN, 0.0, 1e-30}) {
    CHECK((needs_rescale<Norm, float>(bad)) == Norm::kIsSum, "%s: %g", Norm::kName, bad);
  }
  for (const double good : {1e-20, 1.0, 1e38, 1e300}) {
    CHECK((!needs_rescale<Norm, float>(good)), "%s: %g", Norm::kName, good);
    CHECK((!needs_rescale<Norm, double>(good)), "%s: %g", Norm::kName, good);
  }
  // combine() puts parts together to the whole, whatever they hold.
  CHECK(std::isnan(combine<Norm>(kNaN, 1.0)) && std::isnan(combine<Norm>(kInf, kNaN)), "NaN");
  CHECK(combine<Norm>(kInf, 1.0) == kInf && combine<Norm>(0.0, 2.0) == 2.0, "%s", Norm::kName);
}

void test_larger_magnitude() {
  CHECK(larger_magnitude(1.0, 2.0) == 2.0 && larger_magnitude(2.0, 1.0) == 2.0, "numbers");
  CHECK(std::isnan(larger_magnitude(kNaN, 1.0)) && std::isnan(larger_magnitude(1.0, kNaN)),
        "NaN wins");
  CHECK(std::isnan(larger_magnitude(kNaN, kInf)) && std::isnan(larger_magnitude(kInf, kNaN)),
        "over infinity");
}

// ball_scale: R / (mass + Z)^(1/p), within the ball whatever the mass.
template <class Norm>
void test_ball_scale(double p) {
  const Stream stream = make_stream(stream_key(3, 4, p), 5);
  const double z = static_cast<double>(exponential_of(stream));
  const double scale = ball_scale<Norm>(2.0, 10.0, stream, p);
  const double expected = std::isinf(p) ? 2.0 : 2.0 / std::pow(10.0 + z, 1.0 / p);
  CHECK(std::abs(scale - expected) <= 1e-14 * expected, "%s(%g): %a and %a", Norm::kName, p, scale,
        expected);
}

template <class Norm>
void test_norm() {
  test_rescaling<Norm>();
  for (const double p : exponents<Norm>()) {
    const bool found = with_norm(
        p, [](auto norm) { return std::string_view(decltype(norm)::kName) == Norm::kName; });
    CHECK(found, "with_norm(%g) is not %s", p, Norm::kName);
    test_axioms<Norm, float>(p);
    test_axioms<Norm, double>(p);
    test_special_values<Norm, float>(p);
    test_special_values<Norm, double>(p);
    test_ball_scale<Norm>(p);
  }
}

}  // namespace

int main() {
#define CLEVER_TEST(Norm) test_norm<Norm>();
  CLEVER_FORALL_NORMS(CLEVER_TEST)
#undef CLEVER_TEST
  test_larger_magnitude();
  return report();
}
