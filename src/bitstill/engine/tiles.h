/* Exact sums of a convolution on bits by AMX, products of byte matrices: 16 pixels, 16 channels.

   A feature is a byte, 0 or 1, and a weight its code, -3, -1, 1 or 3, so that what the processor adds
   up of unsigned times signed bytes is the sum itself. A patch lies in memory as the words of
   layout.py have it, a byte for each bit, up to whole tiles. */

#pragma once

#include "sums.h"

#if defined(X86) && defined(__linux__) && defined(__has_include) && !defined(BITSTILL_WITHOUT_AMX)
#if __has_include(<amxint8intrin.h>) || __has_include(<amxintrin.h>) /* of GCC and of clang */
#define TILES 1
#endif
#endif

#ifdef TILES

#include <cpuid.h>
#include <sys/syscall.h>

#define TARGET_AMX \
  __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx512vnni")))

enum { ROWS = 16, ROW = 64, TILE = ROWS * ROW, TAPS = 48 }; /* three taps of 16 channels */
enum { MOST_FEATURES = 18 * 18 * 32, MOST_PATCH = 9 * 128 };

long syscall(long number, ...);

/* Linux lets a process use tiles that has asked for it: their state is 8 KiB a thread. */
static int tiles_are_allowed(void) {
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILE_BIT = 1 << 24, INT8_BIT = 1 << 25 };
  unsigned a, b, c, d;
  if (!(processor_paths() & AVX512) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  return (d & TILE_BIT) && (d & INT8_BIT) && !syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
}

/* Let what was written be in memory: GCC does not know that tiles are loaded from there. */
static inline void written(const void *at) { __asm__ volatile("" : : "r"(at) : "memory"); }

/* All eight tiles as large as they can be. */
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

/* Tiles of a patch; bytes of a layer's weights. */
static int patch_tiles(int channels_in) { return (9 * channels_in + ROW - 1) / ROW; }
static int tile_bytes(int channels_in, int channels_out) {
  return patch_tiles(channels_in) * ROW * channels_out;
}

/* Weights as codes: for 32 output channels, for each tile of the patch, two tiles of 16 channels.
   A row of those holds four bits' codes of each channel; `words` are as layout.py has them. */
static void lay_out_tiles(const uint32_t *words, int channels_in, int channels_out, int8_t *codes) {
  int bits = 9 * channels_in, length = (bits + 31) / 32;
  for (int first = 0; first < channels_out; first += LANES, words += length * 2 * LANES)
    for (int tile = 0; tile < patch_tiles(channels_in); tile++)
      for (int half = 0; half < 2; half++)
        for (int i = 0; i < TILE; i++) {
          int bit = tile * ROW + i / ROW * 4 + i % 4, channel = half * 16 + i % ROW / 4;
          const uint32_t *at = words + bit / 32 * 2 * LANES + channel;
          if (bit < bits) *codes++ = (int8_t)(4 * (at[0] >> bit % 32 & 1) + 2 * (at[LANES] >> bit % 32 & 1) - 3);
          else *codes++ = 0;
        }
}

/* A byte for each bit of a feature map; a word holds 32 channels or, of the first layer, 16. */
TARGET_AMX static void spread_bits(const uint32_t *words, int count, int channels, uint8_t *bytes) {
  int step = channels < LANES ? channels : LANES;
  for (int i = 0; i < count; i++)
    _mm256_storeu_si256((__m256i *)(bytes + i * step), _mm256_maskz_set1_epi8(words[i], 1));
}

/* The patches of 16 pixels from the pixel `first` on, of a map with a power of two as its side.
   Copies go beyond what is wanted, into what is written next or has weights of zero. */
TARGET_AMX static void take_tiles(const uint8_t *features, int side, int channels, int first,
                                  uint8_t *patches) {
  int log = __builtin_ctz((unsigned)side);
  for (int i = first; i < first + ROWS; i++, patches += patch_tiles(channels) * ROW) {
    const uint8_t *from = features + ((i >> log) * (side + 2) + (i & (side - 1))) * channels;
    uint8_t *to = patches;
    for (int row = 0; row < 3; row++, from += (side + 2) * channels, to += 3 * channels)
      for (int at = 0; at < 3 * channels; at += TAPS)
        _mm512_storeu_si512(to + at, _mm512_loadu_si512(from + at));
  }
}

/* The bits of 16 pixels and 32 channels. Even and odd tiles of a patch have sums of their own: a
   product waits for the one before it in the same tile. */
TARGET_AMX static void multiply_tiles(const uint8_t *patches, const int8_t *codes, int tiles,
                                      const int32_t *limits, uint32_t *bits) {
  int32_t sums[4][ROWS][16] __attribute__((aligned(64)));
  written(patches);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int i = 0; i < tiles; i += 2, patches += 2 * ROW, codes += 4 * TILE) {
    _tile_loadd(4, patches, tiles * ROW);
    _tile_loadd(5, codes, ROW);
    _tile_loadd(6, codes + TILE, ROW);
    _tile_dpbusd(0, 4, 5);
    _tile_dpbusd(1, 4, 6);
    if (i + 1 == tiles) break;
    _tile_loadd(7, patches + ROW, tiles * ROW);
    _tile_loadd(5, codes + 2 * TILE, ROW);
    _tile_loadd(6, codes + 3 * TILE, ROW);
    _tile_dpbusd(2, 7, 5);
    _tile_dpbusd(3, 7, 6);
  }
  _tile_stored(0, sums[0], ROW);
  _tile_stored(1, sums[1], ROW);
  _tile_stored(2, sums[2], ROW);
  _tile_stored(3, sums[3], ROW);
  __m512i low = _mm512_loadu_si512(limits), high = _mm512_loadu_si512(limits + 16);
  for (int i = 0; i < ROWS; i++) {
    __m512i a = _mm512_add_epi32(_mm512_load_si512(sums[0][i]), _mm512_load_si512(sums[2][i]));
    __m512i b = _mm512_add_epi32(_mm512_load_si512(sums[1][i]), _mm512_load_si512(sums[3][i]));
    bits[i] = (uint32_t)_mm512_cmpge_epi32_mask(a, low) |
              (uint32_t)_mm512_cmpge_epi32_mask(b, high) << 16;
  }
}

#endif
