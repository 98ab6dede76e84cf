// Launches of what surrounds the model in a step.
#pragma once

#include "plain.h"

namespace driver {

// Rows of two images, and one that holds no sample.
inline void check_assigned(int32_t n_targets) {
  constexpr int32_t kRows = 300, kImages = 2;
  std::vector<int64_t> slot(kRows), target(kImages * n_targets);
  for (int32_t row = 0; row < kRows; ++row) slot[row] = row % 4 - 1;
  for (size_t i = 0; i < target.size(); ++i) target[i] = static_cast<int64_t>(i) + 10;
  const std::vector<int64_t> center = {1, 0, 1}, own = {7, 8};
  const Buffer<int64_t> slots(slot), centers(center), classes(own), targets(target);
  const Buffer<int64_t> images(kRows), row_classes(kRows), row_targets(kRows * n_targets);
  AssignArguments args{};
  args.slots = slots.data();
  args.center_of_slot = centers.data();
  args.n_slots = static_cast<int64_t>(center.size());
  args.classes = classes.data();
  args.targets = targets.data();
  args.images = kImages;
  args.row_image = images.data();
  args.row_classes = row_classes.data();
  args.row_targets = row_targets.data();
  args.rows = kRows;
  args.n_targets = n_targets;
  cuda::assign_targets(args, nullptr);
  const auto image = images.host(), of_class = row_classes.host(), of_target = row_targets.host();
  for (int32_t row = 0; row < kRows; ++row) {
    const int64_t expected = slot[row] < 0 ? 0 : center[slot[row]];
    CHECK(image[row] == expected && of_class[row] == own[expected], "assign_targets: row %d", row);
    for (int32_t i = 0; i < n_targets; ++i) {
      CHECK(of_target[row * n_targets + i] == target[expected * n_targets + i],
            "assign_targets: row %d, target %d", row, i);
    }
  }
}

// Margins of all targets, and seeds of all of them too.
template <class T>
void check_seeds(int32_t n_logits, int32_t n_margins) {
  constexpr int32_t kRows = 5;
  const std::vector<T> logit = numbers<T>(kRows * n_logits, 15, -1.0, 1.0);
  std::vector<int64_t> own(kRows), target(kRows * n_margins);
  for (int32_t row = 0; row < kRows; ++row) own[row] = row % n_logits;
  for (size_t i = 0; i < target.size(); ++i) target[i] = static_cast<int64_t>(3 * i) % n_logits;
  const Buffer<T> logits(logit), margins(kRows * n_margins);
  const Buffer<T> seeds(size_t{1} * n_margins * kRows * n_logits);
  const Buffer<int64_t> classes(own), targets(target);
  SeedArguments args{};
  args.logits = {logits.data(), n_logits, 1};
  args.targets = {targets.data(), n_margins, 1};
  args.dtype = kDType<T>;
  args.classes = classes.data();
  args.margins = margins.data();
  args.seeds = seeds.data();
  args.rows = kRows;
  args.n_logits = n_logits;
  args.n_margins = args.n_seeds = n_margins;
  cuda::margin_seeds(args, nullptr);
  const std::vector<T> margin = margins.host(), seed = seeds.host();
  for (int32_t row = 0; row < kRows; ++row) {
    for (int32_t i = 0; i < n_margins; ++i) {
      const int64_t of = target[row * n_margins + i];
      T expected;
      store(&expected, load(&logit[row * n_logits + own[row]]) - load(&logit[row * n_logits + of]));
      CHECK(load(&margin[row * n_margins + i]) == load(&expected), "margin_seeds: row %d", row);
      for (int32_t j = 0; j < n_logits; ++j) {
        const int sign = (j == own[row]) - (j == of);
        CHECK(load(&seed[(i * kRows + row) * n_logits + j]) == sign,
              "margin_seeds: row %d, margin %d, logit %d", row, i, j);
      }
    }
  }
}

// Rows whose margins are not positive, some of the same image, and one that holds no sample.
template <class T>
void check_flips(const Shape& shape, double p) {
  constexpr int32_t kRows = 6, kMargins = 2, kImages = 2;
  const int64_t numel = shape.numel();
  const std::vector<T> x = numbers<T>(kRows * numel, 16), center = numbers<T>(kImages * numel, 17);
  const std::vector<float> margin = {0.5f, -0.5f, -1.0f, -0.2f, 0.3f, 0.1f,
                                     0.0f, 0.7f,  -0.4f, -0.4f, 0.2f, -0.6f};
  const std::vector<int64_t> slot = {0, 1, 2, 3, -1, 4}, image = {0, 1, 1, 0, 0, 0};
  const Buffer<T> points(x), centers(center);
  const Buffer<float> margins(margin);
  const Buffer<int64_t> slots(slot), images(image);
  const Buffer<double> nearest(std::vector<double>(kMargins * kImages, INFINITY));
  FlipArguments args{};
  args.margins = {margins.data(), kMargins, 1};
  args.margin_dtype = DType::kFloat32;
  args.dtype = kDType<T>;
  args.point = shape.layout();
  args.x = {points.data(), kRows, numel};
  args.centers = {centers.data(), kImages, numel};
  args.slots = slots.data();
  args.row_image = images.data();
  args.p = p;
  args.nearest_flip = nearest.data();
  args.rows = kRows;
  args.n_margins = kMargins;
  cuda::note_flips(args, nullptr);
  std::vector<double> expected(kMargins * kImages, INFINITY);
  for (int32_t row = 0; row < kRows; ++row) {
    const double r = distance(&x[row * numel], &center[image[row] * numel], numel, p);
    for (int32_t i = 0; i < kMargins; ++i) {
      double& end = expected[i * kImages + image[row]];
      if (slot[row] >= 0 && margin[row * kMargins + i] <= 0.0f) end = std::min(end, r);
    }
  }
  const std::vector<double> found = nearest.host();
  for (size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i] == expected[i] || std::abs(found[i] - expected[i]) <= 2e-6 * expected[i],
          "note_flips: p = %g, %lld elements: %.9g, not %.9g", p, static_cast<long long>(numel),
          found[i], expected[i]);
  }
}

}  // namespace driver
