/* Quantizes a layer's squashed weights as mean_scaled does, in one pass: with the steps of
   quantizers.py, each rounded as there, and so to the same bits. */

#include <math.h>

#include "training.h"

CLONES void bitstill_levels(const float *squashed, int64_t count, float span, float steps,
                            float *restrict to) {
  float divisor = span == 0 ? 1 : span;
  for (int64_t i = 0; i < count; i++) {
    float scaled = squashed[i] / divisor; /* NaN stays NaN */
    scaled = scaled < -0.5f ? -0.5f : scaled;
    scaled = scaled > 0.5f ? 0.5f : scaled;
    float stepped = (scaled + 0.5f) * steps, whole = floorf(stepped);
    float rounded = whole + (stepped - whole >= 0.5f ? 1.f : 0.f);
    to[i] = span * (rounded / steps - 0.5f);
  }
}
