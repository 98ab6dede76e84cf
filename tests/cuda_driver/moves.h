// Launches of what moves points, measures them, and notes what was found there.
#pragma once

#include "plain.h"

namespace driver {

// Rows along a direction, by noise of either kind, and one that is skipped. Each starts on the
// ball's surface or in its middle, and ends in the ball.
template <class T>
void check_moves(const Shape& shape, double p) {
  constexpr int64_t kRows = 4;
  const int64_t numel = shape.numel();
  const std::vector<T> center = numbers<T>(numel, 4);
  const Buffer<T> centers(center), out(kRows * numel);
  const Buffer<float> directions(numbers<float>(numel, 5, -1.0, 1.0));
  const Buffer<int64_t> rows(
      std::vector<int64_t>{0, 0, 0, 12, 0, 0, -1, 0, 12, 1, 0, 0, 0, 12, 2, -1, -1, 0, 12, 3});
  const Buffer<double> scales(std::vector<double>{3.0, 0.0, kRadius, 0.0, 0.0, 0.3, kRadius, 0.0,
                                                  1.0, 0.2, kRadius, 0.5, 0.0, 0.0, 0.0, 0.0});
  MoveArguments args{};
  args.out = out.data();
  args.batch = kRows;
  args.row_stride = numel;
  args.dtype = kDType<T>;
  args.direction_dtype = DType::kFloat32;
  args.point = shape.layout();
  args.bases = args.centers = {centers.data(), 1, numel};
  args.directions = {directions.data(), 1, numel};
  args.rows = rows.data();
  args.scales = scales.data();
  args.p = p;
  args.sharpness = p == INFINITY ? 0.0 : 1.0;
  args.seed = 11;
  args.clip = kNoClip;
  cuda::move_in_lp_ball(args, nullptr);
  const std::vector<T> moved = out.host();
  const double slack = slack_of<T>(numel, p);
  for (int64_t row = 0; row + 1 < kRows; ++row) {
    const double r = distance(&moved[row * numel], center.data(), numel, p);
    CHECK(r <= kRadius * (1.0 + 1e-5) + slack, "move_in_lp_ball: p = %g, row %lld: norm %g", p,
          static_cast<long long>(row), r);
  }
}

// All of the way: the margin, taken as linear, is 0 where it ends.
void check_steps(const Shape& shape, double p) {
  constexpr int64_t kRows = 2;
  const int64_t numel = shape.numel();
  const std::vector<float> x = numbers<float>(kRows * numel, 6), center = numbers<float>(numel, 7);
  const std::vector<float> g = numbers<float>(kRows * numel, 8, 0.1, 1.0);
  const Buffer<float> points(x), gradients(g), centers(center), out(kRows * numel);
  const Buffer<int64_t> index(std::vector<int64_t>{0, -1});
  // More than gradients below 1 bring on the way from the center: there is a way to go.
  const double at_point = static_cast<double>(numel);
  const Buffer<double> scales(std::vector<double>{at_point, 1.0, 1.0, at_point, 1.0, 1.0});
  StepArguments args{};
  args.out = out.data();
  args.batch = kRows;
  args.row_stride = numel;
  args.dtype = args.gradient_dtype = DType::kFloat32;
  args.point = shape.layout();
  args.points = {points.data(), kRows, numel};
  args.gradients = {gradients.data(), kRows, numel};
  args.centers = {centers.data(), 1, numel};
  args.index = index.data();
  args.scales = scales.data();
  args.p = p;
  args.clip = {-1e6, 1e6};
  cuda::step_to_boundary(args, nullptr);
  const std::vector<float> end = out.host();
  double margin = at_point, size = at_point;
  for (int64_t i = 0; i < numel; ++i) {
    const double part =
        static_cast<double>(g[i]) * (static_cast<double>(end[i]) - static_cast<double>(x[i]));
    margin += part;
    size += std::abs(part);
  }
  CHECK(std::abs(margin) <= 1e-5 * size, "step_to_boundary: p = %g, %lld elements: margin %g", p,
        static_cast<long long>(numel), margin);
}

template <class T>
void check_distances(const Shape& shape, double p) {
  const int64_t numel = shape.numel();
  const std::vector<T> x = numbers<T>(3 * numel, 9), center = numbers<T>(2 * numel, 10);
  const std::vector<int64_t> of = {1, -1, 0};
  const Buffer<T> points(x), centers(center);
  const Buffer<int64_t> index(of);
  const Buffer<double> distances(of.size());
  DistanceArguments args{};
  args.x = {points.data(), 3, numel};
  args.centers = {centers.data(), 2, numel};
  args.dtype = kDType<T>;
  args.point = shape.layout();
  args.index = index.data();
  args.p = p;
  args.distances = distances.data();
  cuda::lp_distances(args, scratch_of(args).data(), nullptr);
  const std::vector<double> found = distances.host();
  for (size_t row = 0; row < of.size(); ++row) {
    if (of[row] < 0) continue;
    const double expected = distance(&x[row * numel], &center[of[row] * numel], numel, p);
    CHECK(std::abs(found[row] - expected) <= 2e-6 * expected,
          "lp_distances: p = %g, %lld elements: %.9g, not %.9g", p, static_cast<long long>(numel),
          found[row], expected);
  }
}

void check_ends(int64_t looks, int64_t rows) {
  const std::vector<double> distance = numbers<double>(looks, 11),
                            norm = numbers<double>(looks, 12);
  const std::vector<double> margin = numbers<double>(looks, 13, -0.2, 1.0);
  const std::vector<double> at_image = numbers<double>(rows, 14), rise(rows, 1e-9);
  std::vector<int64_t> row(looks);
  for (int64_t look = 0; look < looks; ++look) row[look] = look % rows;
  const Buffer<double> distances(distance), norms(norm), margins(margin), images(at_image);
  const Buffer<double> rises(rise), lower(std::vector<double>(rows, INFINITY));
  const Buffer<double> upper(std::vector<double>(rows, INFINITY));
  const Buffer<int64_t> of(row), nearest(rows), steepest(rows);
  EndsArguments args{};
  args.distance = distances.data();
  args.norm = norms.data();
  args.margin = margins.data();
  args.row = of.data();
  args.looks = looks;
  args.margin_at_image = images.data();
  args.rise = rises.data();
  args.lower = lower.data();
  args.upper = upper.data();
  args.nearest = nearest.data();
  args.steepest = steepest.data();
  args.rows = rows;
  cuda::bracket_ends(args, nullptr);
  const std::vector<double> low = lower.host(), high = upper.host();
  for (int64_t r = 0; r < rows; ++r) {
    double expected_low = INFINITY, expected_high = INFINITY;
    for (int64_t look = r; look < looks; look += rows) {
      expected_low = std::min(
          expected_low, lower_end(distance[look], norm[look], margin[look], at_image[r], rise[r]));
      expected_high = std::min(expected_high, upper_end(distance[look], margin[look]));
    }
    CHECK(low[r] == expected_low && high[r] == expected_high,
          "bracket_ends: row %lld: %g and %g, not %g and %g", static_cast<long long>(r), low[r],
          high[r], expected_low, expected_high);
  }
}

}  // namespace driver
