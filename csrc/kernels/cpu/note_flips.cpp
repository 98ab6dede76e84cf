#include "ball.h"
#include "kernels.h"
#include "norms.h"

namespace clever::cpu {

std::vector<int32_t> flipped_rows(const FlipArguments& args) {
  std::vector<int32_t> rows;
  for (int32_t row = 0; row < args.rows; ++row) {
    if (args.skips(row)) continue;
    bool flipped = false;
    for (int32_t margin = 0; margin < args.n_margins && !flipped; ++margin) {
      flipped = args.flipped(row, margin);
    }
    if (flipped) rows.push_back(row);
  }
  return rows;
}

void flip_distances(const FlipArguments& args, const int32_t* rows, int64_t begin, int64_t end,
                    double* distances) {
  with_dtype(args.dtype, [&](auto tag) {
    using T = decltype(tag);
    Scratch<typename Arithmetic<T>::Real> scratch;
    auto* difference = scratch.get(args.point.numel);
    for (int64_t number = begin; number < end; ++number) {
      const int32_t row = rows[number];
      distances[number] = distance(args.x.at<T>(row), args.centers.at<T>(args.row_image[row]),
                                   args.point.numel, args.p, difference);
    }
  });
}

void fold_flip(const FlipArguments& args, int32_t row, double distance) {
  for (int32_t margin = 0; margin < args.n_margins; ++margin) {
    if (!args.flipped(row, margin)) continue;
    double& nearest = *args.nearest(row, margin);
    if (distance < nearest || distance != distance) nearest = distance;  // a NaN stays
  }
}

}  // namespace clever::cpu
