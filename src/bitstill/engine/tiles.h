/* Exact sums of a convolution on bits by AMX, as products of byte matrices: 16 pixels, 16 channels.

   A feature is a byte, 0 or 1, and a weight is its code, -3, -1, 1 or 3. The processor adds
   products of unsigned and signed bytes, which gives the sum itself. Each of the three rows of a
   patch lies in memory in the order of layout.py, with a byte for each bit, extended to whole
   tiles. */

#pragma once

#include "sums.h"

#if defined(X86) && defined(__linux__) && defined(__has_include) && !defined(BITSTILL_WITHOUT_AMX)
#if __has_include(<amxint8intrin.h>) || __has_include(<amxintrin.h>) /* GCC's and clang's */
#define TILES 1
#endif
#endif

#ifdef TILES

#include <cpuid.h>
#include <sys/syscall.h>

#define TARGET_AMX __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vnni")))

enum { ROWS = 16, ROW = 64, TILE = ROWS * ROW, MOST_BYTES = 18 * 16 * 2 * ROW };

long syscall(long number, ...);

/* Linux lets a process use tiles only after it has asked, as their state takes 8 KiB per thread. */
static int tiles_are_allowed(void) {
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILE_BIT = 1 << 24, INT8_BIT = 1 << 25 };
  unsigned a, b, c, d;
  if (!(processor_paths() & AVX512) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return (d & TILE_BIT) && (d & INT8_BIT) && !syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
}

/* Make GCC write its data to memory: it does not know that tiles are loaded from there. */
static inline void written(const void *at) { __asm__ volatile("" : : "r"(at) : "memory"); }

/* Configure all eight tiles at their full size. */
TARGET_AMX static void begin_tiles(void) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  for (int i = 0; i < 8; i++) shapes.row_bytes[i] = ROW, shapes.rows[i] = ROWS;
  written(&shapes);
  _tile_loadconfig(&shapes);
}

TARGET_AMX static void end_tiles(void) { _tile_release(); }

/* How many tiles a patch's row takes, and how many bytes a layer's weights take. */
static int row_tiles(int channels_in) { return (3 * channels_in + ROW - 1) / ROW; }
static int tile_bytes(int channels_in, int channels_out) {
  return 3 * row_tiles(channels_in) * ROW * channels_out;
}

/* Lay out weights as codes: for each 32 output channels, for each tile of the patch, two tiles of
   16 channels. A row of these holds the codes of four bits for each channel. `codes` are those of
   layout.py. */
static void lay_out_tiles(const int8_t *codes, int channels_in, int channels_out, int8_t *tiled) {
  int bits = 3 * channels_in, tiles = row_tiles(channels_in);
  for (int first = 0; first < channels_out; first += LANES)
    for (int tile = 0; tile < 3 * tiles; tile++)
      for (int half = 0; half < 2; half++)
        for (int i = 0; i < TILE; i++) {
          int in_row = tile % tiles * ROW + i / ROW * 4 + i % 4, bit = tile / tiles * bits + in_row;
          int channel = first + half * 16 + i % ROW / 4;
          *tiled++ = in_row < bits ? codes[channel * 3 * bits + bit] : 0;
        }
}

/* For each pixel, and for those above and below the map, write the row of three pixels around it: a
   byte for each bit, up to whole tiles. Bits beyond the three pixels have weights of zero. A word
   holds 32 channels or, for conv1's output, 16. */
TARGET_AMX static void spread_bits(const uint32_t *source, int side, int channels, uint8_t *bytes) {
  int depth = (channels + 31) / 32, tiles = row_tiles(channels);
  for (int y = 0; y < side + 2; y++, source += 2 * depth)
    for (int x = 0; x < side; x++, source += depth)
      for (int i = 0; i < tiles; i++, bytes += ROW) {
        uint64_t bits = source[2 * i] | (uint64_t)source[2 * i + 1] << 32;
        if (channels < LANES) bits = source[0] | source[1] << 16 | (uint64_t)source[2] << 32;
        _mm512_store_si512(bytes, _mm512_maskz_set1_epi8(bits, 1));
      }
}

/* Write the sums of two groups of 16 pixels, for 32 channels; the second group lies `next` bytes
   after the first. */
TARGET_AMX static void multiply_tiles(const uint8_t *bytes, int next, int side, int tiles,
                                      const int8_t *codes, int32_t (*sums)[LANES]) {
  int step = tiles * ROW;
  written(bytes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int row = 0; row < 3; row++, bytes += side * step)
    for (int i = 0; i < tiles; i++, codes += 2 * TILE) {
      _tile_loadd(4, bytes + i * ROW, step);
      _tile_loadd(5, bytes + i * ROW + next, step);
      _tile_loadd(6, codes, ROW);
      _tile_loadd(7, codes + TILE, ROW);
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  _tile_stored(0, sums[0], sizeof *sums);
  _tile_stored(1, sums[0] + 16, sizeof *sums);
  _tile_stored(2, sums[ROWS], sizeof *sums);
  _tile_stored(3, sums[ROWS] + 16, sizeof *sums);
}

/* Write the bits of 32 channels, of the pixels of some rows or of the largest sums of 2x2 pixels. */
TARGET_AMX static void keep_tile_bits(int32_t (*sums)[LANES], const int16_t *limits, int rows, int side,
                                      int pool, uint32_t *target, int step) {
  __m512i low = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)limits));
  __m512i high = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)limits + 1));
  for (int y = 0; y < rows; y += 1 + pool, sums += pool * side, target += 2 * step)
    for (int x = 0; x < side; x += 1 + pool, sums += 1 + pool, target += step) {
      __m512i a = _mm512_load_si512(sums[0]), b = _mm512_load_si512(sums[0] + 16);
      for (int i = 1; pool && i < 4; i++) {
        const int32_t *other = sums[i / 2 * side + i % 2];
        a = _mm512_max_epi32(a, _mm512_load_si512(other));
        b = _mm512_max_epi32(b, _mm512_load_si512(other + 16));
      }
      *target = _mm512_cmpge_epi32_mask(a, low) | (uint32_t)_mm512_cmpge_epi32_mask(b, high) << 16;
    }
}

#endif
