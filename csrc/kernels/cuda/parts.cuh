// Rows cut into parts, each the work of one block.
//
// A row is cut by its number of elements alone, and its parts are combined in their order, so that
// sums are the same bits whatever else a call works on. A thread has sixteen elements and takes
// them four at a time, in accesses of up to 16 bytes: four of them under way at once keep the
// memory busy. A short row has no more threads than it needs.
#pragma once

#include "../../math/divider.h"
#include "block.cuh"
#include "kernels.h"

namespace clever::cuda {

constexpr uint32_t kPartThreads = 256;  // at most
constexpr uint32_t kAccesses = 4;       // of a thread, of four elements each
constexpr uint32_t kThreadElements = 4 * kAccesses;
static_assert(kPartThreads * kThreadElements == kPartElements);
// Blocks of one multiprocessor at least, by what is held of a part: 64 registers for a thread are
// enough for float32, and 64 KB then under way.
template <class Real>
constexpr uint32_t kPartBlocks = sizeof(Real) == 4 ? 4 : 2;
constexpr uint32_t kPartWarps = kPartThreads / kWarp;

struct Parts {
  Divider count;  // of a row
  uint32_t full;  // those before have all of their elements
  uint32_t threads;

  explicit Parts(int64_t numel)
      : count(static_cast<uint32_t>(parts_of(numel))),
        full(static_cast<uint32_t>(numel / kPartElements)) {
    const int64_t of_row = (numel + kThreadElements - 1) / kThreadElements;
    const int64_t whole_warps = (of_row + kWarp - 1) / kWarp * kWarp;
    threads = static_cast<uint32_t>(whole_warps < kPartThreads ? whole_warps : kPartThreads);
    if (threads == 0) threads = kWarp;
  }
  CLEVER_HD bool one() const { return count.divisor == 1; }
  unsigned blocks(int64_t rows) const { return static_cast<unsigned>(rows) * count.divisor; }
};

// Which part of which row a block works on: neighbouring blocks have neighbouring parts.
struct Place {
  uint32_t row, part;

  __device__ explicit Place(const Parts& parts)
      : row(parts.count.quotient(blockIdx.x)), part(blockIdx.x - row * parts.count.divisor) {}
  // Of the row's parts, in an array of those of all rows.
  __device__ int64_t first_of(const Parts& parts) const {
    return int64_t{row} * parts.count.divisor;
  }
};

// Four neighbouring elements.
template <class T>
struct alignas(sizeof(T) < 4 ? 4 * sizeof(T) : 16) Four {
  T element[4];
};

template <class T>
__device__ Four<T> load_four(const T* p) {
  CLEVER_ALIGNED(p, Four<T>);
  return *reinterpret_cast<const Four<T>*>(p);
}
template <class T>
__device__ void store_four(T* p, const Four<T>& four) {
  CLEVER_ALIGNED(p, Four<T>);
  *reinterpret_cast<Four<T>*>(p) = four;
}

// Whether rows can be taken four elements at a time: they have whole fours, and begin at one.
template <class T>
bool in_fours(const void* data, int64_t numel, int64_t stride) {
  const bool aligned = reinterpret_cast<uintptr_t>(data) % alignof(Four<T>) == 0;
  return aligned && numel % 4 == 0 && stride % 4 == 0;
}

}  // namespace clever::cuda
