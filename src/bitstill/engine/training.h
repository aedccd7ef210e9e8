/* What the passes of a block in training share: the block itself, and vectors of numbers. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "processor.h"

/* Also compiles plain loops over channels for wider vectors, whose names GCC knows since 12. */
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
  int8_t *codes;    /* like weight, from -3 to 3: working memory for the next */
  void *weights;    /* as the convolution reads them, see sums.h: codes for the image, or tables */
  int16_t *sums;    /* (images, side, side, channels_out) */
  int64_t *moments; /* (images, 2, channels_out): sums of S and of S^2 */
  double *state;    /* (2, channels_out): mean of S, 1 / standard deviation */
  float *table;     /* (6, channels_out), see SLOPE in training.c */
  uint32_t *y;      /* features after the pool, channels innermost, as the bits of floats */
  const float *y_gradient;
  float *partial; /* (images, 2, channels_out): sums of the gradient g of v, and of g (S - centre) */
  float *gradient; /* of the convolution's result, in the shape of sums */
  float *products;        /* (channels_out / 16, 9 channels_in, 16): working memory for the next */
  float *weight_gradient; /* like weight */
  float *points;          /* (36, channels_out, channels_in): turned weights, for the next */
  float *x_gradient;      /* like x */
  double unit;
} Training;

/* Vectors of WIDTH neighbouring channels. Sums over pixels or channels are computed for GROUP
   channels at a time. wide.c compiles the gradients again with vectors twice as wide, to the same
   bits as CLONES. */
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
