/* What the passes of a block in training share: the block, and numbers in memory. */

#pragma once

#include <stdint.h>
#include <string.h>

/* Plain loops over channels are compiled once more for wider vectors. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

/* `bf16` is the type of features and of all gradients but those of vectors; else they are float. */
typedef struct {
  int64_t images;
  int32_t path, side, channels_in, channels_out, pool, bf16;
  double momentum, epsilon;
  const void *x;                     /* (images, side, side, channels_in); an image is float */
  const float *weight;               /* (channels_out, 3, 3, channels_in), quantized */
  const float *bias, *scale, *shift; /* (channels_out,) each */
  float *running_mean, *running_variance;
  void *words;      /* weights as the convolution reads them */
  uint16_t *offsets; /* likewise, for AVX2: (channels_out / 4, 9 channels_in / 4, 4) */
  int16_t *sums;    /* (images, side, side, channels_out) */
  int64_t *moments; /* (images, 2, channels_out): sums of S and of its square */
  double *state;    /* (2, channels_out): mean of S, 1 / standard deviation */
  float *table;     /* (6, channels_out), see below */
  void *y;          /* (images, side / pool, side / pool, channels_out) */
  const void *y_gradient;
  float *partial; /* (images, 2, channels_out): sums of the gradient g of v, and of g (S - centre) */
  void *gradient; /* of the convolution's result, like sums */
  float *products;        /* (channels_out / 16, 9 channels_in, 16): room for the next */
  float *weight_gradient; /* like weight */
  float *points;          /* (36, channels_out, channels_in): turned weights, for the next */
  void *x_gradient;       /* like x */
  double unit;
} Training;

INLINE float load(const void *from, int64_t i, int bf16) {
  if (!bf16) return ((const float *)from)[i];
  union { uint32_t bits; float value; } number = {(uint32_t)((const uint16_t *)from)[i] << 16};
  return number.value;
}

/* To bf16: to the nearest, halves to even; NaN stays NaN. */
INLINE void store(void *to, int64_t i, float value, int bf16) {
  if (!bf16) {
    ((float *)to)[i] = value;
    return;
  }
  union { float value; uint32_t bits; } number = {value};
  uint32_t rounded = (number.bits + 0x7fffu + ((number.bits >> 16) & 1)) >> 16;
  ((uint16_t *)to)[i] = value != value ? 0x7fc0 : (uint16_t)rounded;
}

/* Neighbouring channels; what is summed over pixels or channels is so for GROUP of them at a time. */
#if defined(__x86_64__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
enum { GROUP = 16, PARTS = GROUP / WIDTH };
typedef float Lanes __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

INLINE void load_lanes(const void *from, int64_t at, int bf16, Lanes *lanes) {
  if (bf16)
    for (int c = 0; c < WIDTH; c++) (*lanes)[c] = load(from, at + c, 1);
  else *lanes = *(const Lanes *)((const float *)from + at);
}

INLINE void store_lanes(void *to, int64_t at, const Lanes *lanes, int bf16) {
  if (bf16)
    for (int c = 0; c < WIDTH; c++) store(to, at + c, (*lanes)[c], 1);
  else *(Lanes *)((float *)to + at) = *lanes;
}
