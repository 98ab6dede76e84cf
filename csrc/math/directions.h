// From a gradient to the direction of a step: sign(g) |g|^s, before it is divided by its p-norm.
#pragma once

#include "norms.h"

namespace clever {

// ratio^s for a ratio in [0, 1] and s > 0; chosen from without a branch, for vectorised loops.
CLEVER_HD float power_of_ratio(float ratio, double s) {
  const float power = exp_bounded(static_cast<float>(s) * log_positive(ratio));
  return s == 1.0 ? ratio : (ratio >= FLT_MIN ? power : 0.0f);
}
CLEVER_HD double power_of_ratio(double ratio, double s) { return s == 1.0 ? ratio : pow(ratio, s); }

// Of |g| / max |g|, which neither over- nor underflows; the largest becomes 1.
template <class Real>
struct Sharpened {
  double largest, sharpness;

  // Without a largest size above 0 there is no direction, nor with one that is not finite.
  CLEVER_HD bool exists() const { return largest > 0.0 && largest <= DBL_MAX; }
  template <class G>
  CLEVER_HD Real operator()(G g) const {
    const G size = magnitude(g);
    const auto ratio = static_cast<Real>(size / static_cast<G>(largest));
    const Real power = power_of_ratio(ratio, sharpness);
    const Real sign = size > G{0} ? Real{1} : Real{0};
    const Real sharpened = sharpness == 0.0 ? sign : power;
    return g < G{0} ? -sharpened : sharpened;
  }
};

}  // namespace clever
