#include "arguments.h"

#include <cmath>

#include "checks.h"

namespace clever {

SampleArguments sample_arguments(Tensor& out, const Tensor& center, double p, double radius,
                                 int64_t seed, int64_t image_id, int64_t first, double low,
                                 double high) {
  constexpr const char* kOp = "sample_lp_ball";
  check_norm(kOp, "p", p);
  STD_TORCH_CHECK(radius > 0 && std::isfinite(radius), kOp,
                  ": radius must be positive and finite, got ", radius);
  STD_TORCH_CHECK(first >= 0, kOp, ": first must not be negative, got ", first);
  check_clip(kOp, low, high);
  STD_TORCH_CHECK(out.dim() >= 1, kOp, ": out must be [n, *center.shape], got a scalar");
  check_same_device(kOp, "center", center, out);
  check_same_points(kOp, "out", out, 1, center, 0);
  STD_TORCH_CHECK(out.scalar_type() == center.scalar_type(), kOp,
                  ": out and center must have the same dtype");
  SampleArguments args{};
  args.dtype = dtype_of(kOp, "out", out);
  args.point = point_layout(kOp, "out", out, 1);
  check_distinct_rows(kOp, "out", out, args.point.numel);
  check_same_layout(kOp, "center", point_layout(kOp, "center", center, 0), args.point);
  args.out = out.mutable_data_ptr();
  args.center = center.const_data_ptr();
  args.n = out.size(0);
  args.row_stride = out.stride(0);
  args.p = p;
  args.radius = radius;
  args.seed = static_cast<uint64_t>(seed);
  args.image_id = static_cast<uint64_t>(image_id);
  args.first = static_cast<uint64_t>(first);
  args.clip = {low, high};
  return args;
}

NormArguments norm_arguments(const Tensor& grads, const std::vector<double>& q, Tensor& maxima,
                             const std::optional<Tensor>& slots) {
  constexpr const char* kOp = "grad_norm_max";
  STD_TORCH_CHECK(grads.dim() >= 3, kOp, ": grads must be [G, B, *shape], got ", shape_of(grads));
  STD_TORCH_CHECK(!q.empty() && q.size() <= kMaxNorms, kOp, ": from 1 to ", kMaxNorms,
                  " norms in one call, got ", q.size());
  NormArguments args{};
  args.dtype = dtype_of(kOp, "grads", grads);
  args.groups = grads.size(0);
  args.batch = grads.size(1);
  args.group_stride = grads.stride(0);
  args.batch_stride = grads.stride(1);
  args.row = row_layout(kOp, grads, 2);
  args.n_norms = static_cast<int>(q.size());
  for (size_t n = 0; n < q.size(); ++n) {
    check_norm(kOp, "q", q[n]);
    args.q[n] = q[n];
  }
  args.n_slots = slots.has_value() && maxima.dim() == 2 ? maxima.size(1) : args.groups;
  check_plain(kOp, "maxima", maxima, ScalarType::Double, {args.n_norms, args.n_slots});
  check_same_device(kOp, "maxima", maxima, grads);
  if (slots.has_value()) {
    check_plain(kOp, "slots", *slots, ScalarType::Long, {args.groups, args.batch});
    check_same_device(kOp, "slots", *slots, grads);
    args.slots = static_cast<const int64_t*>(slots->const_data_ptr());
  }
  args.grads = grads.const_data_ptr();
  args.maxima = static_cast<double*>(maxima.mutable_data_ptr());
  return args;
}

ResampleArguments resample_arguments(const std::optional<Tensor>& grads, Tensor& x, Tensor& maxima,
                                     Tensor& cursor, Tensor& slots, const Tensor& centers,
                                     const Tensor& jobs, const Tensor& radii, int64_t batch_samples,
                                     double p, double q, int64_t seed, double low, double high) {
  constexpr const char* kOp = "reduce_and_resample";
  check_norm(kOp, "p", p);
  check_norm(kOp, "q", q);
  check_clip(kOp, low, high);
  STD_TORCH_CHECK(batch_samples > 0, kOp, ": batch_samples must be positive, got ", batch_samples);
  STD_TORCH_CHECK(x.dim() >= 2, kOp, ": x must be [B, *shape], got ", shape_of(x));
  const int64_t batch = x.size(0);
  STD_TORCH_CHECK(jobs.dim() == 2, kOp, ": jobs must be [J, ", int{kJobColumns}, "], got ",
                  shape_of(jobs));
  check_plain(kOp, "jobs", jobs, ScalarType::Long, {jobs.size(0), kJobColumns});
  check_plain(kOp, "radii", radii, ScalarType::Double, {jobs.size(0)});
  check_plain(kOp, "cursor", cursor, ScalarType::Long, {batch});
  check_plain(kOp, "slots", slots, ScalarType::Long, {batch});
  STD_TORCH_CHECK(maxima.dim() == 1, kOp, ": maxima must be [slots], got ", shape_of(maxima));
  check_plain(kOp, "maxima", maxima, ScalarType::Double, {maxima.size(0)});
  STD_TORCH_CHECK(centers.dim() == x.dim(), kOp, ": centers must be [I, *shape], got ",
                  shape_of(centers));
  check_same_points(kOp, "centers", centers, 1, x, 1);
  STD_TORCH_CHECK(x.scalar_type() == centers.scalar_type(), kOp,
                  ": x and centers must have the same dtype");
  const Tensor* const others[] = {&maxima, &cursor, &slots, &centers, &jobs, &radii};
  for (const Tensor* other : others) check_same_device(kOp, "every tensor", *other, x);

  ResampleArguments args{};
  args.dtype = dtype_of(kOp, "x", x);
  args.point = point_layout(kOp, "x", x, 1);
  check_distinct_rows(kOp, "x", x, args.point.numel);
  check_same_layout(kOp, "centers", point_layout(kOp, "centers", centers, 1), args.point);
  args.norms.batch = batch;
  args.norms.groups = 1;
  if (grads.has_value()) {
    check_same_points(kOp, "grads", *grads, 0, x, 0);
    check_same_device(kOp, "grads", *grads, x);
    args.norms.dtype = dtype_of(kOp, "grads", *grads);
    args.norms.batch_stride = grads->stride(0);
    args.norms.row = row_layout(kOp, *grads, 1);
    args.norms.grads = grads->const_data_ptr();
  }
  args.norms.n_norms = 1;
  args.norms.q[0] = q;
  args.norms.maxima = static_cast<double*>(maxima.mutable_data_ptr());
  args.norms.n_slots = maxima.size(0);
  args.slots = static_cast<int64_t*>(slots.mutable_data_ptr());
  args.norms.slots = args.slots;
  args.x = x.mutable_data_ptr();
  args.batch = batch;
  args.row_stride = x.stride(0);
  args.centers = centers.const_data_ptr();
  args.n_centers = centers.size(0);
  args.center_stride = centers.stride(0);
  args.jobs = static_cast<const int64_t*>(jobs.const_data_ptr());
  args.radii = static_cast<const double*>(radii.const_data_ptr());
  args.n_jobs = jobs.size(0);
  args.batch_samples = batch_samples;
  args.cursor = static_cast<int64_t*>(cursor.mutable_data_ptr());
  args.p = p;
  args.seed = static_cast<uint64_t>(seed);
  args.clip = {low, high};
  return args;
}

MoveArguments move_arguments(Tensor& out, const Tensor& bases,
                             const std::optional<Tensor>& directions, const Tensor& centers,
                             const Tensor& rows, const Tensor& scales, double p, double sharpness,
                             int64_t seed, double low, double high) {
  constexpr const char* kOp = "move_in_lp_ball";
  check_norm(kOp, "p", p);
  check_clip(kOp, low, high);
  STD_TORCH_CHECK(sharpness >= 0 && std::isfinite(sharpness), kOp,
                  ": sharpness must be finite and not negative, got ", sharpness);
  STD_TORCH_CHECK(out.dim() >= 2, kOp, ": out must be [B, *shape], got ", shape_of(out));
  check_plain(kOp, "rows", rows, ScalarType::Long, {out.size(0), kMoveColumns});
  check_plain(kOp, "scales", scales, ScalarType::Double, {out.size(0), kScaleColumns});
  check_same_device(kOp, "rows", rows, out);
  check_same_device(kOp, "scales", scales, out);
  STD_TORCH_CHECK(
      out.scalar_type() == bases.scalar_type() && out.scalar_type() == centers.scalar_type(), kOp,
      ": out, bases and centers must have the same dtype");
  MoveArguments args{};
  args.dtype = args.direction_dtype = dtype_of(kOp, "out", out);
  args.point = point_layout(kOp, "out", out, 1);
  check_distinct_rows(kOp, "out", out, args.point.numel);
  args.bases = points_like(kOp, "bases", bases, out, args.point, "out");
  args.centers = points_like(kOp, "centers", centers, out, args.point, "out");
  if (directions.has_value()) {
    args.direction_dtype = dtype_of(kOp, "directions", *directions);
    args.directions = points_like(kOp, "directions", *directions, out, args.point, "out");
  }
  args.out = out.mutable_data_ptr();
  args.batch = out.size(0);
  args.row_stride = out.stride(0);
  args.rows = static_cast<const int64_t*>(rows.const_data_ptr());
  args.scales = static_cast<const double*>(scales.const_data_ptr());
  args.p = p;
  args.sharpness = sharpness;
  args.seed = static_cast<uint64_t>(seed);
  args.clip = {low, high};
  return args;
}

StepArguments step_arguments(Tensor& out, const Tensor& points, const Tensor& gradients,
                             const Tensor& centers, const Tensor& index, const Tensor& scales,
                             double p, double low, double high) {
  constexpr const char* kOp = "step_to_boundary";
  check_norm(kOp, "p", p);
  check_clip(kOp, low, high);
  STD_TORCH_CHECK(out.dim() >= 2, kOp, ": out must be [B, *shape], got ", shape_of(out));
  check_plain(kOp, "index", index, ScalarType::Long, {out.size(0)});
  check_plain(kOp, "scales", scales, ScalarType::Double, {out.size(0), kStepColumns});
  check_same_device(kOp, "index", index, out);
  check_same_device(kOp, "scales", scales, out);
  STD_TORCH_CHECK(
      out.scalar_type() == points.scalar_type() && out.scalar_type() == centers.scalar_type(), kOp,
      ": out, points and centers must have the same dtype");
  StepArguments args{};
  args.dtype = dtype_of(kOp, "out", out);
  args.gradient_dtype = dtype_of(kOp, "gradients", gradients);
  args.point = point_layout(kOp, "out", out, 1);
  check_distinct_rows(kOp, "out", out, args.point.numel);
  args.points = points_like(kOp, "points", points, out, args.point, "out");
  args.gradients = points_like(kOp, "gradients", gradients, out, args.point, "out");
  args.centers = points_like(kOp, "centers", centers, out, args.point, "out");
  args.batch = out.size(0);
  STD_TORCH_CHECK(args.points.n == args.batch && args.gradients.n == args.batch, kOp,
                  ": points and gradients must have a row for each of out (", args.batch, "), got ",
                  args.points.n, " and ", args.gradients.n);
  args.out = out.mutable_data_ptr();
  args.row_stride = out.stride(0);
  args.index = static_cast<const int64_t*>(index.const_data_ptr());
  args.scales = static_cast<const double*>(scales.const_data_ptr());
  args.p = p;
  args.clip = {low, high};
  return args;
}

DistanceArguments distance_arguments(const Tensor& x, const Tensor& centers, const Tensor& index,
                                     double p, Tensor& distances) {
  constexpr const char* kOp = "lp_distances";
  check_norm(kOp, "p", p);
  STD_TORCH_CHECK(x.dim() >= 2, kOp, ": x must be [B, *shape], got ", shape_of(x));
  check_plain(kOp, "index", index, ScalarType::Long, {x.size(0)});
  check_plain(kOp, "distances", distances, ScalarType::Double, {x.size(0)});
  check_same_device(kOp, "index", index, x);
  check_same_device(kOp, "distances", distances, x);
  STD_TORCH_CHECK(x.scalar_type() == centers.scalar_type(), kOp,
                  ": x and centers must have the same dtype");
  DistanceArguments args{};
  args.dtype = dtype_of(kOp, "x", x);
  args.point = point_layout(kOp, "x", x, 1);
  args.x = {x.const_data_ptr(), x.size(0), x.stride(0)};
  args.centers = points_like(kOp, "centers", centers, x, args.point, "x");
  args.index = static_cast<const int64_t*>(index.const_data_ptr());
  args.p = p;
  args.distances = static_cast<double*>(distances.mutable_data_ptr());
  return args;
}

EndsArguments ends_arguments(const Tensor& distance, const Tensor& norm, const Tensor& margin,
                             const Tensor& row, const Tensor& margin_at_image, const Tensor& rise,
                             Tensor& lower, Tensor& upper, Tensor& nearest, Tensor& steepest) {
  constexpr const char* kOp = "bracket_ends";
  STD_TORCH_CHECK(distance.dim() == 1, kOp, ": distance must be [looks], got ", shape_of(distance));
  STD_TORCH_CHECK(lower.dim() == 1, kOp, ": lower must be [rows], got ", shape_of(lower));
  EndsArguments args{};
  args.looks = distance.size(0);
  args.rows = lower.size(0);
  const auto check = [&](const char* name, const Tensor& t, ScalarType type, int64_t count) {
    check_plain(kOp, name, t, type, {count});
    check_same_device(kOp, name, t, lower);
  };
  const auto floats = [&](const char* name, const Tensor& t, int64_t count) {
    check(name, t, ScalarType::Double, count);
    return static_cast<const double*>(t.const_data_ptr());
  };
  args.distance = floats("distance", distance, args.looks);
  args.norm = floats("norm", norm, args.looks);
  args.margin = floats("margin", margin, args.looks);
  args.margin_at_image = floats("margin_at_image", margin_at_image, args.rows);
  args.rise = floats("rise", rise, args.rows);
  check("row", row, ScalarType::Long, args.looks);
  check("lower", lower, ScalarType::Double, args.rows);
  check("upper", upper, ScalarType::Double, args.rows);
  check("nearest", nearest, ScalarType::Long, args.rows);
  check("steepest", steepest, ScalarType::Long, args.rows);
  args.row = static_cast<const int64_t*>(row.const_data_ptr());
  args.lower = static_cast<double*>(lower.mutable_data_ptr());
  args.upper = static_cast<double*>(upper.mutable_data_ptr());
  args.nearest = static_cast<int64_t*>(nearest.mutable_data_ptr());
  args.steepest = static_cast<int64_t*>(steepest.mutable_data_ptr());
  return args;
}

}  // namespace clever
