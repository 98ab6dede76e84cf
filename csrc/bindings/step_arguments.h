// From tensors to the arguments of the ops around the model, with every check: see arguments.h.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include "../kernels/step_arguments.h"

namespace clever {

using torch::stable::Tensor;

AssignArguments assign_arguments(const Tensor& slots, const Tensor& center_of_slot,
                                 const Tensor& classes, const Tensor& targets, Tensor& row_image,
                                 Tensor& row_classes, Tensor& row_targets);

SeedArguments seed_arguments(const Tensor& logits, const Tensor& classes, const Tensor& targets,
                             Tensor& margins, Tensor& seeds);

FlipArguments flip_arguments(const Tensor& margins, const Tensor& x, const Tensor& slots,
                             const Tensor& centers, const Tensor& row_image, double p,
                             Tensor& nearest_flip);

}  // namespace clever
