/* A block's passes for every layer of the topology, on random input, every array as large as it must
   be and no larger. Compiled with sanitizers; ends with 0 where nothing is
   read or written outside, and all paths agree. */

#include <stdio.h>
#include <stdlib.h>

#include "training.c"

enum { POINTS = 36 };

/* weight_gradient.c, input_gradient.c, and wide.c, which has both for AVX-512. */
typedef void Pass(const Training *b, int64_t from, int64_t to);
Pass bitstill_block_weights, bitstill_block_points, bitstill_block_input;
#ifdef X86
Pass bitstill_wide_weights, bitstill_wide_points, bitstill_wide_input;
#define GRADIENT(pass) (b->path == AVX512 ? bitstill_wide_##pass : bitstill_block_##pass)
#else
#define GRADIENT(pass) bitstill_block_##pass
#endif

static uint32_t random_state = 1;

static uint32_t next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

static float *numbers(int64_t count, float low, float high) {
  float *values = malloc((size_t)count * sizeof *values);
  for (int64_t i = 0; i < count; i++) values[i] = low + (high - low) * (float)(next() % 4096) / 4096;
  return values;
}

static uint32_t *features(int64_t count) {
  uint32_t *values = malloc((size_t)count * sizeof *values);
  for (int64_t i = 0; i < count; i++) values[i] = next() & 1 ? FLOAT_ONE : 0;
  return values;
}

static float *image(int64_t count) {
  float *values = malloc((size_t)count * sizeof *values);
  for (int64_t i = 0; i < count; i++) values[i] = (float)(next() % 256) / 255;
  return values;
}

/* Run all passes, in two parts where a pass takes a range; return what they leave, as one sum. */
static uint64_t passes(Training *b, int64_t inner, int64_t outer) {
  int64_t half = b->images / 2, size = sizeof(float);
  memset(b->sums, 0xff, (size_t)inner * sizeof *b->sums); /* what another path has left */
  memset(b->gradient, 0xff, (size_t)(inner * size));
  memset(b->y, 0xff, (size_t)(outer * size));
  float *of_gain = malloc((size_t)b->channels_out * 4), *of_offset = malloc((size_t)b->channels_out * 4);
  int failed = bitstill_block_prepare(b);
  failed |= bitstill_block_sums(b, 0, half) | bitstill_block_sums(b, half, b->images);
  failed |= bitstill_block_normalize(b);
  bitstill_block_activate(b, 0, half);
  bitstill_block_activate(b, half, b->images);
  bitstill_block_collect(b, half, b->images);
  bitstill_block_collect(b, 0, half);
  bitstill_block_reduce(b, of_gain, of_offset);
  bitstill_block_gradient(b, 0, half);
  bitstill_block_gradient(b, half, b->images);
  int groups = b->channels_out / GROUP;
  if (b->channels_in != COLOURS) {
    memset(b->x_gradient, 0xff, (size_t)(inner / b->channels_out * b->channels_in * size));
    memset(b->weight_gradient, 0xff, (size_t)(9 * b->channels_in * b->channels_out * size));
    GRADIENT(weights)(b, 0, groups / 2);
    GRADIENT(weights)(b, groups / 2, groups);
    GRADIENT(points)(b, groups, b->channels_out);
    GRADIENT(points)(b, 0, groups);
    GRADIENT(input)(b, half, b->images);
    GRADIENT(input)(b, 0, half);
  }
  uint64_t total = failed ? 0 : 1;
  for (int64_t i = 0; i < inner; i++) total = total * 31 + (uint16_t)b->sums[i];
  for (int64_t i = 0; i < inner * size; i++) total = total * 31 + ((uint8_t *)b->gradient)[i];
  for (int64_t i = 0; i < outer * size; i++) total = total * 31 + ((uint8_t *)b->y)[i];
  for (int i = 0; i < b->channels_out * 4; i++)
    total = total * 31 + ((uint8_t *)of_gain)[i] + ((uint8_t *)of_offset)[i];
  if (b->channels_in != COLOURS) {
    int64_t read = inner / b->channels_out * b->channels_in * size;
    for (int64_t i = 0; i < read; i++) total = total * 31 + ((uint8_t *)b->x_gradient)[i];
    for (int64_t i = 0; i < 36 * b->channels_in * b->channels_out; i++)
      total = total * 31 + ((uint8_t *)b->weight_gradient)[i];
  }
  free(of_gain);
  free(of_offset);
  return failed ? 0 : total;
}

static int check(int side, int channels_in, int channels_out, int pool) {
  int64_t images = 3, pixels = images * side * side, window = pool ? 4 : 1;
  int64_t inner = pixels * channels_out, outer = inner / window, taps = 9 * channels_in;
  int bytes = channels_in == COLOURS ? IMAGE_CODES : table_bytes(channels_in, channels_out);
  size_t size = sizeof(float);
  Training block = {images, PORTABLE, side, channels_in, channels_out, pool, 0.1f, 0.01, 1e-3};
  block.x = channels_in == COLOURS ? (uint32_t *)image(pixels * COLOURS) : features(pixels * channels_in);
  block.weight = numbers(channels_out * taps, -1, 1);
  block.bias = numbers(channels_out, -1, 1);
  block.gain = numbers(channels_out, -2, 2);
  block.offset = numbers(channels_out, -2, 8);
  block.running_mean = numbers(channels_out, -1, 1);
  block.running_variance = numbers(channels_out, 0, 1);
  block.codes = malloc((size_t)(taps * channels_out));
  block.weights = aligned_alloc(64, (size_t)bytes);
  block.sums = malloc((size_t)inner * sizeof *block.sums);
  block.moments = malloc((size_t)(images * 2 * channels_out) * sizeof *block.moments);
  block.state = malloc((size_t)(2 * channels_out) * sizeof *block.state);
  block.table = malloc((size_t)(6 * channels_out) * sizeof *block.table);
  block.y = malloc((size_t)outer * size);
  block.y_gradient = numbers(outer, -1, 1);
  block.partial = malloc((size_t)(images * 2 * channels_out) * sizeof *block.partial);
  block.gradient = malloc((size_t)inner * size);
  block.products = malloc((size_t)(channels_out * taps) * sizeof *block.products);
  block.weight_gradient = malloc((size_t)(channels_out * taps) * sizeof *block.weight_gradient);
  block.points = malloc((size_t)(POINTS * channels_in * channels_out) * sizeof *block.points);
  block.x_gradient = malloc((size_t)(pixels * channels_in) * size);
  uint64_t expected = passes(&block, inner, outer);
  int paths = processor_paths(), sound = expected != 0;
  for (int path = PORTABLE; path <= AVX512; path *= 2)
    if (paths & path) {
      block.path = path;
      sound &= passes(&block, inner, outer) == expected;
    }
  void *made[] = {(void *)block.x, (void *)block.weight, (void *)block.bias, (void *)block.gain,
                  (void *)block.offset, block.running_mean, block.running_variance, block.codes,
                  block.weights, block.sums, block.moments, block.state, block.table, block.y,
                  (void *)block.y_gradient, block.partial, block.gradient,
                  block.products, block.weight_gradient, block.points, block.x_gradient};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) free(made[i]);
  return sound;
}

int main(void) {
  int sound = check(32, 3, 16, 1) & check(16, 16, 32, 0) & check(16, 32, 32, 1);
  sound &= check(8, 32, 64, 0) & check(8, 64, 64, 1);
  sound &= check(4, 64, 128, 0) & check(4, 128, 128, 0);
  puts(sound ? "sound" : "paths disagree");
  return !sound;
}
