// Where the elements of a tensor's points and rows lie.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <string>

#include "../kernels/arguments.h"

namespace clever {

// "[2, 3]", for messages.
std::string shape_of(const torch::stable::Tensor& t);

// The layout of points [first_dim..]: contiguous or channels_last, or an error.
PointLayout point_layout(const char* op, const char* name, const torch::stable::Tensor& t,
                         int64_t first_dim);

// The layout of rows [first_dim..], dimensions ordered by stride and merged.
RowLayout row_layout(const char* op, const torch::stable::Tensor& t, int64_t first_dim);

}  // namespace clever
