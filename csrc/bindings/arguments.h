// From tensors to the kernels' arguments, with every check: whatever backend runs an op, and
// whether it is called through Python or through torch.ops, bad arguments are refused here.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

#include "../kernels/arguments.h"

namespace clever {

using torch::stable::Tensor;

SampleArguments sample_arguments(Tensor& out, const Tensor& center, double p, double radius,
                                 int64_t seed, int64_t image_id, int64_t first, double low,
                                 double high);

NormArguments norm_arguments(const Tensor& grads, const std::vector<double>& q, Tensor& maxima,
                             const std::optional<Tensor>& slots);

ResampleArguments resample_arguments(const std::optional<Tensor>& grads, Tensor& x, Tensor& maxima,
                                     Tensor& cursor, Tensor& slots, const Tensor& centers,
                                     const Tensor& jobs, const Tensor& radii, int64_t batch_samples,
                                     double p, double q, int64_t seed, double low, double high);

MoveArguments move_arguments(Tensor& out, const Tensor& bases,
                             const std::optional<Tensor>& directions, const Tensor& centers,
                             const Tensor& rows, const Tensor& scales, double p, double sharpness,
                             int64_t seed, double low, double high);

StepArguments step_arguments(Tensor& out, const Tensor& points, const Tensor& gradients,
                             const Tensor& centers, const Tensor& index, const Tensor& scales,
                             double p, double low, double high);

DistanceArguments distance_arguments(const Tensor& x, const Tensor& centers, const Tensor& index,
                                     double p, Tensor& distances);

EndsArguments ends_arguments(const Tensor& distance, const Tensor& norm, const Tensor& margin,
                             const Tensor& row, const Tensor& margin_at_image, const Tensor& rise,
                             Tensor& lower, Tensor& upper, Tensor& nearest, Tensor& steepest);

}  // namespace clever
