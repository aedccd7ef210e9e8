/* The gradient of a block's input: the convolution of the result's gradient with the turned
   weights, by Winograd's method (Lavin & Gray 2015, arXiv 1509.09308). F(4x4, 3x3) takes 36
   multiplications for 16 numbers, which would otherwise take 144, 9 for each.

   Tiles of 6x6 numbers and the weights are evaluated at the points 0, +-1/sqrt(2), +-sqrt(2) and
   infinity, along rows and columns, multiplied point by point, and interpolated to tiles of 4x4.
   The usual points 0, +-1, +-2 have rounding errors up to six times as large. A tile's numbers
   depend on no other tile, so threads may share the images. */

#include "training.h"

/* Where the processor can, it adds products without rounding them first: half the instructions. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT ON
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
#endif

enum { OUT = 4, IN = 6, POINTS = IN * IN, MOST_TILES = 36, MOST_CHANNELS = 128 };
/* Tiles multiplied at a time, with GROUP sums for each: as many as fit in registers. */
enum { ROWS = WIDTH == 16 ? 12 : 6 };
_Static_assert(MOST_TILES % ROWS == 0, "all rows are multiplied, filled or not");
/* Points lie a cache line more than a multiple of a large power of two apart, or they would compete
   for the same few sets of the cache. */
enum { LINE = 16, ROOM = POINTS * (MOST_TILES * MOST_CHANNELS + LINE) };

#ifdef WIDE
extern _Thread_local float bitstill_evaluated[ROOM], bitstill_multiplied[ROOM];
#else
_Thread_local float bitstill_evaluated[ROOM], bitstill_multiplied[ROOM];
#endif

static const float SMALL = 0.70710678f, LARGE = 1.41421356f; /* the points without their signs */
static const float zeros[MOST_CHANNELS];

/* ---- transforms of one line ---- */

INLINE void evaluate_weights(const Lanes g[3], Lanes to[IN]) {
  Lanes small = g[0] + 0.5f * g[2], large = g[0] + 2 * g[2];
  to[0] = g[0];
  to[1] = (small + SMALL * g[1]) * (-2.f / 3);
  to[2] = (small - SMALL * g[1]) * (-2.f / 3);
  to[3] = (large + LARGE * g[1]) * (1.f / 6);
  to[4] = (large - LARGE * g[1]) * (1.f / 6);
  to[5] = g[2];
}

INLINE void evaluate(const Lanes d[IN], Lanes to[IN]) {
  Lanes small = d[4] - 2 * d[2], small_odd = d[3] - 2 * d[1];
  Lanes large = d[4] - 0.5f * d[2], large_odd = d[3] - 0.5f * d[1];
  to[0] = d[0] - 2.5f * d[2] + d[4];
  to[1] = small + SMALL * small_odd;
  to[2] = small - SMALL * small_odd;
  to[3] = large + LARGE * large_odd;
  to[4] = large - LARGE * large_odd;
  to[5] = d[1] - 2.5f * d[3] + d[5];
}

INLINE void interpolate(const Lanes m[IN], Lanes to[OUT]) {
  Lanes small = m[1] + m[2], small_odd = SMALL * (m[1] - m[2]);
  Lanes large = m[3] + m[4], large_odd = LARGE * (m[3] - m[4]);
  to[0] = m[0] + small + large;
  to[1] = small_odd + large_odd;
  to[2] = 0.5f * small + 2 * large;
  to[3] = 0.5f * small_odd + 2 * large_odd + m[5];
}

/* ---- transforms of whole tiles: along columns, then along rows ---- */

/* Evaluate some output channels' turned weights: (points, channels_out, channels_in). */
CLONES void PASS(points)(const Training *b, int64_t from, int64_t to) {
  int channels = b->channels_in;
  for (int64_t o = from; o < to; o++)
    for (int c = 0; c < channels; c += WIDTH) {
      const float *last = b->weight + (o * 9 + 8) * channels + c;
      Lanes line[IN], half[IN][3];
      for (int x = 0; x < 3; x++) {
        Lanes taps[3];
        for (int y = 0; y < 3; y++) taps[y] = *(const Lanes *)(last - (3 * y + x) * channels);
        evaluate_weights(taps, line);
        for (int y = 0; y < IN; y++) half[y][x] = line[y];
      }
      for (int y = 0; y < IN; y++) {
        evaluate_weights(half[y], line);
        for (int x = 0; x < IN; x++)
          *(Lanes *)(b->points + ((IN * y + x) * b->channels_out + o) * channels + c) = line[x];
      }
    }
}

static CLONES void evaluate_tile(const Training *b, int64_t at, int y, int x, float *to, int next) {
  int channels = b->channels_out;
  const float *tile[IN][IN];
  for (int i = 0; i < IN; i++)
    for (int j = 0; j < IN; j++) {
      int row = y + i - 1, column = x + j - 1;
      int outside = row < 0 || column < 0 || row >= b->side || column >= b->side;
      tile[i][j] = outside ? zeros : b->gradient + (at + row * b->side + column) * channels;
    }
  for (int c = 0; c < channels; c += WIDTH) {
    Lanes line[IN], half[IN][IN], numbers[IN];
    for (int j = 0; j < IN; j++) {
      for (int i = 0; i < IN; i++) numbers[i] = *(const Lanes *)(tile[i][j] + c);
      evaluate(numbers, line);
      for (int i = 0; i < IN; i++) half[i][j] = line[i];
    }
    for (int i = 0; i < IN; i++) {
      evaluate(half[i], line);
      for (int j = 0; j < IN; j++) *(Lanes *)(to + (IN * i + j) * next + c) = line[j];
    }
  }
}

static CLONES void interpolate_tile(const Training *b, const float *from, int next, int64_t at) {
  int channels = b->channels_in;
  for (int c = 0; c < channels; c += WIDTH) {
    Lanes line[IN], half[OUT][IN], numbers[OUT];
    for (int j = 0; j < IN; j++) {
      for (int i = 0; i < IN; i++) line[i] = *(const Lanes *)(from + (IN * i + j) * next + c);
      interpolate(line, numbers);
      for (int i = 0; i < OUT; i++) half[i][j] = numbers[i];
    }
    for (int i = 0; i < OUT; i++) {
      interpolate(half[i], numbers);
      for (int j = 0; j < OUT; j++)
        *(Lanes *)(b->x_gradient + (at + i * b->side + j) * channels + c) = numbers[j];
    }
  }
}

/* ---- products ---- */

/* Multiply the tiles' numbers at one point by the weights: (tiles, in) x (in, out) -> (tiles, out).
   Always ROWS tiles at a time; if fewer are left, the results of the others are never read. */
static CLONES void multiply(const float *tiles, const float *weights, int count, int in, int out, float *to) {
  for (; count > 0; count -= ROWS, tiles += ROWS * in, to += ROWS * out)
    for (int c = 0; c < out; c += GROUP) {
      Lanes sums[ROWS][PARTS] = {{{0}}};
      for (int i = 0; i < in; i++) {
        const Lanes *w = (const Lanes *)(weights + i * out + c);
#pragma GCC unroll 12
        for (int row = 0; row < ROWS; row++)
#pragma GCC unroll 4
          for (int part = 0; part < PARTS; part++) sums[row][part] += tiles[row * in + i] * w[part];
      }
#pragma GCC unroll 12
      for (int row = 0; row < ROWS; row++)
        for (int part = 0; part < PARTS; part++) ((Lanes *)(to + row * out + c))[part] = sums[row][part];
    }
}

/* Fill the input's gradient for some images, once all channels' weights are evaluated. */
void PASS(input)(const Training *b, int64_t from, int64_t to) {
  float *evaluated = bitstill_evaluated, *multiplied = bitstill_multiplied;
  int side = b->side, across = side / OUT, each = across * across, in = b->channels_out, out = b->channels_in;
  int next = MOST_TILES * in + LINE, next_product = MOST_TILES * out + LINE;
  for (int64_t first = from * each, last = to * each; first < last; first += MOST_TILES) {
    int count = last - first < MOST_TILES ? (int)(last - first) : MOST_TILES;
    for (int i = 0; i < count; i++) {
      int64_t image = (first + i) / each, tile = (first + i) % each;
      int y = (int)(tile / across) * OUT, x = (int)(tile % across) * OUT;
      evaluate_tile(b, image * side * side, y, x, evaluated + i * in, next);
    }
    for (int k = 0; k < POINTS; k++)
      multiply(evaluated + k * next, b->points + k * in * out, count, in, out, multiplied + k * next_product);
    for (int i = 0; i < count; i++) {
      int64_t image = (first + i) / each, tile = (first + i) % each;
      int64_t pixel = (image * side + tile / across * OUT) * side + tile % across * OUT;
      interpolate_tile(b, multiplied + i * out, next_product, pixel);
    }
  }
}
