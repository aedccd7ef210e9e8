/* The kernel on random models and images, every array as large as it must be and no larger. Compiled
   with sanitizers; ends with 0 where nothing is read or written outside, and all paths agree. */

#include <stdio.h>
#include <stdlib.h>

#include "kernel.c"

static uint32_t state = 1;

static uint32_t next(void) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

static void *filled(size_t size) {
  uint8_t *bytes = malloc(size);
  for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)next();
  return bytes;
}

int main(int count, char **arguments) {
  int classes = count > 1 ? atoi(arguments[1]) : 10, images = 5;
  enum { WEIGHTS = 9 * (16 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128), THRESHOLDS = 448 };
  int8_t *first = malloc(IMAGE_CODES);
  for (int i = 0; i < IMAGE_CODES; i++) /* the last three of a row's 12 inputs have no weights */
    first[i] = i / 64 % 3 == 2 && i % 4 ? 0 : (int8_t)((int)(2 * (next() % 4)) - 3);
  int16_t *first_thresholds = malloc(16 * 2), *thresholds = malloc(THRESHOLDS * 2);
  for (int i = 0; i < 16; i++) first_thresholds[i] = (int16_t)((int)(next() % 41312) - 20656);
  for (int i = 0; i < THRESHOLDS; i++) thresholds[i] = (int16_t)((int)(next() % 301) - 200);
  thresholds[0] = INT16_MAX;
  thresholds[1] = INT16_MIN;
  float *classifier = malloc(128 * (size_t)classes * 4), *bias = malloc((size_t)classes * 4);
  for (int i = 0; i < 128 * classes; i++) classifier[i] = (float)(int32_t)next() / 1e9f;
  for (int i = 0; i < classes; i++) bias[i] = (float)(int32_t)next() / 1e9f;
  int8_t *codes = filled(WEIGHTS);
  for (int i = 0; i < WEIGHTS; i++) codes[i] = (int8_t)(2 * (codes[i] & 3) - 3);
  Model model = {first, first_thresholds, NULL, thresholds, classifier, bias};
  uint8_t *pixels = filled((size_t)images * IMAGE);

  float *expected = malloc((size_t)(images * classes) * 4);
  uint32_t *bits = malloc(SCRATCH * 4);
  for (int path = PORTABLE; path <= AMX; path *= 2) {
    if (!(bitstill_paths() & path)) continue;
    void *prepared = aligned_alloc(64, (size_t)bitstill_prepare(path, codes, NULL));
    bitstill_prepare(path, codes, prepared);
    model.prepared = prepared;
    float *logits = malloc((size_t)(images * classes) * 4);
    uint32_t *other = malloc(SCRATCH * 4);
    if (bitstill_run(path, &model, pixels, images, classes, logits, NULL)) return 3;
    if (bitstill_run(path, &model, pixels, images, classes, logits, other)) return 4;
    if (path == PORTABLE) {
      memcpy(expected, logits, (size_t)(images * classes) * 4);
      memcpy(bits, other, SCRATCH * 4);
    }
    if (memcmp(expected, logits, (size_t)(images * classes) * 4)) return 5;
    if (memcmp(bits, other, SCRATCH * 4)) return 6;
    free(logits), free(other), free(prepared);
  }
  if (bitstill_run(2 * AMX, &model, pixels, images, classes, expected, bits) != 1) return 7;
  free(first), free(first_thresholds), free(codes), free(thresholds);
  free(classifier), free(bias), free(pixels), free(expected), free(bits);
  puts("sound");
  return 0;
}
