// What a look at one point tells of the two ends of a bracket (docs/concepts/bracket.md): numbers
// that are not negative, or a NaN without a sign.
#pragma once

#include "norms.h"

namespace clever {

// max(r, g(x0) / slope), where the slope is the larger of a gradient norm and of the secant to the
// image. A secant counts where the margin is not positive, or moved by more than `rise`: rounding
// makes others. An image without a margin above 0 has r; a slope that is NaN gives NaN.
CLEVER_HD double lower_end(double distance, double norm, double margin, double margin_at_image,
                           double rise) {
  const double change = magnitude(margin_at_image - margin);
  const bool counts = distance > 0.0 && (margin <= 0.0 || change > rise);
  const double secant = counts ? magnitude(change / distance) : 0.0;
  const double slope = larger_magnitude(magnitude(norm), secant);
  const double reached = margin_at_image > 0.0 ? magnitude(margin_at_image / slope) : 0.0;
  return larger_magnitude(magnitude(distance), slope == slope ? reached : slope);
}

// r where the margin is not positive.
CLEVER_HD double upper_end(double distance, double margin) {
  return margin <= 0.0 ? magnitude(distance) : INFINITY;
}

}  // namespace clever
