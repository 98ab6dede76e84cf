// The searches for a way to the boundary: the fall is met, in few rounds, whatever rooms there are.
#include "boundary.h"

#include <vector>

#include "check.h"

using namespace clever;

namespace {

template <class Real>
using Elements = std::vector<Way<Real>>;

template <class Search, class Real>
int search(Search& search, const Elements<Real>& ways) {
  int rounds = 0;
  for (; search.searching; ++rounds) {
    Terms<double> sums = {0.0, 0.0};
    for (const Way<Real>& way : ways) {
      const Terms<double> terms = search.terms(way);
      sums.first += terms.first;
      sums.second += terms.second;
    }
    search.step(sums);
  }
  return rounds;
}

template <class Real>
double all_of(const Elements<Real>& ways) {
  double sum = 0.0;
  for (const Way<Real>& way : ways) {
    if (way.weight > 0) sum += static_cast<double>(way.weight) * static_cast<double>(way.room);
  }
  return sum;
}

template <class Real>
double fallen(const LambdaSearch& found, const Elements<Real>& ways) {
  double sum = 0.0;
  for (const Way<Real>& way : ways) sum += static_cast<double>(way.weight) * found.size(way);
  return sum;
}

// Gradients and rooms of many orders, in a box or without a far side.
template <class Real>
std::vector<double> gradients(Elements<Real>& ways, double spread, bool open, double& largest) {
  static std::mt19937 random(5);
  std::normal_distribution<double> normal;
  std::vector<double> g(ways.size());
  largest = 0.0;
  for (double& value : g) {
    value = normal(random) * std::exp(spread * normal(random));
    largest = std::max(largest, std::abs(value));
  }
  const Box<Real> box(largest, {-1.0, open ? INFINITY : 1.0});
  for (size_t i = 0; i < g.size(); ++i) {
    const double center = std::tanh(normal(random) * std::exp(spread));
    ways[i] = {box.weight(g[i]), Real{0}, box.room(g[i], static_cast<Real>(center))};
  }
  return g;
}

template <class Real>
void test_searches(double p) {
  for (const size_t n : {1, 2, 30, 3000}) {
    for (const double spread : {0.0, 1.0, 3.0}) {
      for (const bool open : {false, true}) {
        Elements<Real> ways(n);
        double largest = 0.0;
        const std::vector<double> g = gradients(ways, spread, open, largest);
        const double all = open ? 10.0 : all_of(ways);
        for (const double share : {1e-9, 0.01, 0.5, 0.99}) {
          const double fall = share * all;
          ThresholdSearch<Real> threshold(fall);
          if (p == 1.0) search(threshold, ways);
          const Filled<Real> filled = {largest, threshold.threshold()};
          const Sharpened<Real> sharpened = {largest, 1.0 / (p - 1.0)};
          for (size_t i = 0; i < n; ++i)
            ways[i].velocity = p == 1.0 ? filled(g[i]) : sharpened(g[i]);
          LambdaSearch lambda(fall);
          const int rounds = search(lambda, ways);
          const double got = fallen(lambda, ways);
          CHECK(rounds <= 30, "p %g, n %zu: %d rounds", p, n, rounds);
          // Where one side is open, no element may be on it.
          const double possible = open && !(all_of(ways) > fall) ? all_of(ways) : fall;
          CHECK(std::abs(got - possible) <= 1e-12 * all,
                "p %g, n %zu, spread %g, share %g: %g of %g", p, n, spread, share, got, possible);
        }
      }
    }
  }
}

void test_thresholds() {
  // Weights 1, 0.5 (twice), 0.25 and 0, with rooms of 1.
  const Elements<float> ways = {{0.5f, 0, 1}, {1, 0, 1}, {0.25f, 0, 1}, {0.5f, 0, 1}, {0, 0, 1}};
  const auto found = [&](double fall) {
    ThresholdSearch<float> threshold(fall);
    search(threshold, ways);
    return threshold.threshold();
  };
  CHECK(found(0.1) == 1.0f && found(1.0) == 1.0f, "the largest is enough");
  CHECK(found(1.1) == 0.5f && found(2.0) == 0.5f, "both of the second");
  CHECK(found(2.1) == 0.25f && found(2.25) == 0.25f, "all of them");
  CHECK(found(2.3) > 0.0f && found(2.3) < 1e-40f, "more than there is");
  CHECK(found(0.0) == INFINITY && found(-1.0) == INFINITY, "nothing");
}

void test_ends() {
  const Elements<double> ways = {{1, 1, 0.5}, {0.5, -0.5, INFINITY}, {0, 0, INFINITY}};
  LambdaSearch lambda(1.0);
  search(lambda, ways);
  CHECK(lambda.end(0.0, ways[0]) == -0.5 && lambda.end(0.0, ways[1]) == 1.0, "%g %g",
        lambda.end(0.0, ways[0]), lambda.end(0.0, ways[1]));
  CHECK(lambda.end(3.0, ways[2]) == 3.0, "without a gradient it stays");
  LambdaSearch none(-1.0);
  CHECK(!none.searching && none.end(3.0, ways[1]) == 3.0, "nothing has to fall");
  const Elements<double> full = {{1, 1, 0.5}, {1e-300, 1e-300, 0.25}, {0, 0, 1}};
  LambdaSearch more(1e9);
  search(more, full);
  CHECK(more.size(full[0]) == 0.5 && more.size(full[1]) == 0.25 && more.size(full[2]) == 0.0,
        "all the room: %g %g %g", more.size(full[0]), more.size(full[1]), more.size(full[2]));
  CHECK(part_of_way(0.1, 0.7, 1.0) == 0.7 && part_of_way(0.1, 0.7, 0.0) == 0.1, "a share");
}

void test_falls() {
  CHECK(Fall(1.0, 1.0, 0.0, 2.0).size == 0.5 && Fall(1.0, 2.0, 3.0, 1.0).size == -4.0, "sizes");
  CHECK(Fall(1.0, 1.0, 0.0, 2.0).exists() && Fall(0.0, 1.0, 0.0, 1e-300).exists(), "there is one");
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    CHECK(!Fall(bad, 1.0, 0.0, 1.0).exists() && !Fall(1.0, 1.0, bad, 1.0).exists() &&
              !Fall(1.0, 1.0, 0.0, bad).exists(),
          "%g", bad);
  }
  CHECK(!Fall(1.0, 1.0, 0.0, 0.0).exists() && !Fall(0.0, 1.0, 0.0, 0.0).exists(), "no gradient");
}

}  // namespace

int main() {
  for (const double p : {1.0, 1.2, 1.5, 2.0, 3.0, 10.0, static_cast<double>(INFINITY)}) {
    test_searches<float>(p);
    test_searches<double>(p);
  }
  test_thresholds();
  test_ends();
  test_falls();
  return report();
}
