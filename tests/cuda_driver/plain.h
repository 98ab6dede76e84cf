// Points on the host, and loops over them that the kernels are held against.
#pragma once

#include "../../csrc/kernels/cuda/kernels.h"
#include "../../csrc/math/norms.h"
#include "../kernels/math/check.h"
#include "memory.h"

namespace driver {

using namespace clever;

// What a launch works with, not a word more.
template <class Args>
Buffer<uint64_t> scratch_of(const Args& args) {
  return Buffer<uint64_t>(static_cast<size_t>(cuda::scratch_words(args)));
}

constexpr double kRadius = 0.5;
constexpr Clip kNoClip = {-INFINITY, INFINITY};

struct Shape {
  int64_t channels, plane;
  bool channels_last;

  int64_t numel() const { return channels * plane; }
  PointLayout layout() const {
    if (channels_last) return {numel(), plane, 1, channels};
    return {numel(), numel(), 0, 1};
  }
};

// Fewer elements than a block of draws, a tail, one part of a row, many parts.
constexpr Shape kShapes[] = {{1, 1, false},   {1, 5, false},   {3, 35, false},   {3, 35, true},
                             {1, 784, false}, {3, 1024, true}, {3, 9216, false}, {3, 9216, true}};

RowLayout row_of(int64_t numel) { return {numel, 1, {numel}, {1}}; }

template <class T>
constexpr DType kDType = std::is_same_v<T, double>   ? DType::kFloat64
                         : std::is_same_v<T, float>  ? DType::kFloat32
                         : std::is_same_v<T, half_t> ? DType::kFloat16
                                                     : DType::kBFloat16;

// Half a unit in the last place of a number of size 1.
template <class T>
constexpr double kRounding = std::is_same_v<T, double>   ? 0x1p-53
                             : std::is_same_v<T, float>  ? 0x1p-24
                             : std::is_same_v<T, half_t> ? 0x1p-11
                                                         : 0x1p-8;

// Numbers in [low, high).
template <class T>
std::vector<T> numbers(int64_t count, unsigned seed, double low = 0.0, double high = 1.0) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(low, high);
  std::vector<T> values(static_cast<size_t>(count));
  for (T& value : values) store(&value, static_cast<typename Arithmetic<T>::Real>(uniform(random)));
  return values;
}

// The p-norm of numel values that value(i) gives.
template <class F>
double norm_of(int64_t numel, double p, const F& value) {
  double sum = 0.0, largest = 0.0;
  for (int64_t i = 0; i < numel; ++i) {
    const double size = std::abs(static_cast<double>(value(i)));
    largest = size > largest || size != size ? size : largest;
    sum += p == INFINITY ? 0.0 : std::pow(size, p);
  }
  return p == INFINITY ? largest : std::pow(sum, 1.0 / p);
}

template <class T>
double distance(const T* x, const T* center, int64_t numel, double p) {
  return norm_of(numel, p, [&](int64_t i) {
    return static_cast<double>(load(x + i)) - static_cast<double>(load(center + i));
  });
}

// By how much the rounding of elements below 4 may move a norm.
template <class T>
double slack_of(int64_t numel, double p) {
  return 2.0 * kRounding<T> * (p == INFINITY ? 1.0 : std::pow(static_cast<double>(numel), 1.0 / p));
}

// A row lies in the ball, and near its surface where it has many elements.
template <class T>
void check_in_ball(const T* x, const T* center, int64_t numel, double p, const char* what) {
  const double r = distance(x, center, numel, p), slack = slack_of<T>(numel, p);
  CHECK(r <= kRadius * (1.0 + 1e-6) + slack, "%s: p = %g, %lld elements: norm %g", what, p,
        static_cast<long long>(numel), r);
  if (numel < 700) return;
  CHECK(r >= 0.9 * kRadius - slack, "%s: p = %g, %lld elements: norm %g", what, p,
        static_cast<long long>(numel), r);
}

}  // namespace driver
