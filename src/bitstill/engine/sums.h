/* Exact sums of a student's convolutions, in plain C for vectors of any width.

   A quad is 4 neighbouring bits of a patch. What it adds to the output channels depends only on which of
   16 values it has: its table holds a row for each of them, one byte per channel. A pixel's sums are
   the sum of one row from every quad's table. With weights -3, -1, 1 and 3 no entry is further than 12
   from 0, so a byte holds the sum of PIECE quads. The image's levels, 0 to 255, are multiplied. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "processor.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bits are spread over neighbouring numbers as little-endian processors have them"
#endif

enum { LANES = 32, CHANNELS = 128, COLOURS = 3, IMAGE_ROW = 34 * COLOURS };
enum { ENTRIES = 16, PIECE = 6, MIDDLE = 128 }; /* the middle of a byte's range */
/* An image with its border, and the bytes beyond it that the last vector reads. */
enum { IMAGE_LEVELS = 34 * IMAGE_ROW + 4 };
/* Bytes of weights for an image: 9 groups of 4 inputs, 16 channels, 4 codes. */
enum { IMAGE_CODES = 9 * 16 * 4 };

/* The functions of a path (see processor.h); every path gives the same sums. Features are words of 32
   channels, or of 16, pixel after pixel, with a border of zeros. All sums are below 2^15 in size. */
typedef struct {
  void (*image_sums)(const uint8_t *levels, const int8_t *codes, int16_t *sums); /* of conv1 */
  /* Fill the tables of all quads from weights (channels_out, 9 channels_in). */
  void (*fill_tables)(const int8_t *codes, int channels_in, int channels_out, uint8_t *tables);
  void (*bit_sums)(const uint32_t *words, const uint8_t *tables, int side, int channels_in,
                   int channels_out, int16_t *sums);
  /* Write which sums, or which largest ones of 2x2 pixels, reach their channel's limit, as bits. */
  void (*keep_bits)(const int16_t *sums, const int16_t *limits, int side, int channels, int pool,
                    uint32_t *words);
} Path;

const Path *bitstill_path(int path);

static inline int table_bytes(int channels_in, int channels_out) {
  return 9 * channels_in / 4 * ENTRIES * channels_out;
}
