// The norm of one row on the CPU.
#pragma once

#include "../arguments.h"

namespace clever::cpu {

// The q-norm of `numel` elements that lie one after another; for each type of tensors.
template <class T>
double norm_of(const T* x, int64_t numel, double q);

}  // namespace clever::cpu
