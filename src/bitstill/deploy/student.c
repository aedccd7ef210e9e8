/* A deployed student in C99, without libraries, files or dynamic memory; all that follows its
   numbers is the same for every student. Declare its functions and names in other files as:

     int student_predict(const uint8_t image[3072]);
     void student_logits(const uint8_t image[3072], float *logits);
     extern const char *const student_classes[];

   An image is 32 x 32 RGB: rows from the top, a pixel's three bytes side by side. A weight of k
   bits is the odd integer 2 q - (2^k - 1). Features lie in words of 32 channels, those of a pixel
   side by side, with a border of zeros around all pixels; a feature of several bits takes as many
   words, the lowest bit first. A convolution goes through the features that are not zero and adds
   their weights' q to the sums of 32 channels at once: the sums lie in planes, words that hold one
   bit of each sum, the lowest first; bitwise operations add them as the gates of an adder do. */

#include <stdint.h>

#include "numbers.h"

enum { SIDE = 32, COLOURS = 3, INPUTS = 9 * COLOURS, FIRST = 16, CHANNELS = 128, LANES = 32 };
enum { MAP = 18 * 18 * FEATURE_BITS }; /* words of the largest map, with its border */
enum { LAYERS = 6, LAST = 4, LEVELS = (1 << FEATURE_BITS) - 1, WORDS = CHANNELS / LANES };

/* A layer after the first: side, channels and words of its input, words of its output, and whether
   it ends with a 2 x 2 max pool. */
typedef struct {
  int side, channels, words, words_out, pool;
} Layer;

static const Layer TOPOLOGY[LAYERS] = {{16, 16, 1, 1, 0}, {16, 32, 1, 1, 1}, {8, 32, 1, 2, 0},
                                       {8, 64, 2, 2, 1},  {4, 64, 2, 4, 0},  {4, 128, 4, 4, 0}};

int student_predict(const uint8_t image[SIDE * SIDE * COLOURS]);
void student_logits(const uint8_t image[SIDE * SIDE * COLOURS], float *logits);

static void clear(uint32_t *map, int words) {
  for (int i = 0; i < words; i++) map[i] = 0;
}

/* Keep a pixel's features: for each channel, how many of its thresholds the sum reaches. */
static void keep(const int32_t *sums, uint32_t *pixel) {
  const int32_t *thresholds = IMAGE_THRESHOLDS;
  for (int c = 0; c < FIRST; c++) {
    uint32_t level = 0;
    for (int i = 0; i < LEVELS; i++) level += sums[c] >= *thresholds++;
    for (int i = 0; i < FEATURE_BITS; i++) pixel[i] |= (level >> i & 1) << c;
  }
}

/* Copy a pixel of the image and its neighbours: row, column, colour. */
static void take_levels(const uint8_t *image, int y, int x, uint32_t *patch) {
  for (int row = y - 1; row <= y + 1; row++)
    for (int column = x - 1; column <= x + 1; column++)
      for (int i = 0; i < COLOURS; i++) {
        int inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE;
        *patch++ = inside ? image[(row * SIDE + column) * COLOURS + i] : 0;
      }
}

/* The first layer's sums of a pixel. A product serves two channels, with two bits of a weight. */
static void sum_levels(const uint8_t *image, int y, int x, int32_t *sums) {
  uint32_t patch[INPUTS];
  const uint32_t *weights = IMAGE_WEIGHTS;
  int32_t total = 0;
  take_levels(image, y, x, patch);
  for (int i = 0; i < INPUTS; i++) total += (int32_t)patch[i];
  for (int c = 0; c < FIRST; c++) sums[c] = total * (1 - (1 << WEIGHT_BITS));
  for (int bit = 0; bit < WEIGHT_BITS; bit += 2)
    for (int c = 0; c < FIRST; c += 2) {
      uint32_t sum = 0;
      for (int i = 0; i < INPUTS; i++) sum += patch[i] * *weights++;
      sums[c] += (int32_t)(sum & 0xffff) * (2 << bit);
      sums[c + 1] += (int32_t)(sum >> 16) * (2 << bit);
    }
}

static void convolve_image(const uint8_t *image, uint32_t *to) {
  int side = SIDE / 2, wide = side + 2;
  clear(to, MAP);
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      int32_t largest[FIRST];
      for (int i = 0; i < 4; i++) {
        int32_t sums[FIRST];
        sum_levels(image, 2 * y + i / 2, 2 * x + i % 2, sums);
        for (int c = 0; c < FIRST; c++)
          largest[c] = i == 0 || sums[c] > largest[c] ? sums[c] : largest[c];
      }
      keep(largest, to + ((y + 1) * wide + x + 1) * FEATURE_BITS);
    }
}

/* 32 full adders at once: set *sum to the lower bits of *sum + a + b, and return the carries. */
static uint32_t add(uint32_t *sum, uint32_t a, uint32_t b) {
  uint32_t odd = *sum ^ a, carry = (*sum & a) | (odd & b);
  *sum = odd ^ b;
  return carry;
}

/* Add rows of weights, one bit of each, to planes: eight at a time, so that carries are few. */
static void add_rows(const uint32_t *weights, const uint16_t *rows, int count, uint32_t *planes) {
  uint32_t ones = planes[0], twos = planes[1], fours = planes[2];
  for (; count > 0; count -= 8, rows += 8) {
    uint32_t a = add(&ones, weights[rows[0]], weights[rows[1]]);
    uint32_t b = add(&ones, weights[rows[2]], weights[rows[3]]);
    uint32_t c = add(&twos, a, b), carry;
    a = add(&ones, weights[rows[4]], weights[rows[5]]);
    b = add(&ones, weights[rows[6]], weights[rows[7]]);
    carry = add(&fours, c, add(&twos, a, b));
    for (uint32_t *plane = planes + 3; carry; plane++) carry = add(plane, carry, 0);
  }
  planes[0] = ones, planes[1] = twos, planes[2] = fours;
}

/* Add a number to all sums. */
static void add_number(uint32_t number, uint32_t *planes) {
  uint32_t carry = 0;
  for (int i = 0; i < PLANES; i++) carry = add(&planes[i], -(number >> i & 1), carry);
}

/* Which sums reach their threshold. */
static uint32_t reach(const uint32_t *planes, const uint32_t *thresholds) {
  uint32_t below = 0;
  for (int i = 0; i < PLANES; i++) {
    uint32_t inverse = ~planes[i];
    below = add(&inverse, thresholds[i], below);
  }
  return ~below;
}

/* The place of a word's lowest set bit: a de Bruijn sequence, shifted by it, starts with five bits
   that identify the shift. */
static int lowest(uint32_t word) {
  static const uint8_t PLACES[32] = {0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
                                     31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9};
  return PLACES[(word & -word) * 0x077cb531u >> 27];
}

/* List the rows of weights for a patch's features in which a bit is set; return their number. */
static int take_rows(const Layer *layer, const uint32_t *corner, int bit, uint16_t *rows) {
  int count = 0, size = layer->words_out * WEIGHT_BITS, row = size; /* behind a row of zeros */
  for (int i = 0; i < 9; i++, row += layer->channels * size) {
    int place = i / 3 * (layer->side + 2) + i % 3;
    const uint32_t *pixel = corner + place * layer->words * FEATURE_BITS + bit;
    for (int w = 0; w < layer->words; w++)
      for (uint32_t left = pixel[w * FEATURE_BITS]; left; left &= left - 1)
        rows[count++] = (uint16_t)(row + (w * LANES + lowest(left)) * size);
  }
  for (int i = 0; i < 7; i++) rows[count + i] = 0;
  return count;
}

/* All sums of a pixel, plus 2^(PLANES-1), so that none is negative. */
static void sum_up(const Layer *layer, const uint32_t *corner, const uint32_t *weights,
                   uint32_t sums[WORDS][PLANES]) {
  uint32_t least = (uint32_t)1 << (PLANES - 1);
  for (int w = 0; w < layer->words_out; w++) clear(sums[w], PLANES);
  for (int i = 0; i < FEATURE_BITS; i++) {
    uint16_t rows[9 * CHANNELS + 7];
    int count = take_rows(layer, corner, i, rows);
    least -= (uint32_t)count * ((1 << WEIGHT_BITS) - 1) << i;
    for (int w = 0; w < layer->words_out; w++)
      for (int j = 0; j < WEIGHT_BITS; j++)
        add_rows(weights + w * WEIGHT_BITS + j, rows, count, sums[w] + i + j + 1);
  }
  for (int w = 0; w < layer->words_out; w++) add_number(least, sums[w]);
}

/* Raise a word's features by one level where that level is reached. */
static void count_level(uint32_t reached, uint32_t *words) {
  for (int i = 0; i < FEATURE_BITS; i++) reached = add(&words[i], reached, 0);
}

static void convolve(const Layer *layer, const uint32_t *from, const uint32_t *weights,
                     const uint32_t *thresholds, uint32_t *to) {
  int window = 1 + layer->pool, side = layer->side / window, wide = side + 2;
  clear(to, wide * wide * layer->words_out * FEATURE_BITS);
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x++) {
      uint32_t reached[WORDS * LEVELS] = {0}, sums[WORDS][PLANES];
      uint32_t *pixel = to + ((y + 1) * wide + x + 1) * layer->words_out * FEATURE_BITS;
      for (int i = 0; i < window * window; i++) {
        int corner = (y * window + i / 2) * (layer->side + 2) + x * window + i % 2;
        sum_up(layer, from + corner * layer->words * FEATURE_BITS, weights, sums);
        for (int j = 0; j < layer->words_out * LEVELS; j++)
          reached[j] |= reach(sums[j / LEVELS], thresholds + j * PLANES);
      }
      for (int j = 0; j < layer->words_out * LEVELS; j++)
        count_level(reached[j], pixel + j / LEVELS * FEATURE_BITS);
    }
}

/* The average over the last map, and the last layer: in double, feature by feature. */
static void classify(const uint32_t *map, float *logits) {
  int32_t counts[CHANNELS] = {0};
  for (int y = 1; y <= LAST; y++)
    for (int x = 1; x <= LAST; x++)
      for (int c = 0; c < CHANNELS; c++) {
        const uint32_t *words =
            map + ((y * (LAST + 2) + x) * WORDS + c / LANES) * FEATURE_BITS;
        for (int i = 0; i < FEATURE_BITS; i++)
          counts[c] += (int32_t)(words[i] >> c % LANES & 1) << i;
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
  const uint32_t *weights = WEIGHTS, *thresholds = THRESHOLDS;
  convolve_image(image, maps[0]);
  for (int i = 0; i < LAYERS; i++) {
    const Layer *layer = &TOPOLOGY[i];
    convolve(layer, maps[i % 2], weights, thresholds, maps[1 - i % 2]);
    weights += (9 * layer->channels + 1) * layer->words_out * WEIGHT_BITS;
    thresholds += layer->words_out * LEVELS * PLANES;
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
