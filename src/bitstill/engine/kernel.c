/* The engine in C: a student's layers on images, bits throughout.

   The memory layout is that of layout.py. What takes the time exists four times, for AMX (products of
   matrices), for AVX-512 (vector popcounts), for AVX2 (tables) and for any processor; bitstill_paths
   says which of them this processor can run. Everything else is common to them, and all give the same
   bits. */

#include "lookups.h"
#include "sums.h"
#include "tiles.h"

enum { IMAGE = 32 * 32 * 3, PADDED_ROW = 34 * 3, FEATURES = 128 };
/* Words of all layers' outputs, borders included. */
enum { LAST = 2 * 18 * 18 + 10 * 10 + 10 * 10 * 2 + 6 * 6 * 2 + 6 * 6 * 4, SCRATCH = LAST + 6 * 6 * 4 };

typedef struct {
  const int8_t *first;             /* 9 groups of 4 inputs, 16 channels, 4 codes */
  const int32_t *first_thresholds; /* 16 */
  const uint32_t *words;           /* a layer: block, word, plane, 32 channels */
  const void *prepared;            /* from bitstill_prepare: words as AMX or AVX2 reads them */
  const int32_t *thresholds;       /* 448 */
  const float *classifier;         /* 128, classes */
  const float *bias;               /* classes */
} Model;

/* For a row of 16 windows of 2x2 pixels, the bits of 16 channels from each one's largest sum; `at` is
   the first window's first byte. The bits are 0 before. */
typedef void First(const uint8_t *at, const int8_t *w, const int32_t *limits, uint32_t *bits);

static void first_portable(const uint8_t *at, const int8_t *w, const int32_t *limits, uint32_t *bits) {
  for (int window = 0; window < 16; window++, at += 6)
    for (int c = 0; c < 16; c++) {
      int32_t best = INT32_MIN;
      for (int corner = 0; corner < 4; corner++) {
        const uint8_t *x = at + corner / 2 * PADDED_ROW + corner % 2 * 3;
        int32_t sum = 0;
        for (int i = 0; i < 36; i++)
          sum += x[i / 12 * PADDED_ROW + i % 12] * w[i / 4 * 64 + 4 * c + i % 4];
        if (sum > best) best = sum;
      }
      bits[window] |= (uint32_t)(best >= limits[c]) << c;
    }
}

#ifdef X86

static int32_t four_bytes(const uint8_t *at) {
  int32_t value;
  memcpy(&value, at, 4);
  return value;
}

/* Pairs of products stay below 2 * 255 * 3, and nine of them below 2^15. */
TARGET_AVX2 static void first_avx2(const uint8_t *at, const int8_t *w, const int32_t *limits,
                                   uint32_t *bits) {
  for (int window = 0; window < 16; window++, at += 6)
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
      bits[window] |= (~mask & 0xffu) << (8 * half);
    }
}

/* Two windows at a time: a sum waits for its product before, and eight of them do so together. */
TARGET_AVX512 static void first_avx512(const uint8_t *at, const int8_t *w, const int32_t *limits,
                                       uint32_t *bits) {
  __m512i limit = _mm512_loadu_si512(limits), codes[9], sums[8];
  for (int i = 0; i < 9; i++) codes[i] = _mm512_loadu_si512(w + 64 * i);
  for (int window = 0; window < 16; window += 2, at += 12) {
    for (int j = 0; j < 8; j++) sums[j] = _mm512_setzero_si512();
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) {
        const uint8_t *x = at + (j / 4 + i / 3) * PADDED_ROW + j % 4 * 3 + i % 3 * 4;
        sums[j] = _mm512_dpbusd_epi32(sums[j], _mm512_set1_epi32(four_bytes(x)), codes[i]);
      }
    }
    for (int j = 0; j < 4; j += 2) {
      __m512i best = _mm512_max_epi32(_mm512_max_epi32(sums[j], sums[j + 1]),
                                      _mm512_max_epi32(sums[j + 4], sums[j + 5]));
      bits[window + j / 2] = _mm512_cmpge_epi32_mask(best, limit);
    }
  }
}

#endif

/* ---- common to all ---- */

typedef struct {
  int side, depth, blocks, pool; /* depth 0: 16 channels */
} Shape;

static const Shape SHAPES[6] = {{16, 0, 1, 0}, {16, 1, 1, 1}, {8, 1, 2, 0},
                                {8, 2, 2, 1},  {4, 2, 4, 0},  {4, 4, 4, 0}};

static int channels_in(const Shape *shape) { return shape->depth ? LANES * shape->depth : 16; }

/* Words of a layer's output, its border included. */
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

#ifdef X86

/* Limits as 16-bit numbers that a sum must exceed; no sum comes near 2^15. */
TARGET_AVX2 static inline __m256i exceeds(const Sums *sums, int32_t limit) {
  __m256i below = _mm256_set1_epi16((int16_t)(limit < -9999 ? -9999 : limit > 9999 ? 9999 : limit - 1));
  return _mm256_packs_epi16(_mm256_cmpgt_epi16(sums->part[0], below),
                            _mm256_cmpgt_epi16(sums->part[1], below));
}

/* The bits of 32 channels of 32 pixels, a word a pixel. */
TARGET_AVX2 static void look_up_words(const LookupPatches *patches, const uint16_t *offsets,
                                      const int32_t *limits, uint32_t *words) {
  __m256i bytes[4]; /* of 8 channels, a byte a pixel */
  for (int i = 0; i < 4; i++) {
    bytes[i] = _mm256_setzero_si256();
    for (int c = 8 * i; c < 8 * i + 8; c += 4, offsets += 4 * patches->count) {
      Sums sums[4];
      look_up(patches, offsets, sums);
      for (int j = 0; j < 4; j++) {
        __m256i bit = _mm256_set1_epi8((char)(1 << (c + j) % 8));
        bytes[i] = _mm256_or_si256(bytes[i], _mm256_and_si256(bit, exceeds(&sums[j], limits[c + j])));
      }
    }
  }
  for (int half = 0; half < 2; half++) { /* pixels 0-7 and 16-23, then the others */
    __m256i low = half ? _mm256_unpackhi_epi8(bytes[0], bytes[1]) : _mm256_unpacklo_epi8(bytes[0], bytes[1]);
    __m256i high = half ? _mm256_unpackhi_epi8(bytes[2], bytes[3]) : _mm256_unpacklo_epi8(bytes[2], bytes[3]);
    __m256i a = _mm256_unpacklo_epi16(low, high), b = _mm256_unpackhi_epi16(low, high);
    __m256i *to = (__m256i *)(words + 8 * half);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(a, b, 0x20));
    _mm256_storeu_si256(to + 2, _mm256_permute2x128_si256(a, b, 0x31));
  }
}

/* As convolve, for one or two images. */
static void convolve_pair(int images, const Shape *shape, uint32_t *const *sources,
                          uint32_t *const *targets, const uint16_t *offsets,
                          const int32_t *thresholds) {
  LookupInput input = {.side = shape->side, .channels = channels_in(shape)};
  LookupPatches patches;
  uint32_t words[PIXELS];
  int side = shape->side, pixels = side * side, shift = shape->pool, width = (side >> shift) + 2;
  for (int i = 0; i < PAIR; i++) take_image(&input, i, sources[i < images ? i : 0]);
  for (int first = 0; first < images * pixels; first += PIXELS) {
    take_patches(&input, first, &patches);
    for (int b = 0; b < shape->blocks; b++) {
      look_up_words(&patches, offsets + b * LANES * patches.count, thresholds + b * LANES, words);
      for (int i = 0; i < PIXELS && first + i < images * pixels; i++) {
        int place = (first + i) % pixels, y = place / side >> shift, x = place % side >> shift;
        targets[(first + i) / pixels][((y + 1) * width + x + 1) * shape->blocks + b] |= words[i];
      }
    }
  }
}

#endif

#ifdef TILES

/* As convolve, for one or two images, 32 pixels at a time: where a map has 16, those of both. */
TARGET_AMX static void convolve_tiles(int images, const Shape *shape, uint32_t *const *sources,
                                      uint32_t *const *targets, const int8_t *codes,
                                      const int32_t *thresholds) {
  uint8_t bytes[MOST_BYTES] __attribute__((aligned(64)));
  int32_t sums[2 * ROWS][LANES] __attribute__((aligned(64)));
  int side = shape->side, channels = channels_in(shape), tiles = row_tiles(channels);
  int both = side * side == ROWS, rows = (both ? ROWS : 2 * ROWS) / side, step = tiles * ROW;
  int next = both ? (side + 2) * side * step : ROWS * step, width = (side >> shape->pool) + 2;
  for (int image = 0; image < images; image += 1 + both) {
    spread_bits(sources[image], side, channels, bytes);
    if (both) spread_bits(sources[images - 1], side, channels, bytes + next);
    for (int b = 0; b < shape->blocks; b++)
      for (int y = 0; y < side; y += rows) {
        multiply_tiles(bytes + y * side * step, next, side, tiles, codes + b * 6 * tiles * TILE, sums);
        int to = (((y >> shape->pool) + 1) * width + 1) * shape->blocks + b;
        for (int i = 0; i < 1 + both; i++)
          keep_bits(sums + i * ROWS, thresholds + b * LANES, rows, side, shape->pool,
                    targets[i ? images - 1 : image] + to, shape->blocks);
      }
  }
}

#endif

static void convolve_image(First *first, const Model *model, const uint8_t *image,
                           uint32_t *target) {
  uint8_t padded[34 * PADDED_ROW + 4]; /* the last group of four bytes ends beyond the border */
  memset(padded, 0, sizeof padded);
  for (int y = 0; y < 32; y++) memcpy(padded + (y + 1) * PADDED_ROW + 3, image + y * 96, 96);
  for (int y = 0; y < 16; y++)
    first(padded + 2 * y * PADDED_ROW, model->first, model->first_thresholds, target + (y + 1) * 18 + 1);
}

/* sum(count * weight) / 16 + bias in double, feature by feature: the order is part of the result. */
static void classify(const Model *model, const uint32_t *bits, int classes, float *logits) {
  double counts[FEATURES];
  for (int i = 0; i < FEATURES / 4; i++) { /* every eighth of a word's features, a byte for each */
    uint32_t word = i / 8, shift = i % 8, bytes = 0;
    for (int y = 1; y < 5; y++)
      for (int x = 1; x < 5; x++) bytes += bits[(y * 6 + x) * 4 + word] >> shift & 0x01010101u;
    for (int j = 0; j < 4; j++) counts[word * LANES + 8 * j + shift] = bytes >> 8 * j & 255;
  }
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

/* A number for all of the sources, from compiler.py: kernel.py takes no library of others. */
#ifndef BITSTILL_VERSION
#define BITSTILL_VERSION 0
#endif
int bitstill_version(void) { return BITSTILL_VERSION; }

static int paths = PORTABLE;

__attribute__((constructor)) static void find_paths(void) {
  paths = processor_paths();
#ifdef TILES
  if (tiles_are_allowed()) paths |= AMX;
#endif
}

/* Which paths this processor can run. */
int bitstill_paths(void) { return paths; }

/* Words of a layer's weights. */
static int weight_words(const Shape *shape) {
  return shape->blocks * (shape->depth ? 9 * shape->depth : 5) * 2 * LANES;
}

/* Bytes of a layer's weights as a path reads them, beside the words: AVX2 has an offset for 4. */
static int prepared_bytes(int path, const Shape *shape) {
  int channels_out = shape->blocks * LANES;
#ifdef TILES
  if (path == AMX) return tile_bytes(channels_in(shape), channels_out);
#endif
  return path == AVX2 ? (int)sizeof(uint16_t) * channels_out * 9 * channels_in(shape) / 4 : 0;
}

/* Fill what a path reads of a model's weights, and return how many bytes those are; it may be NULL,
   and else begins at a multiple of 64. */
int bitstill_prepare(int path, const uint32_t *words, void *prepared) {
  int total = 0;
  for (int i = 0; i < 6; i++) {
    const Shape *shape = &SHAPES[i];
    void *at = prepared ? (char *)prepared + total : NULL;
    total += prepared_bytes(path, shape);
#ifdef X86
    if (at && path == AVX2) lookup_offsets(words, channels_in(shape), shape->blocks * LANES, at);
#endif
#ifdef TILES
    if (at && path == AMX) lay_out_tiles(words, channels_in(shape), shape->blocks * LANES, at);
#endif
    words += weight_words(shape);
  }
  return total;
}

/* Run the layers on one image, or on two where the path is AVX2 or AMX; each has its own scratch. */
static void run_layers(int path, const Model *model, const uint8_t *images, int count,
                       uint32_t (*scratches)[SCRATCH]) {
  First *first = first_portable;
#ifdef X86
  if (path == AVX2) first = first_avx2;
  if (path == AVX512 || path == AMX) first = first_avx512;
#endif
  const uint32_t *words = model->words;
  const char *prepared = model->prepared;
  const int32_t *thresholds = model->thresholds;
  uint32_t *sources[2], *targets[2];
  for (int i = 0; i < count; i++) {
    memset(scratches[i], 0, sizeof scratches[i]);
    sources[i] = scratches[i];
    targets[i] = scratches[i] + 18 * 18;
    convolve_image(first, model, images + i * IMAGE, sources[i]);
  }
  for (int layer = 0; layer < 6; layer++) {
    const Shape *shape = &SHAPES[layer];
#ifdef X86
    if (path == AVX2) convolve_pair(count, shape, sources, targets, (const void *)prepared, thresholds);
    else
#endif
#ifdef TILES
    if (path == AMX) convolve_tiles(count, shape, sources, targets, (const void *)prepared, thresholds);
    else
#endif
      convolve(block_of(path), shape, sources[0], targets[0], words, thresholds);
    words += weight_words(shape);
    prepared += prepared_bytes(path, shape);
    thresholds += shape->blocks * LANES;
    for (int i = 0; i < count; i++) {
      sources[i] = targets[i];
      targets[i] += output_words(shape);
    }
  }
}

/* Fill logits (count, classes) for images (count, 3072); 0, or 1 for a path that is not there.
   The scratch keeps every layer's bits of the last image; it may be NULL. */
int bitstill_run(int path, const Model *model, const uint8_t *images, int64_t count, int classes,
                 float *logits, uint32_t *scratch) {
  uint32_t scratches[2][SCRATCH];
  int together = path == AVX2 || path == AMX ? 2 : 1, here = 1;
  if (!(paths & path)) return 1;
#ifdef TILES
  if (path == AMX) begin_tiles();
#endif
  for (int64_t n = 0; n < count; n += together) {
    here = count - n < together ? (int)(count - n) : together;
    run_layers(path, model, images + n * IMAGE, here, scratches);
    for (int i = 0; i < here; i++)
      classify(model, scratches[i] + LAST, classes, logits + (n + i) * classes);
  }
#ifdef TILES
  if (path == AMX) end_tiles();
#endif
  if (scratch && count) memcpy(scratch, scratches[here - 1], sizeof scratches[0]);
  return 0;
}
