/* Exact sums of a convolution on bits for AVX2, by table: 32 pixels at a time.

   A quad is 4 neighbouring bits of a patch. What it adds to an output channel depends on its bits and
   on the 4 weights: for each of the 256 fours of weights a table of 16 bytes lies ready, and one
   shuffle looks up 32 pixels' bits in it. With weights 0 to 3 no entry exceeds 12, so bytes hold the
   sum of PIECE quads; the sum with weights -3, -1, 1 and 3 is twice that, less 3 for each bit.

   Two images are convolved at a time: of 4 x 4 pixels, both fill one vector. */

#pragma once

#include "sums.h"

enum { PIXELS = 32, PIECE = 18, CODES = 256, ENTRIES = 16, PAIR = 2 };

#ifdef X86

/* Quads of a patch of 128 channels; bytes of an image's quads, borders included, at most. */
enum { MOST_QUADS = 9 * 128 / 4, QUAD_BYTES = 18 * 18 * 32 / 4 };

static uint8_t lookup_tables[CODES][ENTRIES] __attribute__((aligned(64)));

/* Plane 1 of 4 weights in the upper bits of a code, plane 0 in the lower. */
__attribute__((constructor)) static void fill_lookup_tables(void) {
  for (int code = 0; code < CODES; code++)
    for (int bits = 0; bits < ENTRIES; bits++) {
      int high = code >> 4 & bits, low = code & bits, sum = 0;
      for (int i = 0; i < 4; i++) sum += 2 * (high >> i & 1) + (low >> i & 1);
      lookup_tables[code][bits] = (uint8_t)sum;
    }
}

/* Where the tables of a layer's weights lie: for 4 output channels, for each quad, 4 offsets. */
static void lookup_offsets(const uint32_t *words, int channels_in, int channels_out, uint16_t *offsets) {
  int quads = 9 * channels_in / 4, length = (quads + 7) / 8;
  for (int c = 0; c < channels_out; c += 4)
    for (int quad = 0; quad < quads; quad++)
      for (int i = 0; i < 4; i++) {
        const uint32_t *at = words + ((c / LANES * length + quad / 8) * 2) * LANES + c % LANES + i;
        uint32_t high = at[0] >> quad % 8 * 4 & 15, low = at[LANES] >> quad % 8 * 4 & 15;
        *offsets++ = (uint16_t)((high << 4 | low) * ENTRIES);
      }
}

/* A layer's input: the quads of two images, or of one, whose pixels then count twice. */
typedef struct {
  int side, channels;
  uint8_t quads[PAIR][QUAD_BYTES]; /* of each: quad, padded row, padded pixel */
} LookupInput;

static void take_image(LookupInput *input, int which, const uint32_t *words) {
  int pixels = (input->side + 2) * (input->side + 2), depth = (input->channels + LANES - 1) / LANES;
  for (int quad = 0; quad < input->channels / 4; quad++)
    for (int i = 0; i < pixels; i++)
      input->quads[which][quad * pixels + i] =
          (uint8_t)(words[i * depth + quad / 8] >> quad % 8 * 4 & 15);
}

/* The patches of 32 pixels, quad by quad. */
typedef struct {
  int count;
  uint8_t quads[MOST_QUADS][PIXELS] __attribute__((aligned(32)));
  int16_t bits[PIXELS] __attribute__((aligned(32))); /* 3 for each bit, in the order of Sums */
} LookupPatches;

#define COPY_ROWS(SIDE)                                                                    \
  for (int row = 0; row < PIXELS / SIDE; row++) {                                          \
    int y = first / SIDE + row, which = y / SIDE;                                          \
    const uint8_t *from = input->quads[which] + at + y % SIDE * (SIDE + 2);                \
    memcpy(to + row * SIDE, from, SIDE);                                                   \
  }

/* 16-bit sums of 32 pixels as AVX2 unpacks them: of pixels 0-7 and 16-23, then of the others. */
typedef struct {
  __m256i part[2];
} Sums;

TARGET_AVX2 static inline Sums widen(Sums sums, __m256i bytes) {
  __m256i zero = _mm256_setzero_si256();
  sums.part[0] = _mm256_add_epi16(sums.part[0], _mm256_unpacklo_epi8(bytes, zero));
  sums.part[1] = _mm256_add_epi16(sums.part[1], _mm256_unpackhi_epi8(bytes, zero));
  return sums;
}

/* Lay out the patches of 32 pixels from the pixel `first` of the first image on. */
TARGET_AVX2 static void take_patches(const LookupInput *input, int first, LookupPatches *patches) {
  int side = input->side, channels = input->channels / 4, width = side + 2, quad = 0;
  for (int tap = 0; tap < 9; tap++)
    for (int c = 0; c < channels; c++, quad++) {
      int at = c * width * width + tap / 3 * width + tap % 3;
      uint8_t *to = patches->quads[quad];
      if (side == 16) COPY_ROWS(16)
      else if (side == 8) COPY_ROWS(8)
      else COPY_ROWS(4)
    }
  patches->count = quad;
  const __m256i counts = _mm256_setr_epi8(0, 3, 3, 6, 3, 6, 6, 9, 3, 6, 6, 9, 6, 9, 9, 12, 0, 3, 3, 6,
                                          3, 6, 6, 9, 3, 6, 6, 9, 6, 9, 9, 12);
  Sums sums = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
  for (int i = 0; i < quad; i += PIECE) {
    __m256i bytes = _mm256_setzero_si256();
    for (int j = 0; j < PIECE; j++) {
      __m256i bits = _mm256_load_si256((const __m256i *)patches->quads[i + j]);
      bytes = _mm256_add_epi8(bytes, _mm256_shuffle_epi8(counts, bits));
    }
    sums = widen(sums, bytes);
  }
  memcpy(patches->bits, &sums, sizeof sums);
}

/* The sums of 32 pixels for 4 output channels. */
TARGET_AVX2 static inline void look_up(const LookupPatches *patches, const uint16_t *offsets, Sums *to) {
  const char *tables = (const char *)lookup_tables;
  const __m256i zero = _mm256_setzero_si256();
  Sums sums[4] = {{{zero, zero}}, {{zero, zero}}, {{zero, zero}}, {{zero, zero}}};
  for (int quad = 0; quad < patches->count; quad += PIECE) {
    __m256i bytes[4] = {zero, zero, zero, zero};
    for (int i = quad; i < quad + PIECE; i++, offsets += 4) {
      __m256i bits = _mm256_load_si256((const __m256i *)patches->quads[i]);
#pragma GCC unroll 4
      for (int c = 0; c < 4; c++) {
        __m128i table = _mm_load_si128((const __m128i *)(tables + offsets[c]));
        __m256i found = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), bits);
        bytes[c] = _mm256_add_epi8(bytes[c], found);
      }
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) sums[c] = widen(sums[c], bytes[c]);
  }
  const __m256i *bits = (const __m256i *)patches->bits;
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++)
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
      to[c].part[i] = _mm256_sub_epi16(_mm256_slli_epi16(sums[c].part[i], 1), bits[i]);
}

#endif
