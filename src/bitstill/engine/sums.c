/* The paths of sums.h: vectors.h for each width, and a convolution of the image for each path. */

#include "sums.h"

#define PATH(name) \
  static const Path path_##name = {image_sums_##name, fill_tables_##name, bit_sums_##name, keep_bits_##name}

/* Which of 16 channels' sums, or largest sums of four pixels, reach their limits. It is not
   inlined, as GCC vectorizes the loop only when it stands alone; within another loop, GCC unrolls
   it 16 times. */
__attribute__((noinline)) static uint32_t reached_portable(const int16_t *sums, int right, int below,
                                                           const int16_t *limits) {
  static const uint16_t bits[16] = {1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                                    1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
  uint16_t found = 0;
  for (int i = 0; i < 16; i++) {
    int16_t a = sums[i], b = sums[right + i], c = sums[below + i], d = sums[below + right + i];
    a = b > a ? b : a;
    c = d > c ? d : c;
    found |= (c > a ? c : a) >= limits[i] ? bits[i] : 0;
  }
  return found;
}

#define BYTES 16
#define TARGET
#define NAME(name) name##_portable
#include "vectors.h"
#undef BYTES
#undef TARGET
#undef NAME

/* Takes 4 pixels at a time. */
static void image_sums_portable(const uint8_t *levels, const int8_t *codes, int16_t *sums) {
  typedef int16_t Lanes __attribute__((vector_size(16)));
  Lanes weights[27][2];
  for (int i = 0; i < 27; i++)
    for (int c = 0; c < 16; c++) {
      int input = i / 9 * 12 + i % 9;
      weights[i][c / 8][c % 8] = codes[input / 4 * 64 + 4 * c + input % 4];
    }
  for (int y = 0; y < 32; y++)
    for (int x = 0; x < 32; x += 4, sums += 4 * 16) {
      const uint8_t *at = levels + y * IMAGE_ROW + x * COLOURS;
      Lanes totals[8] = {{0}};
#pragma GCC unroll 27
      for (int i = 0; i < 27; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
          totals[j] += at[i / 9 * IMAGE_ROW + i % 9 + j / 2 * COLOURS] * weights[i][j % 2];
      memcpy(sums, totals, sizeof totals);
    }
}
PATH(portable);

#ifdef X86

TARGET_AVX2 INLINE __m256i largest(const int16_t *sums, int right, int below) {
  __m256i a = _mm256_loadu_si256((const __m256i *)sums);
  a = _mm256_max_epi16(a, _mm256_loadu_si256((const __m256i *)(sums + right)));
  a = _mm256_max_epi16(a, _mm256_loadu_si256((const __m256i *)(sums + below)));
  return _mm256_max_epi16(a, _mm256_loadu_si256((const __m256i *)(sums + below + right)));
}

TARGET_AVX2 INLINE uint32_t reached_avx2(const int16_t *sums, int right, int below, const int16_t *limits) {
  __m256i limit = _mm256_loadu_si256((const __m256i *)limits);
  __m256i missed = _mm256_cmpgt_epi16(limit, largest(sums, right, below));
  uint32_t bytes = ~(uint32_t)_mm256_movemask_epi8(_mm256_packs_epi16(missed, missed));
  return (bytes & 0xff) | (bytes >> 8 & 0xff00);
}

#define BYTES 32
#define TARGET TARGET_AVX2
#define NAME(name) name##_avx2
#include "vectors.h"
#undef BYTES
#undef TARGET
#undef NAME

/* 16 bits suffice: a pair of products is at most 2 * 255 * 3, and the sum of nine is below 2^15. */
TARGET_AVX2 static void image_sums_avx2(const uint8_t *levels, const int8_t *codes, int16_t *sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (int y = 0; y < 32; y++)
    for (int x = 0; x < 32; x++, sums += 16) {
      __m256i totals[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 9
      for (int i = 0; i < 9; i++) {
        int32_t four;
        memcpy(&four, levels + (y + i / 3) * IMAGE_ROW + x * COLOURS + i % 3 * 4, 4);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
          __m256i weights = _mm256_loadu_si256((const __m256i *)(codes + 64 * i + 32 * half));
          __m256i products = _mm256_maddubs_epi16(_mm256_set1_epi32(four), weights);
          totals[half] = _mm256_add_epi16(totals[half], products);
        }
      }
      __m256i both = _mm256_packs_epi32(_mm256_madd_epi16(totals[0], ones), _mm256_madd_epi16(totals[1], ones));
      _mm256_storeu_si256((__m256i *)sums, _mm256_permute4x64_epi64(both, 0xd8));
    }
}
PATH(avx2);

TARGET_AVX512 INLINE uint32_t reached_avx512(const int16_t *sums, int right, int below, const int16_t *limits) {
  return _mm256_cmpge_epi16_mask(largest(sums, right, below), _mm256_loadu_si256((const __m256i *)limits));
}

#define BYTES 64
#define TARGET TARGET_AVX512
#define NAME(name) name##_avx512
#include "vectors.h"

/* 4 pixels of two rows at a time, as each sum waits for its previous product, and both rows share
   inputs. */
TARGET_AVX512 static void image_sums_avx512(const uint8_t *levels, const int8_t *codes, int16_t *sums) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  __m512i weights[9], totals[8];
  for (int i = 0; i < 9; i++) weights[i] = _mm512_loadu_si512(codes + 64 * i);
  for (int y = 0; y < 32; y += 2, sums += 32 * 16)
    for (int x = 0; x < 32; x += 4, sums += 4 * 16) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) totals[j] = _mm512_setzero_si512();
#pragma GCC unroll 9
      for (int i = 0; i < 9; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
          int32_t four;
          memcpy(&four, levels + (y + j / 4 + i / 3) * IMAGE_ROW + (x + j % 4) * COLOURS + i % 3 * 4, 4);
          totals[j] = _mm512_dpbusd_epi32(totals[j], _mm512_set1_epi32(four), weights[i]);
        }
#pragma GCC unroll 4
      for (int j = 0; j < 8; j += 2) {
        __m512i fours = _mm512_packs_epi32(totals[j], totals[j + 1]); /* the two pixels alternate */
        _mm512_storeu_si512(sums + (j / 4 * 32 + j % 4) * 16, _mm512_permutexvar_epi64(order, fours));
      }
    }
}
PATH(avx512);

#endif

const Path *bitstill_path(int path) {
#ifdef X86
  if (path >= AVX512) return &path_avx512; /* AMX uses it too, for the image */
  if (path == AVX2) return &path_avx2;
#endif
  (void)path;
  return &path_portable;
}
