// Norms of many rows, whatever these are made of: part by part, and then combined.
//
// Rows is what a kernel is given:
//   Parts parts; Norms norms; uint32_t numel; int64_t n; double* sums
//   typename Row, row(number)         the sizes of one row: Real, one(element), and, where
//   kInFours,
//                                     four(element, out)
//   bool skips(number)                whether a row is left out
//   store(number, n, norm)            called by one thread for each norm of a row
#pragma once

#include "norms.cuh"

namespace clever::cuda {

template <class Rows>
__global__ void __launch_bounds__(kPartThreads, kPartBlocks<typename Rows::Row::Real> /
                                                    (1 + !Rows::Row::kInFours))
    parts_kernel(const __grid_constant__ Rows rows) {
  const Place place(rows.parts);
  if (rows.skips(place.row)) return;
  const auto row = rows.row(place.row);
  using Row = typename Rows::Row;
  double sum = 0.0;
  const auto keep = [&](uint32_t n, double found) {
    sum = found;
    if (rows.parts.one()) return;
    const int64_t stride = rows.n * rows.parts.count.divisor;
    rows.sums[n * stride + place.first_of(rows.parts) + place.part] = found;
  };
  using Real = typename Row::Real;
  if constexpr (Row::kInFours) {
    part_sums<Real>(rows.norms, hold(row, rows.parts, place.part, rows.numel), keep);
  } else {
    part_sums<Real>(rows.norms, Single<Row>{row, place.part, rows.numel}, keep);
  }
  if (!rows.parts.one()) return;
  finish_norms(rows.norms, sum, Whole<Row>{row, rows.numel},
               [&](int n, double norm) { rows.store(place.row, n, norm); });
}

template <class Rows>
__global__ void __launch_bounds__(kPartThreads) combine_kernel(const __grid_constant__ Rows rows) {
  const int64_t number = blockIdx.x;
  if (rows.skips(number)) return;
  const uint32_t parts = rows.parts.count.divisor;
  const double sum = row_sums(rows.norms, rows.sums + number * parts, rows.n * parts, parts);
  finish_norms(rows.norms, sum, Whole<typename Rows::Row>{rows.row(number), rows.numel},
               [&](int n, double norm) { rows.store(number, n, norm); });
}

template <class Rows>
void launch_norms(const Rows& rows, void* stream) {
  auto* of_parts = parts_kernel<Rows>;
  CLEVER_LAUNCH(of_parts, rows.parts.blocks(rows.n), rows.parts.threads, stream, rows);
  if (rows.parts.one()) return;
  auto* combine = combine_kernel<Rows>;
  CLEVER_LAUNCH(combine, static_cast<unsigned>(rows.n), kPartThreads, stream, rows);
}

}  // namespace clever::cuda
