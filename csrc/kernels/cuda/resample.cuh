// What becomes of the rows of a buffer of samples: what a launch is given, and what one row gets.
#pragma once

#include "norms.cuh"
#include "samples.cuh"

namespace clever::cuda {

// What is to be done with one row, worked out once for all of its parts: they run in any order, and
// one of them changes what this is made of.
struct alignas(16) Plan {
  Stream stream;  // of the next sample
  double radius;
  int64_t center;  // where the next sample's begins, in elements; -1: there is no next sample
  int64_t slot;    // of the sample that the row holds; -1: its gradient is not looked at
  int64_t number;  // of the next sample
};
constexpr int64_t kPlanWords = sizeof(Plan) / 8;

// Rows of samples that are drawn from jobs, as ResampleArguments says, or around one center.
struct Resample {
  void* x;
  const void* centers;
  int64_t row_stride, center_stride;
  Point point;
  double p;
  uint64_t seed;
  Clip clip;
  int64_t rows;

  Norms norms;
  Parts parts;
  Plan* plans;      // [rows]
  double* sums;     // [rows, parts]
  int64_t* masses;  // [rows, parts]

  // Row r gets sample first + r of one image, or one of a list of jobs, which may be empty.
  uint64_t image_id = 0, first = 0;
  double radius = 0.0;
  bool by_jobs = false;
  const int64_t* jobs = nullptr;
  const double* radii = nullptr;
  int64_t n_centers = 0, n_samples = 0, batch_samples = 0;
  int64_t *cursor = nullptr, *slots = nullptr;

  bool has_grads = false;
  const void* grads = nullptr;  // of what the rows hold
  int64_t grad_stride = 0;
  double* maxima = nullptr;
  int64_t n_slots = 0;

  __device__ int64_t held_slot(uint32_t row) const { return has_grads ? slots[row] : -1; }

  // By one thread: this divides, and draws a key.
  __device__ Plan plan(uint32_t row) const {
    Plan made{{}, radius, 0, -1, 0};
    if (!by_jobs) {
      made.stream = make_stream(stream_key(seed, image_id, p), first + row);
      return made;
    }
    made.slot = held_slot(row);
    CLEVER_DEVICE_CHECK(made.slot < n_slots);
    made.number = cursor[row];
    CLEVER_DEVICE_CHECK(made.number >= 0);
    if (made.number >= n_samples) {
      made.center = -1;
      return made;
    }
    const int64_t number = made.number / batch_samples;
    const int64_t* job = jobs + number * kJobColumns;
    CLEVER_DEVICE_CHECK(job[kJobCenter] >= 0 && job[kJobCenter] < n_centers);
    made.center = job[kJobCenter] * center_stride;
    made.radius = radii[number];
    made.stream = {stream_key(seed, static_cast<uint64_t>(job[kJobImageId]), p),
                   static_cast<uint32_t>(made.number - number * batch_samples),
                   static_cast<uint32_t>(job[kJobBatch])};
    return made;
  }

  // By one thread, when nobody needs the row's cursor and slot any longer.
  __device__ void advance(uint32_t row, const Plan& plan) const {
    if (!by_jobs) return;
    cursor[row] = plan.number + rows;
    const int64_t* job = jobs + plan.number / batch_samples * kJobColumns;
    slots[row] = plan.center < 0 ? -1 : job[kJobSlot];
  }

  template <class T>
  __device__ const T* gradient(uint32_t row) const {
    return static_cast<const T*>(grads) + row * grad_stride;
  }
  template <class T>
  __device__ T* points(uint32_t row) const {
    return static_cast<T*>(x) + row * row_stride;
  }
  template <class T>
  __device__ const T* center(const Plan& plan) const {
    return static_cast<const T*>(centers) + plan.center;
  }
};

// Works a row's plan out in the first thread of a block, for all of them; the first part's keeps it
// for those who come later.
__device__ inline Plan shared_plan(const Resample& resample, uint32_t row, bool keeps) {
  struct Words {
    uint64_t word[kPlanWords];
  };
  CLEVER_SHARED(uint64_t, shared, kPlanWords);
  if (threadIdx.x == 0) {
    const Plan plan = resample.plan(row);
    const auto words = __builtin_bit_cast(Words, plan);
#pragma unroll
    for (uint32_t i = 0; i < kPlanWords; ++i) shared[i] = words.word[i];
    if (keeps) resample.plans[row] = plan;
  }
  __syncthreads();
  Words words;
#pragma unroll
  for (uint32_t i = 0; i < kPlanWords; ++i) words.word[i] = shared[i];
  return __builtin_bit_cast(Plan, words);
}

// The sum of the masses of all threads, in the first one; all must call it.
__device__ inline int64_t sum_of_masses(uint32_t mass) {
  CLEVER_SHARED(int64_t, of_warp, kPartWarps);
  const int64_t sum = warp_sum(mass);
  if (lane() == 0) of_warp[warp()] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  int64_t total = 0;
  for (uint32_t number = 0; number < warps(); ++number) total += of_warp[number];
  return total;
}

template <class Norm>
__device__ double scale_of(const Plan& plan, int64_t mass, double p) {
  return ball_scale<Norm>(plan.radius, static_cast<double>(mass) * kMassUnit, plan.stream, p);
}

inline int64_t resample_words(int64_t rows, int64_t numel) {
  const int64_t parts = parts_of(numel);
  return parts == 1 ? 0 : rows * (kPlanWords + 2 * parts);
}

// What both ops give: the points, and where plans and sums go.
template <class T, class Arguments>
Resample resample_of(void* x, const void* centers, int64_t rows, int64_t center_stride,
                     const Arguments& args, const Norms& norms, void* scratch) {
  const int64_t numel = args.point.numel;
  const bool fours =
      in_fours<T>(x, numel, args.row_stride) && in_fours<T>(centers, numel, center_stride);
  const Parts parts(numel);
  auto* words = static_cast<int64_t*>(scratch);
  auto* sums = words + rows * kPlanWords;
  return {.x = x,
          .centers = centers,
          .row_stride = args.row_stride,
          .center_stride = center_stride,
          .point = Point(args.point, fours),
          .p = args.p,
          .seed = args.seed,
          .clip = args.clip,
          .rows = rows,
          .norms = norms,
          .parts = parts,
          .plans = static_cast<Plan*>(scratch),
          .sums = reinterpret_cast<double*>(sums),
          .masses = sums + rows * parts.count.divisor};
}

template <class T>
Resample resample_of(const SampleArguments& args, void* scratch) {
  const Norms none(0, nullptr);
  Resample made = resample_of<T>(args.out, args.center, args.n, 0, args, none, scratch);
  made.image_id = args.image_id;
  made.first = args.first;
  made.radius = args.radius;
  return made;
}

template <class T>
Resample resample_of(const ResampleArguments& args, void* scratch) {
  const Norms norms(args.norms.n_norms, args.norms.q);
  Resample made =
      resample_of<T>(args.x, args.centers, args.batch, args.center_stride, args, norms, scratch);
  made.n_centers = args.n_centers;
  made.by_jobs = true;
  made.jobs = args.jobs;
  made.radii = args.radii;
  made.n_samples = args.n_samples();
  made.batch_samples = args.batch_samples;
  made.cursor = args.cursor;
  made.slots = args.slots;
  made.has_grads = args.norms.grads != nullptr;
  made.grads = args.norms.grads;
  made.grad_stride = args.norms.batch_stride;
  made.maxima = args.norms.maxima;
  made.n_slots = args.norms.n_slots;
  return made;
}

}  // namespace clever::cuda
