/* Exact sums of a student's convolutions, in plain C for vectors of any width.

   A quad is 4 neighbouring bits of a patch. What it adds to the output channels depends on which of 16
   values it has, and for each of them a row of a table lies ready, a byte for each channel: a pixel's
   sums are one row of every quad's table. With weights -3, -1, 1 and 3 no entry is further than 12 from
   0, so that bytes hold the sum of PIECE quads. The image's levels, 0 to 255, are multiplied. */

#pragma once

#include <stdint.h>
#include <string.h>

#include "processor.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bits are spread over neighbouring numbers as little-endian processors have them"
#endif

enum { LANES = 32, CHANNELS = 128, COLOURS = 3, IMAGE_ROW = 34 * COLOURS };
enum { ENTRIES = 16, PIECE = 6, MIDDLE = 128 }; /* a byte's middle: 0 is as far away as 255 */
/* An image with its border; what is read at once may end beyond that. */
enum { IMAGE_LEVELS = 34 * IMAGE_ROW + 4 };
/* Bytes of weights for an image: 9 groups of 4 inputs, 16 channels, 4 codes. */
enum { IMAGE_CODES = 9 * 16 * 4 };

/* How a path of processor.h computes; every path gives the same sums. Features are words of 32
   channels, or of 16, a pixel's after another's, with a border of zeros; no sum is as large as 2^15. */
typedef struct {
  void (*image_sums)(const uint8_t *levels, const int8_t *codes, int16_t *sums); /* conv1's */
  /* Every quad's table, from weights (channels_out, 9 channels_in). */
  void (*fill_tables)(const int8_t *codes, int channels_in, int channels_out, uint8_t *tables);
  void (*bit_sums)(const uint32_t *words, const uint8_t *tables, int side, int channels_in,
                   int channels_out, int16_t *sums);
  /* The bits of sums, or of the largest ones of 2x2 pixels, that reach their channel's limit. */
  void (*keep_bits)(const int16_t *sums, const int16_t *limits, int side, int channels, int pool,
                    uint32_t *words);
} Path;

const Path *bitstill_path(int path);

static inline int table_bytes(int channels_in, int channels_out) {
  return 9 * channels_in / 4 * ENTRIES * channels_out;
}
