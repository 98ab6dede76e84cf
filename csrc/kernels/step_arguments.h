// What the kernels of a step around the model are given, apart from points and norms.
#pragma once

#include "arguments.h"

namespace clever {

// A matrix of any strides.
struct Matrix {
  const void* data;
  int64_t row_stride, column_stride;

  template <class T>
  CLEVER_HD const T* at(int32_t row, int32_t column) const {
    return static_cast<const T*>(data) + row * row_stride + column * column_stride;
  }
};

// Which image each row is of, and so its class and its targets.
struct AssignArguments {
  const int64_t* slots;  // [rows], negative: the row holds no sample, and gets image 0
  const int64_t* center_of_slot;
  int64_t n_slots;
  const int64_t *classes, *targets;  // [images], [images, n_targets]
  int64_t images;
  int64_t *row_image, *row_classes, *row_targets;  // [rows] twice, [rows, n_targets]
  int32_t rows, n_targets;

  CLEVER_HD int64_t image(int32_t row) const {
    return slots[row] < 0 ? 0 : center_of_slot[slots[row]];
  }
  CLEVER_HD bool is_valid(int32_t row) const {
    if (slots[row] >= n_slots) return false;
    const int64_t of = image(row);
    return of >= 0 && of < images;
  }
};

// The margins of logits, and what a backward pass begins with: the margins' slopes in the logits.
struct SeedArguments {
  Matrix logits, targets;  // [rows, n_logits]; [rows, n_margins] int64
  DType dtype;             // of logits, margins and seeds
  const int64_t* classes;  // [rows]
  void* margins;           // [rows, n_margins]
  void* seeds;             // [n_seeds, rows, n_logits]
  int32_t rows, n_logits, n_margins, n_seeds;

  CLEVER_HD bool has(int64_t logit) const { return logit >= 0 && logit < n_logits; }
  CLEVER_HD int32_t of_class(int32_t row) const { return static_cast<int32_t>(classes[row]); }
  CLEVER_HD int32_t of_target(int32_t row, int32_t margin) const {
    return static_cast<int32_t>(*targets.at<int64_t>(row, margin));
  }
  CLEVER_HD bool is_valid(int32_t row, int32_t margin) const {
    return has(classes[row]) && has(*targets.at<int64_t>(row, margin));
  }
  // Computed as torch subtracts: in float32 for 16-bit types, and rounded once.
  template <class T>
  CLEVER_HD void write_margin(int32_t row, int32_t margin) const {
    const auto own = load(logits.at<T>(row, of_class(row)));
    const auto other = load(logits.at<T>(row, of_target(row, margin)));
    store(static_cast<T*>(margins) + int64_t{row} * n_margins + margin, own - other);
  }
  template <class T>
  CLEVER_HD T* seed(int32_t number, int32_t row) const {
    return static_cast<T*>(seeds) + (int64_t{number} * rows + row) * n_logits;
  }
};

// Rows whose margins are not positive, and the nearest of them to each image.
struct FlipArguments {
  Matrix margins;  // [rows, n_margins]
  DType margin_dtype, dtype;
  PointLayout point;
  Points x, centers;                 // [rows, *shape], [images, *shape]
  const int64_t *slots, *row_image;  // [rows], a negative slot: the row holds no sample
  double p;
  double* nearest_flip;  // [n_margins, images], folded into
  int32_t rows, n_margins;

  CLEVER_HD bool skips(int32_t row) const { return slots[row] < 0; }
  CLEVER_HD bool is_valid(int32_t row) const { return skips(row) || centers.has(row_image[row]); }
  CLEVER_HD bool flipped(int32_t row, int32_t margin) const {
    return with_dtype(margin_dtype, [&](auto tag) {
      return load(margins.at<decltype(tag)>(row, margin)) <= 0;  // a NaN is none
    });
  }
  CLEVER_HD double* nearest(int32_t row, int32_t margin) const {
    return nearest_flip + margin * centers.n + row_image[row];
  }
};

}  // namespace clever
