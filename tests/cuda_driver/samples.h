// Launches of what draws samples and what takes norms, and of both in one.
#pragma once

#include <numeric>

#include "plain.h"

namespace driver {

template <class T>
SampleArguments sample_arguments(const Shape& shape, double p, int64_t n, const Buffer<T>& out,
                                 const Buffer<T>& center) {
  SampleArguments args{};
  args.out = out.data();
  args.center = center.data();
  args.dtype = kDType<T>;
  args.n = n;
  args.row_stride = shape.numel();
  args.point = shape.layout();
  args.p = p;
  args.radius = kRadius;
  args.seed = 11;
  args.image_id = 12;
  args.clip = kNoClip;
  return args;
}

template <class T>
void check_samples(const Shape& shape, double p) {
  const int64_t numel = shape.numel(), n = 3;
  const std::vector<T> center = numbers<T>(numel, 1);
  const Buffer<T> centers(center), out(static_cast<size_t>(n * numel));
  const SampleArguments args = sample_arguments(shape, p, n, out, centers);
  cuda::sample_lp_ball(args, scratch_of(args).data(), nullptr);
  const std::vector<T> x = out.host();
  for (int64_t row = 0; row < n; ++row) {
    check_in_ball(&x[row * numel], center.data(), numel, p, "sample_lp_ball");
  }
}

template <class T>
NormArguments norm_arguments(const Buffer<T>& grads, int64_t batch, int64_t row_stride,
                             const RowLayout& row, const Buffer<double>& maxima, int64_t n_slots) {
  NormArguments args{};
  args.grads = grads.data();
  args.dtype = kDType<T>;
  args.groups = 1;
  args.batch = batch;
  args.batch_stride = row_stride;
  args.row = row;
  args.maxima = maxima.data();
  args.n_slots = n_slots;
  return args;
}

// Four rows, two of which share a slot and one of which is skipped; four norms at once.
template <class T>
void check_norms(const RowLayout& row, int64_t row_stride) {
  constexpr double kExponents[kMaxNorms] = {1.0, 2.0, 3.0, INFINITY};
  constexpr int64_t kRows = 4, kSlots = 2;
  const std::vector<T> g = numbers<T>(kRows * row_stride, 2, -1.0, 1.0);
  const std::vector<int64_t> slot = {1, 0, -1, 1};
  const Buffer<T> grads(g);
  const Buffer<double> maxima(std::vector<double>(kMaxNorms * kSlots, 0.0));
  const Buffer<int64_t> slots(slot);
  NormArguments args = norm_arguments(grads, kRows, row_stride, row, maxima, kSlots);
  args.slots = slots.data();
  args.n_norms = kMaxNorms;
  for (int n = 0; n < kMaxNorms; ++n) args.q[n] = kExponents[n];
  cuda::grad_norm_max(args, scratch_of(args).data(), nullptr);
  const std::vector<double> found = maxima.host();
  for (int n = 0; n < kMaxNorms; ++n) {
    double expected[kSlots] = {};
    for (int64_t i = 0; i < kRows; ++i) {
      if (slot[i] < 0) continue;
      const T* values = &g[i * row_stride];
      const double norm = norm_of(row.numel, kExponents[n],
                                  [&](int64_t e) { return load(values + row.offset(e)); });
      expected[slot[i]] = std::max(expected[slot[i]], norm);
    }
    for (int64_t s = 0; s < kSlots; ++s) {
      CHECK(std::abs(found[n * kSlots + s] - expected[s]) <= 2e-6 * expected[s],
            "grad_norm_max: q = %g, %lld elements: %.9g, not %.9g", kExponents[n],
            static_cast<long long>(row.numel), found[n * kSlots + s], expected[s]);
    }
  }
}

inline double dual(double p) { return p == 1.0 ? INFINITY : p == INFINITY ? 1.0 : p / (p - 1.0); }

// A device batch that takes jobs of `each` samples, and what the fused step reads and writes.
template <class T>
struct Fused {
  Buffer<T> centers, x, grads;
  Buffer<int64_t> jobs, cursor, slots;
  Buffer<double> radii, maxima;
  ResampleArguments args{};

  Fused(int64_t numel, int64_t batch, const std::vector<T>& center,
        const std::vector<int64_t>& job_list, int64_t each)
      : centers(center),
        x(batch * numel),
        grads(batch * numel),
        jobs(job_list),
        cursor(counted(batch)),
        slots(batch),
        radii(std::vector<double>(job_list.size() / kJobColumns, kRadius)),
        maxima(std::vector<double>(job_list.size() / kJobColumns, 0.0)) {
    args.n_jobs = static_cast<int64_t>(job_list.size()) / kJobColumns;
    args.norms = norm_arguments(grads, batch, numel, row_of(numel), maxima, args.n_jobs);
    args.norms.slots = args.slots = slots.data();
    args.norms.n_norms = 1;
    args.x = x.data();
    args.dtype = kDType<T>;
    args.batch = batch;
    args.row_stride = args.center_stride = numel;
    args.centers = centers.data();
    args.n_centers = static_cast<int64_t>(center.size()) / numel;
    args.jobs = jobs.data();
    args.radii = radii.data();
    args.batch_samples = each;
    args.cursor = cursor.data();
    args.seed = 11;
    args.clip = kNoClip;
  }
  void launch(const Shape& shape, double p, bool has_gradients) {
    args.point = shape.layout();
    args.p = p;
    args.norms.q[0] = dual(p);
    args.norms.grads = has_gradients ? grads.data() : nullptr;
    cuda::reduce_and_resample(args, scratch_of(args).data(), nullptr);
  }

 private:
  static std::vector<int64_t> counted(int64_t count) {
    std::vector<int64_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }
};

// The fused step draws what sample_lp_ball draws of the same numbers.
template <class T>
void check_same_sample(const Shape& shape, double p, const T* values, const T* center,
                       const int64_t* job, int64_t number) {
  const int64_t numel = shape.numel();
  const Buffer<T> around(std::vector<T>(center, center + numel)), out(numel);
  SampleArguments args = sample_arguments(shape, p, 1, out, around);
  args.image_id = static_cast<uint64_t>(job[kJobImageId]);
  args.first = static_cast<uint64_t>((job[kJobBatch] << 32) + number);
  cuda::sample_lp_ball(args, scratch_of(args).data(), nullptr);
  CHECK(std::memcmp(out.host().data(), values, numel * sizeof(T)) == 0,
        "reduce_and_resample: p = %g, %lld elements: not the sample of sample_lp_ball", p,
        static_cast<long long>(numel));
}

// Two jobs of three samples in a batch of four: rows change images on the way and end at different
// steps. Each step's gradients are the points that the step before drew, whose norms are known.
template <class T>
void check_fused(const Shape& shape, double p) {
  constexpr int64_t kBatch = 4, kJobs = 2, kEach = 3, kSamples = kJobs * kEach;
  const int64_t numel = shape.numel();
  const std::vector<int64_t> jobs = {0, 12, 0, 0, 1, 13, 5, 1};
  const std::vector<T> center = numbers<T>(kJobs * numel, 3);
  Fused<T> fused(numel, kBatch, center, jobs, kEach);
  double expected[kJobs] = {};
  for (int64_t first = 0; first < kSamples; first += kBatch) {
    fused.launch(shape, p, first > 0);
    const std::vector<T> drawn = fused.x.host();
    for (int64_t row = 0; row < kBatch && first + row < kSamples; ++row) {
      const T* values = &drawn[row * numel];
      const int64_t number = first + row, *job = &jobs[number / kEach * kJobColumns];
      const T* image = &center[job[kJobCenter] * numel];
      check_in_ball(values, image, numel, p, "reduce_and_resample");
      check_same_sample(shape, p, values, image, job, number % kEach);
      const double norm = norm_of(numel, dual(p), [&](int64_t i) { return load(values + i); });
      expected[job[kJobSlot]] = std::max(expected[job[kJobSlot]], norm);
    }
    copy(fused.grads.data(), fused.x.data(), kBatch * numel * sizeof(T));
  }
  fused.launch(shape, p, true);
  const std::vector<double> found = fused.maxima.host();
  for (int64_t job = 0; job < kJobs; ++job) {
    CHECK(std::abs(found[job] - expected[job]) <= 2e-6 * expected[job],
          "reduce_and_resample: q = %g: %.9g, not %.9g", dual(p), found[job], expected[job]);
  }
  for (const int64_t slot : fused.slots.host()) CHECK(slot == -1, "a row holds one more sample");
}

}  // namespace driver
