/* Exact sums of a convolution on bits: popcounts on 32 output channels at a time.

   The memory layout is that of layout.py. The inner step exists twice, for AVX-512 with vector
   popcounts and for any processor. Both give the same sums, as does lookups.h for AVX2. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "processor.h"

enum { LANES = 32 };

/* Where the words of 4 neighbouring patches lie: `rows` runs of `run` words. */
typedef struct {
  const uint32_t *start;
  int pixel_step, row_step, rows, run;
} Patches;

/* What 4 pixels and 32 channels get: the sums 4 pop(x & p1) + 2 pop(x & p0) - 3 pop(x), or, where
   there are limits, a bit for each sum that reaches its channel's. No sum is as large as 2^15. */
typedef struct {
  const int32_t *limits; /* 32, or NULL */
  uint32_t bits[4];
  int16_t *sums; /* of the first pixel; the next one's lie `step` further */
  int step;
} Result;

/* `counts` are the set bits of each patch, pop(x). */
typedef void Block(const Patches *patches, const uint32_t *w, const int32_t *counts,
                   Result *result);

/* Finish one pixel from 2 pop(x & p1) + pop(x & p0). */
static void finish(Result *result, int pixel, const int32_t *sums, int32_t count) {
  result->bits[pixel] = 0;
  for (int c = 0; c < LANES; c++) {
    int32_t sum = 2 * sums[c] - 3 * count;
    if (result->limits) result->bits[pixel] |= (uint32_t)(sum >= result->limits[c]) << c;
    else result->sums[pixel * result->step + c] = (int16_t)sum;
  }
}

/* ---- any processor ---- */

/* The set bits of each byte. */
static uint32_t byte_counts(uint32_t x) {
  x -= (x >> 1) & 0x55555555u;
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  return (x + (x >> 4)) & 0x0f0f0f0fu;
}

/* At most 6 words are added up in bytes: 6 * 3 * 8 < 256. */
static void add_words(const uint32_t *x, int n, const uint32_t *w, int32_t *sums) {
  uint32_t bytes[LANES] = {0};
  for (int i = 0; i < n; i++)
    for (int c = 0; c < LANES; c++)
      bytes[c] += 2 * byte_counts(x[i] & w[2 * LANES * i + c]) +
                  byte_counts(x[i] & w[2 * LANES * i + LANES + c]);
  for (int c = 0; c < LANES; c++) {
    uint32_t pairs = (bytes[c] & 0x00ff00ffu) + ((bytes[c] >> 8) & 0x00ff00ffu);
    sums[c] += (int32_t)((pairs & 0xffffu) + (pairs >> 16));
  }
}

static void block_portable(const Patches *patches, const uint32_t *w, const int32_t *counts,
                           Result *result) {
  for (int pixel = 0; pixel < 4; pixel++) {
    int32_t sums[LANES] = {0};
    const uint32_t *next = w;
    for (int row = 0; row < patches->rows; row++) {
      const uint32_t *x = patches->start + pixel * patches->pixel_step + row * patches->row_step;
      for (int i = 0; i < patches->run; i += 6) {
        int n = patches->run - i < 6 ? patches->run - i : 6;
        add_words(x + i, n, next, sums);
        next += 2 * LANES * n;
      }
    }
    finish(result, pixel, sums, counts[pixel]);
  }
}

/* ---- AVX-512: vector popcounts ---- */

#ifdef X86

TARGET_AVX512 static void block_avx512(const Patches *patches, const uint32_t *w,
                                       const int32_t *counts, Result *result) {
  __m512i high[4][2], low[4][2];
  for (int pixel = 0; pixel < 4; pixel++)
    for (int half = 0; half < 2; half++)
      high[pixel][half] = low[pixel][half] = _mm512_setzero_si512();
  const uint32_t *row = patches->start;
  for (int n = patches->rows; n > 0; n--, row += patches->row_step)
    for (int i = 0; i < patches->run; i++, w += 2 * LANES) {
      __m512i planes[4];
      for (int part = 0; part < 4; part++) planes[part] = _mm512_loadu_si512(w + 16 * part);
#pragma GCC unroll 4
      for (int pixel = 0; pixel < 4; pixel++) {
        __m512i x = _mm512_set1_epi32((int)row[pixel * patches->pixel_step + i]);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          __m512i a = _mm512_popcnt_epi32(_mm512_and_si512(x, planes[half]));
          __m512i b = _mm512_popcnt_epi32(_mm512_and_si512(x, planes[2 + half]));
          high[pixel][half] = _mm512_add_epi32(high[pixel][half], a);
          low[pixel][half] = _mm512_add_epi32(low[pixel][half], b);
        }
      }
    }
  for (int pixel = 0; pixel < 4; pixel++) {
    result->bits[pixel] = 0;
    for (int half = 0; half < 2; half++) {
      __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[pixel][half], 2),
                                     _mm512_slli_epi32(low[pixel][half], 1));
      sum = _mm512_sub_epi32(sum, _mm512_set1_epi32(3 * counts[pixel]));
      if (result->limits) {
        __m512i limit = _mm512_loadu_si512(result->limits + 16 * half);
        result->bits[pixel] |= (uint32_t)_mm512_cmpge_epi32_mask(sum, limit) << (16 * half);
      } else {
        int16_t *to = result->sums + pixel * result->step + 16 * half;
        _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16(sum));
      }
    }
  }
}

#endif

/* ---- common to all ---- */

/* The set bits of each pixel's 3x3 neighbourhood. */
static void count_patches(const uint32_t *source, int side, int depth, int32_t *counts) {
  int32_t pixels[18 * 18];
  int width = side + 2;
  for (int i = 0; i < width * width; i++) {
    uint32_t count = 0;
    for (int word = 0; word < depth; word++)
      count += (byte_counts(source[i * depth + word]) * 0x01010101u) >> 24;
    pixels[i] = (int32_t)count;
  }
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      const int32_t *p = pixels + y * width + x;
      int32_t sum = 0;
      for (int row = 0; row < 3; row++, p += width) sum += p[0] + p[1] + p[2];
      counts[y * side + x] = sum;
    }
}

/* Patches of 16 channels: two neighbours a word. */
static void gather_halves(const uint32_t *source, int side, uint32_t *patches) {
  int width = side + 2;
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++, patches += 5) {
      const uint32_t *a = source + y * width + x, *b = a + width, *c = b + width;
      patches[0] = a[0] | a[1] << 16;
      patches[1] = a[2] | b[0] << 16;
      patches[2] = b[1] | b[2] << 16;
      patches[3] = c[0] | c[1] << 16;
      patches[4] = c[2];
    }
}

static Block *block_of(int path) {
#ifdef X86
  if (path == AVX512) return block_avx512;
#endif
  return block_portable;
}

/* The patches of 4 pixels from (y, x) on; 16 channels come from `halves`, if that is not NULL. */
static Patches patches_at(const uint32_t *source, const uint32_t *halves, int side, int depth,
                          int y, int x) {
  if (halves) return (Patches){halves + (y * side + x) * 5, 5, 0, 1, 5};
  return (Patches){source + (y * (side + 2) + x) * depth, depth, (side + 2) * depth, 3, 3 * depth};
}
