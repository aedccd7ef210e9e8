/* A block's training step: exact sums, batch norm, one bit, pool; and their gradients.

   Weights have 2 bits and features one, so a convolution is an integer sum S, in multiples of
   `unit`. Batch norm, the affine (|gain| + 1) n + offset and the multiplier in front of the clip
   combine to v = slope S + intercept; the feature is v >= 1/2, and its gradient passes where v is
   from 0 to 1. Images are independent except for the sums over all of them, so every long pass
   takes a range of images, and may run in several threads. Channels lie innermost everywhere and
   fill the vector lanes, so that no order of additions depends on the processor. */

#include <math.h>

#include "sums.h"
#include "training.h"

/* Compiles a pass for each size of window, so that its inner loop has no branch. */
#define EITHER_WINDOW(pass)             \
  for (int64_t n = from; n < to; n++) { \
    if (b->pool) pass(b, n, 2);         \
    else pass(b, n, 1);                 \
  }

/* The most words that an image's features take, including the border. */
enum { WORDS = 18 * 18 };
enum { FLOAT_ONE = 0x3f800000 };

enum { SLOPE, INTERCEPT, CENTRE, DIRECT, LINEAR, CONSTANT };

static float *row_of(const Training *b, int row) { return b->table + row * b->channels_out; }

/* ---- weights ---- */

/* The largest absolute value of the weights; infinite or NaN if one of them is. */
CLONES float bitstill_largest(const float *weight, int64_t count) {
  union { uint32_t bits; float value; } largest = {0};
  for (int64_t i = 0; i < count; i++) {
    union { float value; uint32_t bits; } size = {weight[i]};
    size.bits &= 0x7fffffffu; /* absolute values are ordered like their bits */
    largest.bits = size.bits > largest.bits ? size.bits : largest.bits;
  }
  return largest.value;
}

/* Fill the codes of weights, which are -3, -1, 1 or 3 times `unit`. */
CLONES void bitstill_codes(const float *weight, int64_t count, float unit, int8_t *codes) {
  for (int64_t i = 0; i < count; i++)
    codes[i] = (int8_t)(2 * ((weight[i] > -2 * unit) + (weight[i] > 0) + (weight[i] > 2 * unit)) - 3);
}

/* Lay out codes for the image, four inputs of a channel together; 3 of a row's 12 are padding. */
static void lay_out_codes(const Training *b) {
  int8_t *to = b->weights;
  for (int c = 0; c < b->channels_out; c++)
    for (int i = 0; i < 36; i++)
      to[i / 4 * 64 + 4 * c + i % 4] = i % 12 < 9 ? b->codes[c * 27 + i / 12 * 9 + i % 12] : 0;
}

/* Lay out the weights; return 1 if they are not finite. */
int bitstill_block_prepare(Training *b) {
  int64_t count = (int64_t)b->channels_out * 9 * b->channels_in;
  float largest = bitstill_largest(b->weight, count);
  if (!isfinite(largest)) return 1;
  b->unit = (double)largest / 3 / (b->channels_in == COLOURS ? 255 : 1);
  bitstill_codes(b->weight, count, largest / 3, b->codes);
  if (b->channels_in == COLOURS) lay_out_codes(b);
  else bitstill_path(b->path)->fill_tables(b->codes, b->channels_in, b->channels_out, b->weights);
  return 0;
}

/* ---- sums ---- */

INLINE uint32_t pack_word(const uint32_t *x, int count, uint32_t *wrong) {
  uint32_t word = 0, other = 0;
  for (int i = 0; i < count; i++) {
    uint32_t bit = x[i] >> 23 & 1;
    other |= x[i] ^ (bit ? FLOAT_ONE : 0);
    word |= bit << i;
  }
  *wrong |= other;
  return word;
}

/* Write an image's features as bits with a border of zeros; return nonzero if any is not 0 or 1. */
CLONES uint32_t bitstill_pack_bits(const uint32_t *x, int side, int channels, uint32_t *words) {
  uint32_t wrong = 0;
  int depth = channels < LANES ? 1 : channels / LANES, width = side + 2;
  memset(words, 0, (size_t)(width * width * depth) * sizeof *words);
  for (int y = 0; y < side; y++)
    for (int i = 0; i < side * depth; i++) {
      uint32_t *to = words + ((y + 1) * width + 1) * depth + i;
      const uint32_t *row = x + y * side * channels;
      if (channels < LANES) *to = pack_word(row + i * 16, 16, &wrong);
      else *to = pack_word(row + i * LANES, LANES, &wrong);
    }
  return wrong;
}

/* Write an image as levels 0 to 255 with a border of zeros; nonzero if a value is no level. */
CLONES uint32_t bitstill_pack_image(const float *x, int side, uint8_t *levels) {
  uint32_t wrong = 0;
  memset(levels, 0, IMAGE_LEVELS);
  for (int y = 0; y < side; y++)
    for (int i = 0; i < side * COLOURS; i++) {
      float value = x[y * side * COLOURS + i];
      int32_t level = value >= 0 && value <= 1 ? (int32_t)(value * 255 + 0.5f) : 0;
      wrong |= (uint32_t) !((float)level / 255 == value);
      levels[(y + 1) * IMAGE_ROW + COLOURS + i] = (uint8_t)level;
    }
  return wrong;
}

#ifdef X86

/* The same two functions with AVX-512. */
TARGET_AVX512 static uint32_t pack_bits_avx512(const uint32_t *x, int side, int channels, uint32_t *words) {
  __m512i one = _mm512_set1_epi32(FLOAT_ONE), wrong = _mm512_setzero_si512();
  int depth = channels < LANES ? 1 : channels / LANES, width = side + 2, halves = channels < LANES ? 1 : 2;
  memset(words, 0, (size_t)(width * width * depth) * sizeof *words);
  for (int y = 0; y < side; y++)
    for (int i = 0; i < side * depth; i++) {
      uint32_t word = 0;
      for (int half = 0; half < halves; half++, x += 16) {
        __m512i v = _mm512_loadu_si512(x);
        __mmask16 set = _mm512_cmpeq_epi32_mask(v, one);
        wrong = _mm512_mask_or_epi32(wrong, (__mmask16)~set, wrong, v);
        word |= (uint32_t)set << 16 * half;
      }
      words[((y + 1) * width + 1) * depth + i] = word;
    }
  return _mm512_test_epi32_mask(wrong, wrong);
}

TARGET_AVX512 static uint32_t pack_image_avx512(const float *x, int side, uint8_t *levels) {
  __m512 full = _mm512_set1_ps(255), half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1), zero = _mm512_setzero_ps();
  __mmask16 wrong = 0;
  memset(levels, 0, IMAGE_LEVELS);
  for (int y = 0; y < side; y++)
    for (int i = 0; i < side * COLOURS; i += 16) {
      __m512 v = _mm512_loadu_ps(x + y * side * COLOURS + i);
      __mmask16 inside = _mm512_cmp_ps_mask(v, zero, _CMP_GE_OQ) & _mm512_cmp_ps_mask(v, one, _CMP_LE_OQ);
      __m512i level = _mm512_maskz_cvttps_epi32(inside, _mm512_add_ps(_mm512_mul_ps(v, full), half));
      wrong |= _mm512_cmp_ps_mask(_mm512_div_ps(_mm512_cvtepi32_ps(level), full), v, _CMP_NEQ_UQ);
      _mm_storeu_si128((__m128i *)(levels + (y + 1) * IMAGE_ROW + COLOURS + i), _mm512_cvtepi32_epi8(level));
    }
  return wrong;
}

/* Two pixels per product; the sum of the squares of `few` pixels stays below 2^32. */
TARGET_AVX512 static void moments_avx512(const int16_t *sums, int pixels, int channels, int few, int64_t *moments) {
  for (int c = 0; c < channels; c += 16) {
    __m512i total = _mm512_setzero_si512(), low = total, high = total, ones = _mm512_set1_epi16(1);
    for (int start = 0; start < pixels; start += few) {
      __m512i part = _mm512_setzero_si512();
      const int16_t *s = sums + start * channels + c;
      for (int i = 0; i < few; i += 2, s += 2 * channels) {
        __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)s));
        __m512i b = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(s + channels)));
        __m512i pairs = _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
        total = _mm512_add_epi32(total, _mm512_madd_epi16(pairs, ones));
        part = _mm512_add_epi32(part, _mm512_madd_epi16(pairs, pairs));
      }
      low = _mm512_add_epi64(low, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(part)));
      high = _mm512_add_epi64(high, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(part, 1)));
    }
    _mm512_storeu_si512(moments + c, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(total)));
    _mm512_storeu_si512(moments + c + 8, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(total, 1)));
    _mm512_storeu_si512(moments + channels + c, low);
    _mm512_storeu_si512(moments + channels + c + 8, high);
  }
}

#endif

CLONES void bitstill_moments(const int16_t *sums, int pixels, int channels, int64_t *moments) {
  int32_t total[CHANNELS] = {0};
  int64_t squares[CHANNELS] = {0};
  for (int i = 0; i < pixels; i++, sums += channels)
    for (int c = 0; c < channels; c++) {
      int32_t sum = sums[c];
      total[c] += sum;
      squares[c] += sum * sum;
    }
  for (int c = 0; c < channels; c++) {
    moments[c] = total[c];
    moments[channels + c] = squares[c];
  }
}

/* Compute the first block's sums from an image; return nonzero if its values are not levels. */
static uint32_t image_sums(const Training *b, const float *x, int16_t *sums) {
  uint8_t levels[IMAGE_LEVELS];
  uint32_t wrong;
#ifdef X86
  if (b->path == AVX512) wrong = pack_image_avx512(x, b->side, levels);
  else
#endif
    wrong = bitstill_pack_image(x, b->side, levels);
  if (!wrong) bitstill_path(b->path)->image_sums(levels, b->weights, sums);
  return wrong;
}

/* Compute another block's sums from features; return nonzero if they are not 0 or 1. */
static uint32_t bit_sums(const Training *b, const uint32_t *x, int16_t *sums) {
  uint32_t words[WORDS], wrong;
#ifdef X86
  if (b->path == AVX512) wrong = pack_bits_avx512(x, b->side, b->channels_in, words);
  else
#endif
    wrong = bitstill_pack_bits(x, b->side, b->channels_in, words);
  if (!wrong) bitstill_path(b->path)->bit_sums(words, b->weights, b->side, b->channels_in, b->channels_out, sums);
  return wrong;
}

/* Convolve some images; return 1 if their values are not levels, or their features not bits. */
int bitstill_block_sums(const Training *b, int64_t from, int64_t to) {
  int pixels = b->side * b->side, channels = b->channels_out;
  for (int64_t n = from; n < to; n++) {
    const uint32_t *x = b->x + n * pixels * b->channels_in;
    int16_t *sums = b->sums + n * pixels * channels;
    int64_t *moments = b->moments + n * 2 * channels;
    if (b->channels_in == COLOURS ? image_sums(b, (const float *)x, sums) : bit_sums(b, x, sums)) return 1;
#ifdef X86
    if (b->path == AVX512) {
      moments_avx512(sums, pixels, channels, b->channels_in == COLOURS ? 8 : pixels, moments);
      continue;
    }
#endif
    bitstill_moments(sums, pixels, channels, moments);
  }
  return 0;
}

/* ---- batch norm ---- */

static double pixels_of(const Training *b) { return (double)b->images * b->side * b->side; }

/* The affine and the multiplier, combined into batch norm's own scale and shift. */
static float scale_of(const Training *b, int c) { return b->multiplier * (fabsf(b->gain[c]) + 1); }
static float shift_of(const Training *b, int c) { return b->multiplier * b->offset[c]; }

/* Compute statistics, slope and intercept from the moments. If any is not finite, return 1 and
   leave the running statistics unchanged. */
int bitstill_block_normalize(Training *b) {
  int channels = b->channels_out;
  double count = pixels_of(b), unit = b->unit;
  double *mean = b->state, *inverse = b->state + channels, variance[CHANNELS];
  for (int c = 0; c < channels; c++) {
    int64_t total = 0, squares = 0;
    for (int64_t n = 0; n < b->images; n++) {
      total += b->moments[2 * n * channels + c];
      squares += b->moments[(2 * n + 1) * channels + c];
    }
    mean[c] = (double)total / count;
    double spread = (double)squares / count - mean[c] * mean[c];
    variance[c] = unit * unit * (spread > 0 ? spread : 0);
    inverse[c] = 1 / sqrt(variance[c] + b->epsilon);
    double direct = scale_of(b, c) * inverse[c], slope = direct * unit;
    row_of(b, SLOPE)[c] = (float)slope;
    row_of(b, INTERCEPT)[c] = (float)(shift_of(b, c) - slope * mean[c]);
    row_of(b, CENTRE)[c] = (float)rint(mean[c]);
    row_of(b, DIRECT)[c] = (float)direct;
    if (!isfinite(row_of(b, SLOPE)[c]) || !isfinite(row_of(b, INTERCEPT)[c]) ||
        !isfinite(b->bias[c]))
      return 1;
  }
  for (int c = 0; c < channels; c++) {
    double batch_mean = unit * mean[c] + b->bias[c], m = b->momentum;
    double unbiased = variance[c] * (count / (count - 1));
    b->running_mean[c] = (float)((1 - m) * b->running_mean[c] + m * batch_mean);
    b->running_variance[c] = (float)((1 - m) * b->running_variance[c] + m * unbiased);
  }
  return 0;
}

/* ---- features ---- */

/* Compute an image's features, each from the largest sum of a window, since no slope is below 0. */
INLINE void activate(const Training *b, int64_t n, int window) {
  int channels = b->channels_out, side = b->side, step = side * channels;
  int64_t at = n * (side / window) * (side / window) * channels;
  const float *restrict slope = row_of(b, SLOPE), *restrict intercept = row_of(b, INTERCEPT);
  const int16_t *image = b->sums + n * side * step;
  for (int y = 0; y < side; y += window)
    for (int x = 0; x < side; x += window, at += channels) {
      const int16_t *restrict s = image + y * step + x * channels;
      uint32_t *restrict to = b->y + at;
      for (int c = 0; c < channels; c++) {
        int16_t largest = s[c];
        if (window == 2) {
          int16_t right = s[channels + c], below = s[step + c], last = s[step + channels + c];
          largest = right > largest ? right : largest;
          below = last > below ? last : below;
          largest = below > largest ? below : largest;
        }
        to[c] = slope[c] * largest + intercept[c] >= 0.5f ? FLOAT_ONE : 0;
      }
    }
}

CLONES void bitstill_block_activate(const Training *b, int64_t from, int64_t to) {
  EITHER_WINDOW(activate)
}

/* ---- gradients ---- */

/* The pool passes its gradient to the first 1 in a window or, if all are 0, to the first pixel. */

INLINE void collect(const Training *b, int64_t n, int window) {
  int channels = b->channels_out, side = b->side, step = side * channels;
  int64_t at = n * (side / window) * (side / window) * channels;
  const int16_t *image = b->sums + n * side * step;
  const float *restrict slope = row_of(b, SLOPE), *restrict intercept = row_of(b, INTERCEPT);
  const float *restrict centre = row_of(b, CENTRE);
  float total[CHANNELS] = {0}, weighted[CHANNELS] = {0};
  for (int y = 0; y < side; y += window)
    for (int x = 0; x < side; x += window, at += channels) {
      const int16_t *restrict s = image + y * step + x * channels;
      for (int c = 0; c < channels; c++) {
        float g = b->y_gradient[at + c], k = slope[c], d = intercept[c];
        float sum = s[c];
        if (window == 2) {
          float s1 = s[channels + c], s2 = s[step + c], s3 = s[step + channels + c];
          float taken = k * s3 + d >= 0.5f ? s3 : sum;
          taken = k * s2 + d >= 0.5f ? s2 : taken;
          taken = k * s1 + d >= 0.5f ? s1 : taken;
          sum = k * sum + d >= 0.5f ? sum : taken;
        }
        float v = k * sum + d;
        g = v < 0 ? 0 : g;
        g = v > 1 ? 0 : g;
        total[c] += g;
        weighted[c] += g * (sum - centre[c]);
      }
    }
  memcpy(b->partial + 2 * n * channels, total, (size_t)channels * sizeof *total);
  memcpy(b->partial + (2 * n + 1) * channels, weighted, (size_t)channels * sizeof *weighted);
}

/* Sum the gradient of v over the pixels of each of some images. */
CLONES void bitstill_block_collect(const Training *b, int64_t from, int64_t to) {
  EITHER_WINDOW(collect)
}

/* Fill the gradients of gain and offset, and the numbers that batch norm's gradient needs. */
void bitstill_block_reduce(const Training *b, float *of_gain, float *of_offset) {
  int channels = b->channels_out;
  double count = pixels_of(b);
  for (int c = 0; c < channels; c++) {
    double total = 0, weighted = 0, mean = b->state[c], inverse = b->state[channels + c];
    double offset = mean - row_of(b, CENTRE)[c], direct = scale_of(b, c) * inverse;
    for (int64_t n = 0; n < b->images; n++) {
      total += b->partial[2 * n * channels + c];
      weighted += b->partial[(2 * n + 1) * channels + c];
    }
    double normal = b->unit * inverse * (weighted - offset * total);
    double linear = -direct * b->unit * inverse * normal / count;
    int sign = (b->gain[c] > 0) - (b->gain[c] < 0);
    of_gain[c] = b->multiplier * (float)normal * (float)sign;
    of_offset[c] = b->multiplier * (float)total;
    row_of(b, LINEAR)[c] = (float)linear;
    row_of(b, CONSTANT)[c] = (float)(-direct * total / count - linear * offset);
  }
}

INLINE void spread(const Training *b, int64_t n, int window) {
  int channels = b->channels_out, side = b->side, step = side * channels;
  int64_t at = n * (side / window) * (side / window) * channels, start = n * side * step;
  const float *restrict slope = row_of(b, SLOPE), *restrict intercept = row_of(b, INTERCEPT);
  const float *restrict centre = row_of(b, CENTRE), *restrict direct = row_of(b, DIRECT);
  const float *restrict linear = row_of(b, LINEAR), *restrict constant = row_of(b, CONSTANT);
  for (int y = 0; y < side; y += window)
    for (int x = 0; x < side; x += window, at += channels) {
      int64_t place = start + y * step + x * channels;
      const int16_t *restrict s = b->sums + place;
#pragma GCC ivdep
      for (int c = 0; c < channels; c++) {
        float g = direct[c] * b->y_gradient[at + c], k = slope[c], d = intercept[c];
        float s0 = s[c], v0 = k * s0 + d;
        float g0 = v0 < 0 ? 0 : g;
        g0 = v0 > 1 ? 0 : g0;
        if (window == 2) {
          float s1 = s[channels + c], s2 = s[step + c], s3 = s[step + channels + c];
          float v1 = k * s1 + d, v2 = k * s2 + d, v3 = k * s3 + d;
          /* What is left for the next pixel: nothing, once a pixel was 1. */
          float left = v0 >= 0.5f ? 0 : g;
          float g1 = v1 >= 0.5f ? left : 0;
          left = v1 >= 0.5f ? 0 : left;
          float g2 = v2 >= 0.5f ? left : 0;
          left = v2 >= 0.5f ? 0 : left;
          float g3 = v3 >= 0.5f ? left : 0;
          left = v3 >= 0.5f ? 0 : left;
          float first = v0 < 0 ? 0 : left; /* if all are 0 */
          g0 = v0 >= 0.5f ? g0 : first;
          g1 = v1 > 1 ? 0 : g1;
          g2 = v2 > 1 ? 0 : g2;
          g3 = v3 > 1 ? 0 : g3;
          float l = linear[c], m = centre[c], t = constant[c];
          b->gradient[place + channels + c] = l * (s1 - m) + t + g1;
          b->gradient[place + step + c] = l * (s2 - m) + t + g2;
          b->gradient[place + step + channels + c] = l * (s3 - m) + t + g3;
        }
        b->gradient[place + c] = linear[c] * (s0 - centre[c]) + constant[c] + g0;
      }
    }
}

/* Fill the gradient of the convolution's result, for some images. */
CLONES void bitstill_block_gradient(const Training *b, int64_t from, int64_t to) {
  EITHER_WINDOW(spread)
}
