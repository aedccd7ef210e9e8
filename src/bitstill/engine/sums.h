/* Exact sums of a student's convolutions, in plain C for vectors of any width.

   A quad is 4 neighbouring bits of a patch. What it adds to the output channels depends on which of
   16 values it has, so its table has a row for each value, with a byte for each channel: a pixel's
   sums add up one row of every quad's table. With weights -3, -1, 1 and 3, every entry is between
   -12 and 12, so the sum of PIECE quads fits in a byte. The image has levels 0 to 255 instead of
   bits, so its sums need multiplications. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "processor.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bits are spread over neighbouring numbers as little-endian processors have them"
#endif

enum { LANES = 32, CHANNELS = 128, COLOURS = 3, IMAGE_ROW = 34 * COLOURS };
enum { ENTRIES = 16, PIECE = 6, MIDDLE = 128 }; /* MIDDLE of a byte's range, 0 to 255 */
/* An image with its border, and room for reads of several bytes that end beyond it. */
enum { IMAGE_LEVELS = 34 * IMAGE_ROW + 4 };
/* Bytes of weights for an image: 9 groups of 4 inputs, 16 channels, 4 codes. */
enum { IMAGE_CODES = 9 * 16 * 4 };

/* How a path of processor.h computes; every path gives the same sums. Features are words of 32
   channels, or of 16, pixel after pixel, with a border of zeros. Every sum is below 2^15. */
typedef struct {
  void (*image_sums)(const uint8_t *levels, const int8_t *codes, int16_t *sums); /* conv1's */
  /* Fills every quad's table from weights (channels_out, 9 channels_in). */
  void (*fill_tables)(const int8_t *codes, int channels_in, int channels_out, uint8_t *tables);
  void (*bit_sums)(const uint32_t *words, const uint8_t *tables, int side, int channels_in,
                   int channels_out, int16_t *sums);
  /* Sets the bits of sums, or of the largest of 2x2 pixels, that reach their channel's limit. */
  void (*keep_bits)(const int16_t *sums, const int16_t *limits, int side, int channels, int pool,
                    uint32_t *words);
} Path;

const Path *bitstill_path(int path);

static inline int table_bytes(int channels_in, int channels_out) {
  return 9 * channels_in / 4 * ENTRIES * channels_out;
}
