/* The engine in C, which runs a student's layers on images with features as bits throughout.

   The memory layout is that of layout.py. The sums come from a path of sums.h or, with AMX, from
   products of matrices (tiles.h); bitstill_paths says which paths this processor can run. All give
   the same bits. */

#include "sums.h"
#include "tiles.h"

enum { IMAGE = 32 * 32 * 3, FEATURES = 128 };
/* Words of all layers' outputs, including borders. */
enum { LAST = 2 * 18 * 18 + 10 * 10 + 10 * 10 * 2 + 6 * 6 * 2 + 6 * 6 * 4, SCRATCH = LAST + 6 * 6 * 4 };
/* Images that pass through each layer together, so that the layer's weights stay in the cache. */
enum { TOGETHER = 4 };

typedef struct {
  const int8_t *first;             /* IMAGE_CODES */
  const int16_t *first_thresholds; /* 16 */
  const uint8_t *prepared;         /* the other layers' weights, from bitstill_prepare */
  const int16_t *thresholds;       /* 448 */
  const float *classifier;         /* 128, classes */
  const float *bias;               /* classes */
} Model;

typedef struct {
  int side, channels_in, channels_out, pool;
} Shape;

static const Shape SHAPES[6] = {{16, 16, 32, 0}, {16, 32, 32, 1}, {8, 32, 64, 0},
                                {8, 64, 64, 1},  {4, 64, 128, 0}, {4, 128, 128, 0}};

/* Words of a layer's output, including its border. */
static int output_words(const Shape *shape) {
  int width = (shape->side >> shape->pool) + 2;
  return width * width * shape->channels_out / LANES;
}

/* Where an output's first word inside the border lies. */
static int inner_word(const Shape *shape) {
  return ((shape->side >> shape->pool) + 3) * shape->channels_out / LANES;
}

static void convolve_image(const Path *by, const Model *model, const uint8_t *image, uint32_t *target) {
  uint8_t levels[IMAGE_LEVELS] = {0};
  int16_t sums[32 * 32 * 16] __attribute__((aligned(64)));
  for (int y = 0; y < 32; y++) memcpy(levels + (y + 1) * IMAGE_ROW + COLOURS, image + y * 96, 96);
  by->image_sums(levels, model->first, sums);
  by->keep_bits(sums, model->first_thresholds, 32, 16, 1, target + 18 + 1);
}

static void convolve(const Path *by, const Shape *shape, const uint32_t *source, uint32_t *target,
                     const uint8_t *tables, const int16_t *thresholds) {
  int16_t sums[256 * LANES] __attribute__((aligned(64)));
  int side = shape->side, channels = shape->channels_out;
  by->bit_sums(source, tables, side, shape->channels_in, channels, sums);
  by->keep_bits(sums, thresholds, side, channels, shape->pool, target + inner_word(shape));
}

#ifdef TILES

/* Like convolve, for one or two images, 32 pixels at a time: those of both if a map has only 16. */
TARGET_AMX static void convolve_tiles(int images, const Shape *shape, uint32_t *const *sources,
                                      uint32_t *const *targets, const int8_t *codes,
                                      const int16_t *thresholds) {
  uint8_t bytes[MOST_BYTES] __attribute__((aligned(64)));
  int32_t sums[2 * ROWS][LANES] __attribute__((aligned(64)));
  int side = shape->side, channels = shape->channels_in, tiles = row_tiles(channels);
  int both = side * side == ROWS, rows = (both ? ROWS : 2 * ROWS) / side, step = tiles * ROW;
  int next = both ? (side + 2) * side * step : ROWS * step, blocks = shape->channels_out / LANES;
  for (int image = 0; image < images; image += 1 + both) {
    spread_bits(sources[image], side, channels, bytes);
    if (both) spread_bits(sources[images - 1], side, channels, bytes + next);
    for (int b = 0; b < blocks; b++)
      for (int y = 0; y < side; y += rows) {
        multiply_tiles(bytes + y * side * step, next, side, tiles, codes + b * 6 * tiles * TILE, sums);
        int to = inner_word(shape) + (y >> shape->pool) * ((side >> shape->pool) + 2) * blocks + b;
        for (int i = 0; i < 1 + both; i++)
          keep_tile_bits(sums + i * ROWS, thresholds + b * LANES, rows, side, shape->pool,
                         targets[i ? images - 1 : image] + to, blocks);
      }
  }
}

#endif

/* sum(count * weight) / 16 + bias in double, feature by feature: the order affects the result. */
static void classify(const Model *model, const uint32_t *bits, int classes, float *logits) {
  double counts[FEATURES];
  for (int i = 0; i < FEATURES / 4; i++) { /* every eighth feature of a word, in bytes */
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

/* A checksum of sources and flags, from compiler.py: kernel.py refuses a library with another. */
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

/* The paths that this processor can run. */
int bitstill_paths(void) { return paths; }

/* The bytes of a layer's weights in the form that a path reads. */
static int prepared_bytes(int path, const Shape *shape) {
#ifdef TILES
  if (path == AMX) return tile_bytes(shape->channels_in, shape->channels_out);
#endif
  (void)path;
  return table_bytes(shape->channels_in, shape->channels_out);
}

/* Fill `prepared` with a model's weights as a path reads them, and return how many bytes they take.
   `prepared` is NULL or aligned to 64 bytes. */
int bitstill_prepare(int path, const int8_t *codes, uint8_t *prepared) {
  int total = 0;
  for (int i = 0; i < 6; i++) {
    const Shape *shape = &SHAPES[i];
    uint8_t *at = prepared ? prepared + total : NULL;
    total += prepared_bytes(path, shape);
#ifdef TILES
    if (at && path == AMX) lay_out_tiles(codes, shape->channels_in, shape->channels_out, (int8_t *)at);
    else
#endif
    if (at) bitstill_path(path)->fill_tables(codes, shape->channels_in, shape->channels_out, at);
    codes += 9 * shape->channels_in * shape->channels_out;
  }
  return total;
}

/* Run all layers on up to TOGETHER images, each with its own scratch. */
static void run_layers(int path, const Model *model, const uint8_t *images, int count,
                       uint32_t (*scratches)[SCRATCH]) {
  const Path *by = bitstill_path(path);
  const uint8_t *prepared = model->prepared;
  const int16_t *thresholds = model->thresholds;
  uint32_t *sources[TOGETHER], *targets[TOGETHER];
  for (int i = 0; i < count; i++) {
    memset(scratches[i], 0, sizeof scratches[i]);
    sources[i] = scratches[i];
    targets[i] = scratches[i] + 18 * 18;
    convolve_image(by, model, images + i * IMAGE, sources[i]);
  }
  for (int layer = 0; layer < 6; layer++) {
    const Shape *shape = &SHAPES[layer];
#ifdef TILES
    for (int i = 0; path == AMX && i < count; i += 2)
      convolve_tiles(count - i < 2 ? 1 : 2, shape, sources + i, targets + i, (const int8_t *)prepared,
                     thresholds);
#endif
    for (int i = 0; i < count; i++) {
      if (path != AMX) convolve(by, shape, sources[i], targets[i], prepared, thresholds);
      sources[i] = targets[i];
      targets[i] += output_words(shape);
    }
    prepared += prepared_bytes(path, shape);
    thresholds += shape->channels_out;
  }
}

/* Fill logits (count, classes) for images (count, 3072). Return 0, or 1 if this processor lacks the
   path. The scratch, which may be NULL, receives every layer's bits of the last image. */
int bitstill_run(int path, const Model *model, const uint8_t *images, int64_t count, int classes,
                 float *logits, uint32_t *scratch) {
  uint32_t scratches[TOGETHER][SCRATCH];
  int here = 1;
  if (!(paths & path)) return 1;
#ifdef TILES
  if (path == AMX) begin_tiles();
#endif
  for (int64_t n = 0; n < count; n += TOGETHER) {
    here = count - n < TOGETHER ? (int)(count - n) : TOGETHER;
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
