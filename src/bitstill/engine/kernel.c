/* The engine in C: popcounts on 32 output channels at a time.

   The memory layout is that of layout.py. Two inner steps exist three times, for AVX-512 with
   vector popcounts, for AVX2 and for any processor; bitstill_paths says which of them this
   processor can run. Everything else is common to them, and all give the same bits. */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define X86 1
#include <immintrin.h>
#endif

enum { PORTABLE = 1, AVX2 = 2, AVX512 = 4 };
enum { LANES = 32, IMAGE = 32 * 32 * 3, PADDED_ROW = 34 * 3, FEATURES = 128 };
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

/* Where the words of 4 neighbouring patches lie: `rows` runs of `run` words. */
typedef struct {
  const uint32_t *start;
  int pixel_step, row_step, rows, run;
} Patches;

/* The bits of 4 pixels and 32 channels: 4 pop(x & p1) + 2 pop(x & p0) - 3 pop(x) >= limit. */
typedef void Block(const Patches *patches, const uint32_t *w, const int32_t *limits,
                   const int32_t *counts, uint32_t *bits);
/* The bits of 16 channels from the largest sum of 2x2 pixels; `at` is the window's first byte. */
typedef uint32_t First(const uint8_t *at, const int8_t *w, const int32_t *limits);

static uint32_t block_bits(const int32_t *sums, const int32_t *limits, int32_t count) {
  uint32_t bits = 0;
  for (int c = 0; c < LANES; c++) bits |= (uint32_t)(2 * sums[c] - 3 * count >= limits[c]) << c;
  return bits;
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

static void block_portable(const Patches *patches, const uint32_t *w, const int32_t *limits,
                           const int32_t *counts, uint32_t *bits) {
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
    bits[pixel] = block_bits(sums, limits, counts[pixel]);
  }
}

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

/* ---- AVX2: popcounts by table, in bytes ---- */

#define TARGET_AVX2 __attribute__((target("avx2")))

TARGET_AVX2 static void block_avx2(const Patches *patches, const uint32_t *w,
                                   const int32_t *limits, const int32_t *counts, uint32_t *bits) {
  const __m256i once = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2,
                                        1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i twice = _mm256_add_epi8(once, once);
  const __m256i low = _mm256_set1_epi8(15);
  const __m256i bytes_one = _mm256_set1_epi8(1), shorts_one = _mm256_set1_epi16(1);
  for (int pixel = 0; pixel < 4; pixel++) {
    __m256i sums[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                       _mm256_setzero_si256()};
    const uint32_t *next = w;
    for (int row = 0; row < patches->rows; row++) {
      const uint32_t *x = patches->start + pixel * patches->pixel_step + row * patches->row_step;
      for (int i = 0; i < patches->run; i += 6) {
        int n = patches->run - i < 6 ? patches->run - i : 6;
        for (int part = 0; part < 4; part++) {
          __m256i bytes = _mm256_setzero_si256();
          for (int j = 0; j < n; j++) {
            __m256i word = _mm256_set1_epi32((int)x[i + j]);
            const __m256i *at = (const __m256i *)(next + 2 * LANES * j + 8 * part);
            __m256i high_plane = _mm256_and_si256(word, _mm256_loadu_si256(at));
            __m256i low_plane = _mm256_and_si256(word, _mm256_loadu_si256(at + 4));
            __m256i a = _mm256_shuffle_epi8(twice, _mm256_and_si256(high_plane, low));
            __m256i b = _mm256_shuffle_epi8(
                twice, _mm256_and_si256(_mm256_srli_epi32(high_plane, 4), low));
            __m256i c = _mm256_shuffle_epi8(once, _mm256_and_si256(low_plane, low));
            __m256i d = _mm256_shuffle_epi8(
                once, _mm256_and_si256(_mm256_srli_epi32(low_plane, 4), low));
            bytes = _mm256_add_epi8(
                bytes, _mm256_add_epi8(_mm256_add_epi8(a, b), _mm256_add_epi8(c, d)));
          }
          __m256i shorts = _mm256_maddubs_epi16(bytes, bytes_one);
          sums[part] = _mm256_add_epi32(sums[part], _mm256_madd_epi16(shorts, shorts_one));
        }
        next += 2 * LANES * n;
      }
    }
    int32_t totals[LANES];
    memcpy(totals, sums, sizeof totals);
    bits[pixel] = block_bits(totals, limits, counts[pixel]);
  }
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

/* ---- AVX-512: vector popcounts and byte products ---- */

#define TARGET_AVX512 \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx512vnni")))

TARGET_AVX512 static void block_avx512(const Patches *patches, const uint32_t *w,
                                       const int32_t *limits, const int32_t *counts,
                                       uint32_t *bits) {
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
    bits[pixel] = 0;
    for (int half = 0; half < 2; half++) {
      __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[pixel][half], 2),
                                     _mm512_slli_epi32(low[pixel][half], 1));
      __m512i limit = _mm512_add_epi32(_mm512_loadu_si512(limits + 16 * half),
                                       _mm512_set1_epi32(3 * counts[pixel]));
      bits[pixel] |= (uint32_t)_mm512_cmpge_epi32_mask(sum, limit) << (16 * half);
    }
  }
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
        Patches patches = {source + (y * (side + 2) + x) * depth, depth, (side + 2) * depth, 3,
                           3 * depth};
        if (packed) patches = (Patches){halves + (y * side + x) * 5, 5, 0, 1, 5};
        uint32_t bits[4];
        block(&patches, words, thresholds, counts + y * side + x, bits);
        for (int i = 0; i < 4; i++) {
          int to = (((y >> shift) + 1) * width + ((x + i) >> shift) + 1) * shape->blocks + b;
          target[to] |= bits[i];
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
int bitstill_version(void) { return 1; }

/* Which paths this processor can run. */
int bitstill_paths(void) {
  int paths = PORTABLE;
#ifdef X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) paths |= AVX2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq") &&
      __builtin_cpu_supports("avx512vnni"))
    paths |= AVX512;
#endif
  return paths;
}

/* Fill logits (count, classes) for images (count, 3072); 0, or 1 for a path that is not there.
   The scratch keeps every layer's bits of the last image; it may be NULL. */
int bitstill_run(int path, const Model *model, const uint8_t *images, int64_t count, int classes,
                 float *logits, uint32_t *scratch) {
  uint32_t own[SCRATCH];
  Block *block = block_portable;
  First *first = first_portable;
  if (!(bitstill_paths() & path)) return 1;
#ifdef X86
  if (path == AVX2) block = block_avx2, first = first_avx2;
  if (path == AVX512) block = block_avx512, first = first_avx512;
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
