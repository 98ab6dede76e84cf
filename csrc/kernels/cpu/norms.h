// The norm of one row on the CPU, and of the difference of two.
#pragma once

#include "../arguments.h"

namespace clever::cpu {

// The q-norm of `numel` elements that lie one after another; for each type of tensors.
template <class T>
double norm_of(const T* x, int64_t numel, double q);

// The p-norm of x - center, which are as long; `difference` has room for that.
template <class T>
double distance(const T* x, const T* center, int64_t numel, double p,
                typename Arithmetic<T>::Real* difference);

}  // namespace clever::cpu
