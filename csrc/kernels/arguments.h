// What each kernel is given: raw pointers, sizes and strides, the same for CPU and CUDA.
#pragma once

#include <cstdint>

#include "../math/directions.h"
#include "../math/dtypes.h"
#include "../math/ends.h"

namespace clever {

enum class DType { kFloat64, kFloat32, kFloat16, kBFloat16 };

// Calls f(T{}) with the C++ type of a dtype; f may be a function of the host or of the device.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable
#endif
template <class F>
CLEVER_HD auto with_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kFloat64:
      return f(double{});
    case DType::kFloat32:
      return f(float{});
    case DType::kFloat16:
      return f(half_t{});
    default:
      return f(bfloat16_t{});
  }
}

// Where the elements of one point lie: element e = c * plane + s, in the order of a contiguous
// tensor, is at c * channel_stride + s * plane_stride. A contiguous point has one channel; a
// channels_last one has plane_stride channels. Draws go by e, so that the memory format of a buffer
// does not change a sample.
struct PointLayout {
  int64_t numel, plane, channel_stride, plane_stride;

  CLEVER_HD int64_t offset(int64_t element) const {
    if (plane == numel) return element * plane_stride;  // one channel: no division
    const int64_t channel = element / plane;
    return channel * channel_stride + (element - channel * plane) * plane_stride;
  }
};

// Where the elements of one gradient lie: any strides, dimensions ordered by stride and merged
// where they can be, the last one the innermost. A norm does not care for their order.
constexpr int kMaxDims = 8;

struct RowLayout {
  int64_t numel;
  int ndim;
  int64_t size[kMaxDims], stride[kMaxDims];

  CLEVER_HD bool contiguous() const { return ndim == 1 && stride[0] == 1; }
  CLEVER_HD int64_t offset(int64_t element) const {
    int64_t where = 0;
    for (int dim = ndim - 1; dim >= 0; --dim) {
      const int64_t outer = element / size[dim];
      where += (element - outer * size[dim]) * stride[dim];
      element = outer;
    }
    return where;
  }
};

// Several norms are taken in one read of the gradients.
constexpr int kMaxNorms = 4;

struct SampleArguments {
  void* out;           // [n, *shape]
  const void* center;  // [*shape], the same layout within a point
  DType dtype;
  int64_t n, row_stride;
  PointLayout point;
  double p, radius;
  uint64_t seed, image_id, first;
  Clip clip;
};

// Gradients [groups, batch, *shape]; the norm of row (g, i) goes to slots[g * batch + i], or to g.
struct NormArguments {
  const void* grads;
  DType dtype;
  int64_t groups, batch, group_stride, batch_stride;
  RowLayout row;
  int n_norms;
  double q[kMaxNorms];
  double* maxima;        // [n_norms, n_slots], folded into
  const int64_t* slots;  // [groups, batch], negative: the row is skipped; null: the row's group
  int64_t n_slots;

  CLEVER_HD int64_t rows() const { return groups * batch; }
  CLEVER_HD int64_t slot(int64_t row) const { return slots == nullptr ? row / batch : slots[row]; }
  CLEVER_HD int64_t offset(int64_t row) const {
    const int64_t group = row / batch;
    return group * group_stride + (row - group * batch) * batch_stride;
  }
};

// A job is one batch of samples of one image: N_s of them, whose norms share one slot.
enum JobColumn { kJobCenter, kJobImageId, kJobBatch, kJobSlot, kJobColumns };

// Sample number c of a list of jobs is sample c % batch_samples of job c / batch_samples.
struct ResampleArguments {
  NormArguments norms;  // of the points now in x; norms.grads is null when x holds none yet
  void* x;              // [batch, *shape]
  DType dtype;
  int64_t batch, row_stride;
  PointLayout point;
  const void* centers;  // [n_centers, *shape], the layout of x
  int64_t n_centers, center_stride;
  const int64_t* jobs;  // [n_jobs, kJobColumns]
  const double* radii;  // [n_jobs]
  int64_t n_jobs, batch_samples;
  int64_t* cursor;  // [batch]: number of the sample that each row gets next
  int64_t* slots;   // [batch]: slot of the sample that each row holds, -1 for none
  double p;
  uint64_t seed;
  Clip clip;

  CLEVER_HD int64_t n_samples() const { return n_jobs * batch_samples; }
};

// What becomes of one row of a move: points by number, and a sample by its counter.
enum MoveColumn { kMoveBase, kMoveDirection, kMoveCenter, kMoveImageId, kMoveSample, kMoveColumns };
enum ScaleColumn { kAlong, kNoise, kRadius, kShare, kScaleColumns };

// Rows of points that all lie alike: rows r at data + r * stride.
struct Points {
  const void* data;
  int64_t n, stride;

  CLEVER_HD bool has(int64_t row) const { return row >= 0 && row < n; }
  template <class T>
  CLEVER_HD const T* at(int64_t row) const {
    return static_cast<const T*>(data) + row * stride;
  }
};

struct MoveArguments {
  void* out;  // [batch, *shape]; apart from the points, which are read while it is written
  int64_t batch, row_stride;
  DType dtype, direction_dtype;  // of all points but the directions, and of these
  PointLayout point;
  Points bases, directions, centers;
  const int64_t* rows;   // [batch, kMoveColumns]
  const double* scales;  // [batch, kScaleColumns]
  double p, sharpness;
  uint64_t seed;
  Clip clip;

  CLEVER_HD const int64_t* row(int64_t number) const { return rows + number * kMoveColumns; }
  CLEVER_HD const double* scale(int64_t number) const { return scales + number * kScaleColumns; }
  CLEVER_HD bool skips(int64_t number) const { return row(number)[kMoveBase] == -1; }
  CLEVER_HD bool is_valid(int64_t number) const {
    const int64_t* columns = row(number);
    const bool direction_is_there =
        columns[kMoveDirection] == -1 || directions.has(columns[kMoveDirection]);
    const double share = scale(number)[kShare];
    return skips(number) || (bases.has(columns[kMoveBase]) && direction_is_there &&
                             centers.has(columns[kMoveCenter]) && scale(number)[kRadius] >= 0.0 &&
                             share >= 0.0 && share <= 1.0);
  }
  CLEVER_HD Stream stream(int64_t number) const {
    const int64_t* columns = row(number);
    return make_stream(stream_key(seed, static_cast<uint64_t>(columns[kMoveImageId]), p),
                       static_cast<uint64_t>(columns[kMoveSample]));
  }
};

enum StepColumn { kStepMargin, kStepBeyond, kStepShare, kStepColumns };

struct StepArguments {
  void* out;  // [batch, *shape]; apart from the points, which are read while it is written
  int64_t batch, row_stride;
  DType dtype, gradient_dtype;  // of all points but the gradients, and of these
  PointLayout point;
  Points points, gradients, centers;  // [batch, *shape] twice, [n_centers, *shape]
  const int64_t* index;               // [batch], -1: the lane is skipped
  const double* scales;               // [batch, kStepColumns]
  double p;
  Clip clip;

  CLEVER_HD const double* scale(int64_t lane) const { return scales + lane * kStepColumns; }
  CLEVER_HD bool skips(int64_t lane) const { return index[lane] == -1; }
  CLEVER_HD bool is_valid(int64_t lane) const {
    const double share = scale(lane)[kStepShare];
    return skips(lane) || (centers.has(index[lane]) && share >= 0.0 && share <= 1.0);
  }
};

struct DistanceArguments {
  Points x, centers;  // [batch, *shape], [n_centers, *shape]
  DType dtype;
  PointLayout point;
  const int64_t* index;  // [batch], -1: the row is skipped
  double p;
  double* distances;  // [batch]

  CLEVER_HD bool skips(int64_t row) const { return index[row] == -1; }
  CLEVER_HD bool is_valid(int64_t row) const { return skips(row) || centers.has(index[row]); }
};

// Looks at points, each of which tells of one row's bracket: several may be of one point.
struct EndsArguments {
  const double *distance, *norm, *margin;  // [looks]
  const int64_t* row;                      // [looks]
  int64_t looks;
  const double *margin_at_image, *rise;  // [rows]
  double *lower, *upper;                 // [rows], folded into
  int64_t *nearest, *steepest;           // [rows], the look that made an end smaller, or -1
  int64_t rows;

  CLEVER_HD bool is_valid(int64_t look) const { return row[look] >= 0 && row[look] < rows; }
  CLEVER_HD double lower_end(int64_t look) const {
    return clever::lower_end(distance[look], norm[look], margin[look], margin_at_image[row[look]],
                             rise[row[look]]);
  }
  CLEVER_HD double upper_end(int64_t look) const {
    return clever::upper_end(distance[look], margin[look]);
  }
};

}  // namespace clever
