/* A deployed student in C99, without libraries, files or memory of its own: what follows its numbers
   is the same for every student. Give functions and names to other files with these lines:

     int student_predict(const uint8_t image[3072]);
     void student_logits(const uint8_t image[3072], float *logits);
     extern const char *const student_classes[];

   An image is 32 x 32 RGB: rows from the top, a pixel's three bytes side by side. Features lie in
   words of 32 channels, those of a pixel side by side, around all pixels a border of zeros; of more
   than one bit, in as many words, the lowest bit first. Weights likewise: a weight of k bits is the
   odd integer 2 q - (2^k - 1). So with pop counting the bits that are set, a convolution is

     sum_j sum_i 2^(i+j+1) pop(features_i & weights_j) - (2^k - 1) sum_i 2^i pop(features_i). */

#include <stdint.h>

#include "numbers.h"

enum { SIDE = 32, COLOURS = 3, INPUTS = 9 * COLOURS, FIRST = 16, CHANNELS = 128, LANES = 32 };
/* Words of the largest map, its border included, and of the largest patch of 3 x 3 pixels. */
enum { MAP = 18 * 18 * FEATURE_BITS, PATCH = 9 * CHANNELS / LANES * FEATURE_BITS };
enum { LAYERS = 6, LAST = 4, LEVELS = (1 << FEATURE_BITS) - 1 };

/* Of all layers but the first: side and words of its input, and whether a max pool of 2 x 2 ends it. */
typedef struct {
  int side, words, channels_out, pool;
} Layer;

static const Layer TOPOLOGY[LAYERS] = {{16, 1, 32, 0}, {16, 1, 32, 1}, {8, 1, 64, 0},
                                       {8, 2, 64, 1},  {4, 2, 128, 0}, {4, 4, 128, 0}};

int student_predict(const uint8_t image[SIDE * SIDE * COLOURS]);
void student_logits(const uint8_t image[SIDE * SIDE * COLOURS], float *logits);

static int32_t count_bits(uint32_t x) {
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0fu;
  return (int32_t)(x * 0x01010101u >> 24);
}

/* A pixel's features: of each channel, how many of its thresholds the sum reaches. */
static void keep(const int32_t *sums, int channels, const int32_t *thresholds, uint32_t *pixel) {
  for (int c = 0; c < channels; c++) {
    uint32_t level = 0, *words = pixel + c / LANES * FEATURE_BITS;
    for (int i = 0; i < LEVELS; i++) level += sums[c] >= *thresholds++;
    for (int i = 0; i < FEATURE_BITS; i++) words[i] |= (level >> i & 1) << c % LANES;
  }
}

static void clear(uint32_t *map, int words) {
  for (int i = 0; i < words; i++) map[i] = 0;
}

/* A pixel of the image and its neighbours: row, column, colour. */
static void take_levels(const uint8_t *image, int y, int x, int32_t *patch) {
  for (int row = y - 1; row <= y + 1; row++)
    for (int column = x - 1; column <= x + 1; column++)
      for (int i = 0; i < COLOURS; i++) {
        int inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE;
        *patch++ = inside ? image[(row * SIDE + column) * COLOURS + i] : 0;
      }
}

static void convolve_image(const uint8_t *image, uint32_t *to) {
  int side = SIDE / 2, wide = side + 2;
  clear(to, MAP);
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      int32_t largest[FIRST];
      for (int i = 0; i < 4; i++) {
        int32_t patch[INPUTS];
        take_levels(image, 2 * y + i / 2, 2 * x + i % 2, patch);
        for (int c = 0; c < FIRST; c++) {
          int32_t sum = 0;
          for (int j = 0; j < INPUTS; j++) sum += patch[j] * IMAGE_CODES[c * INPUTS + j];
          largest[c] = i == 0 || sum > largest[c] ? sum : largest[c];
        }
      }
      keep(largest, FIRST, THRESHOLDS, to + ((y + 1) * wide + x + 1) * FEATURE_BITS);
    }
}

/* One sum of another layer, over words of a patch. */
static int32_t sum_bits(const uint32_t *patch, int words, const uint32_t *weights) {
  int32_t sum = 0;
  for (int w = 0; w < words; w++, patch += FEATURE_BITS, weights += WEIGHT_BITS)
    for (int i = 0; i < FEATURE_BITS; i++)
      for (int j = 0; j < WEIGHT_BITS; j++)
        sum += count_bits(patch[i] & weights[j]) * ((int32_t)2 << (i + j));
  return sum;
}

static void convolve(const Layer *layer, const uint32_t *from, const uint32_t *weights,
                     const int32_t *thresholds, uint32_t *to) {
  int words = layer->words * FEATURE_BITS, window = 1 + layer->pool, side = layer->side / window;
  int words_out = layer->channels_out / LANES * FEATURE_BITS, wide = side + 2;
  clear(to, wide * wide * words_out);
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      int32_t largest[CHANNELS];
      for (int i = 0; i < window * window; i++) {
        const uint32_t *pixel = from + (y * window + i / 2) * (layer->side + 2) * words;
        uint32_t patch[PATCH];
        int32_t taken = 0;
        pixel += (x * window + i % 2) * words;
        for (int j = 0; j < 9 * words; j++) {
          patch[j] = pixel[j / (3 * words) * (layer->side + 2) * words + j % (3 * words)];
          taken += count_bits(patch[j]) * (1 << j % FEATURE_BITS);
        }
        taken *= (1 << WEIGHT_BITS) - 1;
        for (int c = 0; c < layer->channels_out; c++) {
          int32_t sum = sum_bits(patch, 9 * layer->words, weights + c * 9 * layer->words * WEIGHT_BITS);
          largest[c] = i == 0 || sum - taken > largest[c] ? sum - taken : largest[c];
        }
      }
      keep(largest, layer->channels_out, thresholds, to + ((y + 1) * wide + x + 1) * words_out);
    }
}

/* The average over the last map, and the last layer: in double, feature by feature. */
static void classify(const uint32_t *map, float *logits) {
  int32_t counts[CHANNELS] = {0};
  for (int y = 1; y <= LAST; y++)
    for (int x = 1; x <= LAST; x++)
      for (int c = 0; c < CHANNELS; c++) {
        const uint32_t *words = map + (((y * (LAST + 2) + x) * CHANNELS + c) / LANES) * FEATURE_BITS;
        for (int i = 0; i < FEATURE_BITS; i++) counts[c] += (int32_t)(words[i] >> c % LANES & 1) << i;
      }
  for (int label = 0; label < CLASSES; label++) {
    const float *last = CLASSIFIER + label * (CHANNELS + 1);
    double total = 0;
    for (int c = 0; c < CHANNELS; c++) total += counts[c] * (double)last[c];
    logits[label] = (float)(total / (LAST * LAST * LEVELS) + (double)last[CHANNELS]);
  }
}

/* Fill an image's logits, one for each class. */
void student_logits(const uint8_t image[SIDE * SIDE * COLOURS], float *logits) {
  uint32_t maps[2][MAP];
  const uint32_t *weights = WEIGHTS;
  const int32_t *thresholds = THRESHOLDS + FIRST * LEVELS;
  convolve_image(image, maps[0]);
  for (int i = 0; i < LAYERS; i++) {
    const Layer *layer = &TOPOLOGY[i];
    convolve(layer, maps[i % 2], weights, thresholds, maps[1 - i % 2]);
    weights += layer->channels_out * 9 * layer->words * WEIGHT_BITS;
    thresholds += layer->channels_out * LEVELS;
  }
  classify(maps[LAYERS % 2], logits);
}

/* Return the class of an image, counted from 0. */
int student_predict(const uint8_t image[SIDE * SIDE * COLOURS]) {
  float logits[CLASSES];
  int best = 0;
  student_logits(image, logits);
  for (int label = 1; label < CLASSES; label++)
    if (logits[label] > logits[best]) best = label;
  return best;
}
