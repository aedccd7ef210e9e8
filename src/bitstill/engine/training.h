/* What the passes of a block's training step share: the block, and vectors of numbers. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "processor.h"

/* Plain loops over channels are compiled for wider vectors, too; GCC knows these names since 12. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12 && \
    !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

typedef struct {
  int64_t images;
  int32_t path, side, channels_in, channels_out, pool;
  float multiplier; /* in front of the clip, 0.1 as published */
  double momentum, epsilon;
  const uint32_t *x;                 /* (images, side, side, channels_in), as the bits of floats */
  const float *weight;               /* (channels_out, 3, 3, channels_in), quantized */
  const float *bias, *gain, *offset; /* (channels_out,) each */
  float *running_mean, *running_variance;
  int8_t *codes;    /* weights as -3, -1, 1 and 3, shaped like weight: scratch to fill weights */
  void *weights;    /* as the convolution reads them (sums.h): codes for an image, or tables */
  int16_t *sums;    /* (images, side, side, channels_out) */
  int64_t *moments; /* (images, 2, channels_out): sums of S and of S^2 */
  double *state;    /* (2, channels_out): mean of S, 1 / standard deviation */
  float *table;     /* (6, channels_out): the rows that training.c names */
  uint32_t *y;      /* (images, side / pool, side / pool, channels_out), as the bits of floats */
  const float *y_gradient;
  float *partial; /* (images, 2, channels_out): sums of the gradient g of v, and of g (S - centre) */
  float *gradient; /* of the convolution's result, shaped like sums */
  float *products;        /* (channels_out / 16, 9 channels_in, 16): scratch for weight_gradient */
  float *weight_gradient; /* shaped like weight */
  float *points;          /* (36, channels_out, channels_in): rotated weights, for x_gradient */
  float *x_gradient;      /* shaped like x */
  double unit;
} Training;

/* Gradients are summed over pixels or channels for GROUP neighbouring channels at a time, in vectors of
   WIDTH. wide.c compiles them again with vectors twice as wide; the bits are the same. */
#if defined(WIDE)
enum { WIDTH = 16 };
#define PASS(name) bitstill_wide_##name
#else
#if defined(__x86_64__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
#define PASS(name) bitstill_block_##name
#endif
enum { GROUP = 16, PARTS = GROUP / WIDTH };
typedef float Lanes __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
