/* The gradient of a block's weights, by table: features are bits, so a sum over 4 neighbouring
   pixels, x0 g0 + x1 g1 + x2 g2 + x3 g3, is one of 16 that all weights of an output channel share.

   4 pixels of a row are a quad. A quad's table has 16 sums of the gradient for each channel; for
   each tap and input channel, the quad's bits are an index into it. So 4 products per channel cost
   one addition, for 16 channels at a time, over a tile of at most 16 quads, whose tables stay in
   the cache. Each tile's sums start at zero and are then added to the totals, so the order of
   additions is the same on every processor. */

#include "training.h"

enum { TILE = 16, BLOCK = WIDTH == 16 ? 16 : 4, WINDOW = 9 };
/* Bytes of features and of indices: the most that any block takes, with 18 x 18 x 32 features or
   with 4 images of 128 channels. */
enum { PIXEL_BYTES = 18 * 18 * 32, INDEX_BYTES = 4 * 3 * 6 * 128 };

typedef struct {
  Lanes sums[16][PARTS];
} Table;

/* How a block's images are divided: `quads` per row, `rows` and `images` per tile, and strides. */
typedef struct {
  int side, channels, quads, rows, images, next_row, next_shift, next_image;
} Tiles;

static Tiles tiles_of(const Training *b) {
  Tiles t = {.side = b->side, .channels = b->channels_in, .quads = b->side / 4, .images = 1};
  t.rows = TILE / t.quads < t.side ? TILE / t.quads : t.side;
  if (t.rows == t.side) t.images = TILE / (t.side * t.quads);
  t.next_row = t.quads * t.channels;
  t.next_shift = (t.side + 2) * t.next_row;
  t.next_image = 3 * t.next_shift;
  return t;
}

/* Write features as bytes, 0 or 1, with a border of zeros. */
INLINE void spread_bits(const uint32_t *x, const Tiles *t, uint8_t *pixels) {
  int row = t->side * t->channels, padded = row + 2 * t->channels;
  memset(pixels, 0, (size_t)((t->side + 2) * padded));
  for (int y = 0; y < t->side; y++, x += row) {
    uint8_t *to = pixels + (y + 1) * padded + t->channels;
    for (int i = 0; i < row; i++) to[i] = x[i] != 0;
  }
}

/* Write where each quad's bits point in its table, in units of 8 bytes: for the three shifts of a
   tap along a row, for every row including the border's, every quad and every channel. */
INLINE void index_quads(const uint8_t *pixels, const Tiles *t, uint8_t *index) {
  int channels = t->channels, scale = (int)sizeof(Lanes) * PARTS / 8;
  for (int shift = 0; shift < 3; shift++)
    for (int y = 0; y < t->side + 2; y++)
      for (int quad = 0; quad < t->quads; quad++, index += channels) {
        const uint8_t *p = pixels + (y * (t->side + 2) + 4 * quad + shift) * channels;
        for (int c = 0; c < channels; c++) {
          int bits = p[c] | p[channels + c] << 1 | p[2 * channels + c] << 2 | p[3 * channels + c] << 3;
          index[c] = (uint8_t)(bits * scale);
        }
      }
}

static CLONES void index_image(const Training *b, int64_t n, const Tiles *t, uint8_t *index) {
  uint8_t pixels[PIXEL_BYTES];
  spread_bits(b->x + n * t->side * t->side * t->channels, t, pixels);
  index_quads(pixels, t, index);
}

/* Fill each quad's table with the 16 sums of its 4 pixels' gradients, for GROUP channels. */
static CLONES void quad_tables(const float *gradient, int channels, int quads, Table *table) {
  for (int quad = 0; quad < quads; quad++, table++, gradient += 4 * channels)
#pragma GCC unroll 4
    for (int part = 0; part < PARTS; part++) {
      Lanes sums[16] = {{0}};
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        Lanes g = *(const Lanes *)(gradient + i * channels + part * WIDTH);
#pragma GCC unroll 8
        for (int rest = 0; rest < 1 << i; rest++) sums[rest | 1 << i] = sums[rest] + g;
      }
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) table->sums[i][part] = sums[i];
    }
}

/* Add a tile's products to the totals of all taps and input channels, BLOCK channels at a time. */
static CLONES void add_tile(const Table *tables, const uint8_t *index, const Tiles *t, int images, int quads,
                            float *products) {
  for (int tap = 0; tap < WINDOW; tap++) {
    const uint8_t *first = index + tap / 3 * t->next_row + tap % 3 * t->next_shift;
    for (int c = 0; c < t->channels; c += BLOCK, products += BLOCK * GROUP) {
      Lanes sums[BLOCK * PARTS] = {{0}};
      const char *table = (const char *)tables;
      for (int n = 0; n < images; n++) {
        const uint8_t *at = first + n * t->next_image + c;
        for (int quad = 0; quad < quads; quad++, at += t->channels, table += sizeof(Table))
#pragma GCC unroll 16
          for (int i = 0; i < BLOCK; i++) {
            const Lanes *entry = (const Lanes *)(table + 8 * (int64_t)at[i]);
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; part++) sums[i * PARTS + part] += entry[part];
          }
      }
      Lanes *to = (Lanes *)products;
#pragma GCC unroll 16
      for (int i = 0; i < BLOCK * PARTS; i++) to[i] += sums[i];
    }
  }
}

/* Fill the gradient of the weights of some groups of output channels, summed over all images. */
void PASS(weights)(const Training *b, int64_t from, int64_t to) {
  uint8_t index[INDEX_BYTES];
  Table tables[TILE] __attribute__((aligned(64))); /* no vector straddles two cache lines */
  Tiles t = tiles_of(b);
  int64_t each = WINDOW * b->channels_in, row = b->side * b->channels_out;
  memset(b->products + from * each * GROUP, 0, (size_t)((to - from) * each * GROUP) * sizeof(float));
  for (int64_t n = 0; n < b->images; n += t.images) {
    int images = b->images - n < t.images ? (int)(b->images - n) : t.images;
    for (int i = 0; i < images; i++) index_image(b, n + i, &t, index + i * t.next_image);
    for (int64_t group = from; group < to; group++)
      for (int y = 0; y < t.side; y += t.rows) {
        int rows = t.side - y < t.rows ? t.side - y : t.rows, quads = rows * t.quads;
        const float *gradient = b->gradient + (n * t.side + y) * row + group * GROUP;
        quad_tables(gradient, b->channels_out, images * quads, tables);
        add_tile(tables, index + y * t.next_row, &t, images, quads, b->products + group * each * GROUP);
      }
  }
  for (int64_t group = from; group < to; group++)
    for (int c = 0; c < GROUP; c++)
      for (int64_t i = 0; i < each; i++)
        b->weight_gradient[(group * GROUP + c) * each + i] =
            b->products[(group * each + i) * GROUP + c];
}
