// The projection that each norm names: onto the sphere, by the conditions of Karush, Kuhn and
// Tucker, and alike in every type.
#include "projections.h"

#include <vector>

#include "check.h"
#include "norms.h"

using namespace clever;

namespace {

template <class Norm>
std::vector<double> exponents() {
  if (std::isnan(Norm::kP)) return {1.1, 1.5, 3.0, 7.0, 30.0};
  return {Norm::kP};
}

double norm_of(const std::vector<double>& x, double p) {
  double largest = 0.0, sum = 0.0;
  for (const double value : x) largest = std::max(largest, std::abs(value));
  if (std::isinf(p) || largest == 0.0) return largest;
  for (const double value : x) sum += std::pow(std::abs(value) / largest, p);
  return largest * std::pow(sum, 1.0 / p);
}

// As a kernel projects; `steps` counts the passes of the search.
template <class Norm, class Real>
std::vector<double> projected(const std::vector<double>& v, double p, double radius, int& steps) {
  typename Norm::template Projection<Real> projection(radius, norm_of(v, p),
                                                      static_cast<int64_t>(v.size()), p);
  if constexpr (decltype(projection)::kSearches) {
    while (projection.searching) {
      Terms<double> sums = {0.0, 0.0};
      for (const double value : v) {
        const Terms<Real> terms = projection.terms(static_cast<Real>(std::abs(value)));
        sums.first += static_cast<double>(terms.first);
        sums.second += static_cast<double>(terms.second);
      }
      projection.step(sums);
      ++steps;
    }
  }
  std::vector<double> result;
  for (const double value : v) {
    result.push_back(static_cast<double>(projection(static_cast<Real>(value))));
  }
  return result;
}

template <class Norm, class Real>
void test_projection(double p) {
  std::mt19937 random(11);
  std::normal_distribution<double> normal;
  const double dual = p == 1.0 ? INFINITY : (std::isinf(p) ? 1.0 : p / (p - 1.0));
  for (const size_t n : {1, 2, 7, 300, 3000}) {
    for (const double size : {1e-20, 1.0, 1e20}) {
      // As normals are, and with sizes of many orders.
      for (const double spread : {0.0, 2.0}) {
        std::vector<double> v(n);
        for (double& value : v) value = size * normal(random) * std::exp(spread * normal(random));
        for (double& value : v) value = static_cast<double>(static_cast<float>(value));
        for (const double factor : {0.9999, 0.9, 0.3, 0.01}) {
          const double radius = factor * norm_of(v, p);
          int steps = 0;
          const std::vector<double> s = projected<Norm, Real>(v, p, radius, steps);
          const double norm = norm_of(s, p);
          CHECK(std::abs(norm / radius - 1.0) <= 3e-6, "%s(%g), n %zu, %g R: norm %.8g R",
                Norm::kName, p, n, factor, norm / radius);
          CHECK(steps <= 25, "%s(%g), n %zu, %g R: %d steps", Norm::kName, p, n, factor, steps);
          // s is nearest where R |v - s|_q = <v - s, s> (Hoelder with equality).
          std::vector<double> rest(n);
          double product = 0.0;
          for (size_t i = 0; i < n; ++i) {
            rest[i] = v[i] - s[i];
            product += rest[i] * s[i];
            CHECK(std::abs(s[i]) <= std::abs(v[i]) * (1.0 + 1e-5) && s[i] * v[i] >= 0.0,
                  "%s(%g): %g to %g", Norm::kName, p, v[i], s[i]);
          }
          const double bound = radius * norm_of(rest, dual);
          const double rounding = 5e-6 * radius * norm_of(v, dual);
          CHECK(std::abs(bound - product) <= 1e-5 * bound + rounding,
                "%s(%g), n %zu, %g R: %g and %g", Norm::kName, p, n, factor, bound, product);
        }
      }
    }
  }
}

void test_in_ball() {
  CHECK(in_ball(1.0, 1.0) && in_ball(1.0 + 5e-7, 1.0) && !in_ball(1.0 + 2e-6, 1.0), "at 1");
  CHECK(in_ball(0.0, 0.0) && !in_ball(1e-300, 0.0), "no radius");
  CHECK(in_ball(NAN, 1.0) && in_ball(INFINITY, INFINITY) && !in_ball(INFINITY, 1e300), "others");
}

}  // namespace

int main() {
#define CLEVER_TEST(Norm)                    \
  for (const double p : exponents<Norm>()) { \
    test_projection<Norm, float>(p);         \
    test_projection<Norm, double>(p);        \
  }
  CLEVER_FORALL_NORMS(CLEVER_TEST)
#undef CLEVER_TEST
  test_in_ball();
  return report();
}
