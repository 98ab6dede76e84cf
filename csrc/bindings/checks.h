// The checks that the arguments of several ops share. Each names the op and the argument.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <string>
#include <vector>

#include "layouts.h"

namespace clever {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

DType dtype_of(const char* op, const char* name, const Tensor& t);

void check_same_device(const char* op, const char* name, const Tensor& t, const Tensor& other);

// A contiguous tensor of one type and shape, for what is indexed by number.
void check_plain(const char* op, const char* name, const Tensor& t, ScalarType type,
                 const std::vector<int64_t>& shape);

void check_shape(const char* op, const char* name, const Tensor& t,
                 const std::vector<int64_t>& shape);

void check_norm(const char* op, const char* name, double p);

void check_clip(const char* op, double low, double high);

void check_same_points(const char* op, const char* name, const Tensor& t, int64_t first_dim,
                       const Tensor& like, int64_t like_first_dim);

void check_distinct_rows(const char* op, const char* name, const Tensor& t, int64_t numel);

void check_same_layout(const char* op, const char* name, const PointLayout& a, const PointLayout& b,
                       const char* of = "the buffer that is written");

// Points [n, *shape] of the shape and the layout of those in another tensor.
Points points_like(const char* op, const char* name, const Tensor& t, const Tensor& like,
                   const PointLayout& layout, const char* like_name);

// A number of things that 32 bits hold, as launches and indices need it.
int32_t checked_count(const char* op, const char* what, int64_t count);

}  // namespace clever
