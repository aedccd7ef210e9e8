/* The engine in C: popcounts on 32 output channels at a time.

   The memory layout is that of layout.py. Two inner steps exist three times, for AVX-512 with
   vector popcounts, for AVX2 and for any processor; bitstill_paths says which of them this
   processor can run. Everything else is common to them, and all give the same bits. */

#include "sums.h"

enum { IMAGE = 32 * 32 * 3, PADDED_ROW = 34 * 3, FEATURES = 128 };
/* Words of all layers' outputs, borders included. */
enum { SCRATCH = 2 * 18 * 18 + 10 * 10 + 10 * 10 * 2 + 6 * 6 * 2 + 6 * 6 * 4 * 2 };

typedef struct {
  const int8_t *first;             /* 9 groups of 4 inputs, 16 channels, 4 codes */
  const int32_t *first_thresholds; /* 16 */
  const uint32_t *words;           /* a layer: block, word, plane, 32 channels */
  const int32_t *thresholds;       /* 448 */
  const float *classifier;         /* 128, classes */
  const float *bias;               /* classes */
} Model;

/* The bits of 16 channels from the largest sum of 2x2 pixels; `at` is the window's first byte. */
typedef uint32_t First(const uint8_t *at, const int8_t *w, const int32_t *limits);

static uint32_t first_portable(const uint8_t *at, const int8_t *w, const int32_t *limits) {
  uint32_t bits = 0;
  for (int c = 0; c < 16; c++) {
    int32_t best = INT32_MIN;
    for (int corner = 0; corner < 4; corner++) {
      const uint8_t *x = at + corner / 2 * PADDED_ROW + corner % 2 * 3;
      int32_t sum = 0;
      for (int i = 0; i < 36; i++)
        sum += x[i / 12 * PADDED_ROW + i % 12] * w[i / 4 * 64 + 4 * c + i % 4];
      if (sum > best) best = sum;
    }
    bits |= (uint32_t)(best >= limits[c]) << c;
  }
  return bits;
}

#ifdef X86

static int32_t four_bytes(const uint8_t *at) {
  int32_t value;
  memcpy(&value, at, 4);
  return value;
}

/* Pairs of products stay below 2 * 255 * 3, and nine of them below 2^15. */
TARGET_AVX2 static uint32_t first_avx2(const uint8_t *at, const int8_t *w, const int32_t *limits) {
  uint32_t bits = 0;
  for (int half = 0; half < 2; half++) {
    __m256i best = _mm256_set1_epi32(INT32_MIN);
    for (int corner = 0; corner < 4; corner++) {
      const uint8_t *x = at + corner / 2 * PADDED_ROW + corner % 2 * 3;
      __m256i sums = _mm256_setzero_si256();
      for (int i = 0; i < 9; i++) {
        __m256i codes = _mm256_loadu_si256((const __m256i *)(w + 64 * i + 32 * half));
        __m256i inputs = _mm256_set1_epi32(four_bytes(x + i / 3 * PADDED_ROW + i % 3 * 4));
        sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(inputs, codes));
      }
      best = _mm256_max_epi32(best, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
    }
    __m256i limit = _mm256_loadu_si256((const __m256i *)(limits + 8 * half));
    __m256i below = _mm256_cmpgt_epi32(limit, best);
    uint32_t mask = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below));
    bits |= (~mask & 0xffu) << (8 * half);
  }
  return bits;
}

TARGET_AVX512 static uint32_t first_avx512(const uint8_t *at, const int8_t *w,
                                           const int32_t *limits) {
  __m512i sums[4];
  for (int corner = 0; corner < 4; corner++) sums[corner] = _mm512_setzero_si512();
#pragma GCC unroll 9
  for (int i = 0; i < 9; i++) {
    __m512i codes = _mm512_loadu_si512(w + 64 * i);
#pragma GCC unroll 4
    for (int corner = 0; corner < 4; corner++) {
      const uint8_t *x = at + (corner / 2 + i / 3) * PADDED_ROW + corner % 2 * 3 + i % 3 * 4;
      sums[corner] = _mm512_dpbusd_epi32(sums[corner], _mm512_set1_epi32(four_bytes(x)), codes);
    }
  }
  __m512i best = _mm512_max_epi32(_mm512_max_epi32(sums[0], sums[1]),
                                  _mm512_max_epi32(sums[2], sums[3]));
  return (uint32_t)_mm512_cmpge_epi32_mask(best, _mm512_loadu_si512(limits));
}

#endif

/* ---- common to all ---- */

typedef struct {
  int side, depth, blocks, pool; /* depth 0: 16 channels */
} Shape;

static const Shape SHAPES[6] = {{16, 0, 1, 0}, {16, 1, 1, 1}, {8, 1, 2, 0},
                                {8, 2, 2, 1},  {4, 2, 4, 0},  {4, 4, 4, 0}};

/* The first word of the layer after `shape` in the scratch. */
static int output_words(const Shape *shape) {
  int side = shape->pool ? shape->side / 2 : shape->side;
  return (side + 2) * (side + 2) * shape->blocks;
}

static void convolve(Block *block, const Shape *shape, const uint32_t *source, uint32_t *target,
                     const uint32_t *words, const int32_t *thresholds) {
  uint32_t halves[256 * 5];
  int32_t counts[256];
  int side = shape->side, depth = shape->depth ? shape->depth : 1, packed = shape->depth == 0;
  int shift = shape->pool, width = (side >> shift) + 2, length = packed ? 5 : 9 * depth;
  count_patches(source, side, depth, counts);
  if (packed) gather_halves(source, side, halves);
  for (int b = 0; b < shape->blocks; b++, words += length * 2 * LANES, thresholds += LANES)
    for (int y = 0; y < side; y++)
      for (int x = 0; x < side; x += 4) {
        Patches patches = patches_at(source, packed ? halves : NULL, side, depth, y, x);
        Result result;
        result.limits = thresholds;
        block(&patches, words, counts + y * side + x, &result);
        for (int i = 0; i < 4; i++) {
          int to = (((y >> shift) + 1) * width + ((x + i) >> shift) + 1) * shape->blocks + b;
          target[to] |= result.bits[i];
        }
      }
}

static void convolve_image(First *first, const Model *model, const uint8_t *image,
                           uint32_t *target) {
  uint8_t padded[34 * PADDED_ROW + 4]; /* the last group of four bytes ends beyond the border */
  memset(padded, 0, sizeof padded);
  for (int y = 0; y < 32; y++) memcpy(padded + (y + 1) * PADDED_ROW + 3, image + y * 96, 96);
  for (int y = 0; y < 16; y++)
    for (int x = 0; x < 16; x++)
      target[(y + 1) * 18 + x + 1] = first(padded + 2 * y * PADDED_ROW + 6 * x, model->first,
                                           model->first_thresholds);
}

/* sum(count * weight) / 16 + bias in double, feature by feature: the order is part of the result. */
static void classify(const Model *model, const uint32_t *bits, int classes, float *logits) {
  double counts[FEATURES] = {0};
  for (int y = 1; y < 5; y++)
    for (int x = 1; x < 5; x++)
      for (int i = 0; i < FEATURES; i++)
        counts[i] += (bits[(y * 6 + x) * 4 + i / LANES] >> (i % LANES)) & 1;
  for (int start = 0; start < classes; start += 16) {
    int n = classes - start < 16 ? classes - start : 16;
    double totals[16] = {0};
    for (int i = 0; i < FEATURES; i++)
      for (int label = 0; label < n; label++)
        totals[label] += counts[i] * (double)model->classifier[i * classes + start + label];
    for (int label = 0; label < n; label++)
      logits[start + label] = (float)(totals[label] / 16 + (double)model->bias[start + label]);
  }
}

/* Raised with every change of the interface or of the memory layout, here and in kernel.py. */
int bitstill_version(void) { return 3; }

/* Which paths this processor can run. */
int bitstill_paths(void) { return processor_paths(); }

/* Fill logits (count, classes) for images (count, 3072); 0, or 1 for a path that is not there.
   The scratch keeps every layer's bits of the last image; it may be NULL. */
int bitstill_run(int path, const Model *model, const uint8_t *images, int64_t count, int classes,
                 float *logits, uint32_t *scratch) {
  uint32_t own[SCRATCH];
  Block *block = block_of(path);
  First *first = first_portable;
  if (!(processor_paths() & path)) return 1;
#ifdef X86
  if (path == AVX2) first = first_avx2;
  if (path == AVX512) first = first_avx512;
#endif
  if (!scratch) scratch = own;
  for (int64_t n = 0; n < count; n++) {
    const uint32_t *words = model->words;
    const int32_t *thresholds = model->thresholds;
    uint32_t *source = scratch, *target = scratch + 18 * 18;
    memset(scratch, 0, sizeof own);
    convolve_image(first, model, images + n * IMAGE, source);
    for (int i = 0; i < 6; i++) {
      const Shape *shape = &SHAPES[i];
      convolve(block, shape, source, target, words, thresholds);
      words += shape->blocks * (shape->depth ? 9 * shape->depth : 5) * 2 * LANES;
      thresholds += shape->blocks * LANES;
      source = target;
      target += output_words(shape);
    }
    classify(model, source, classes, logits + n * classes);
  }
  return 0;
}
