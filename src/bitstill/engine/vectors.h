/* The functions of sums.h on features, for vectors of BYTES bytes. Included once for each width:
   NAME makes the functions' names, and TARGET says which processor they are compiled for. */

typedef uint8_t NAME(Bytes) __attribute__((vector_size(BYTES), aligned(16), may_alias));
typedef uint16_t NAME(Pairs) __attribute__((vector_size(BYTES), aligned(2), may_alias));

TARGET static void NAME(fill_table)(int8_t (*codes)[CHANNELS], int channels, uint8_t *restrict table) {
  memset(table, 0, (size_t)channels);
  for (int bit = 0, entry = 1; bit < 4; bit++)
    for (int less = 0, half = entry; less < half; less++, entry++)
      for (int c = 0; c < channels; c++)
        table[entry * channels + c] = (uint8_t)(table[less * channels + c] + codes[bit][c]);
}

/* In each vector of a row, the first half of its channels lies in the even bytes and the second
   half in the odd ones, so that widening either gives neighbouring channels. */
TARGET static void NAME(fill_tables)(const int8_t *codes, int channels_in, int channels_out, uint8_t *tables) {
  int group = channels_out < BYTES ? channels_out : BYTES, each = 9 * channels_in, places[CHANNELS];
  int8_t placed[4][CHANNELS];
  for (int c = 0; c < channels_out; c++) {
    int within = c % group;
    places[c] = c - within + within % (group / 2) * 2 + within / (group / 2);
  }
  for (int first = 0; first < each; first += 4, tables += ENTRIES * channels_out) {
    for (int c = 0; c < channels_out; c++)
      for (int i = 0; i < 4; i++) placed[i][places[c]] = codes[c * each + first + i];
    NAME(fill_table)(placed, channels_out, tables);
  }
}

/* Write where each quad's row lies in its table: four numbers at a time, from 16 bits. */
TARGET INLINE void NAME(find_rows)(const uint32_t *words, int count, const int halves, int channels,
                                   uint16_t *restrict rows) {
  for (int i = 0; i < count; i++)
    for (int half = 0; half < halves; half++) {
      uint64_t bits = words[i] >> 16 * half & 0xffff;
      bits = (bits | bits << 24) & 0x000000ff000000ff;
      bits = (bits | bits << 12) & 0x000f000f000f000f;
      bits *= (uint64_t)channels;
      memcpy(rows + 4 * (halves * i + half), &bits, sizeof bits);
    }
}

/* Add the rows of up to 4 pixels at a time, in registers. Bytes start at MIDDLE, so that none of
   their sums is below 0. */
TARGET INLINE void NAME(add_rows)(const int channels, const uint16_t *rows, const uint8_t *tables, int side,
                                  int step, int16_t *sums) {
  const int parts = channels / BYTES, pixels = parts < 4 ? 4 / parts : 1, all = parts * pixels;
  const uint16_t before = (uint16_t)(-MIDDLE * (9 * step / PIECE));
  int line = (side + 2) * step;
  for (int y = 0; y < side; y++)
    for (int x = 0; x < side; x += pixels, sums += pixels * channels) {
      const uint16_t *row = rows + y * line + x * step;
      const uint8_t *table = tables;
      NAME(Pairs) even[8], odd[8];
#pragma GCC unroll 8
      for (int i = 0; i < all; i++) even[i] = odd[i] = (NAME(Pairs)){0} + before;
      for (int i = 0; i < 3; i++, row += line)
        for (int start = 0; start < 3 * step; start += PIECE) {
          NAME(Bytes) bytes[8];
#pragma GCC unroll 8
          for (int j = 0; j < all; j++) bytes[j] = (NAME(Bytes)){0} + MIDDLE;
#pragma GCC unroll 2
          for (int quad = start; quad < start + PIECE; quad++, table += ENTRIES * channels)
#pragma GCC unroll 8
            for (int j = 0; j < all; j++) {
              const uint8_t *entry = table + row[j / parts * step + quad];
              bytes[j] += *(const NAME(Bytes) *)(entry + j % parts * BYTES);
            }
#pragma GCC unroll 8
          for (int j = 0; j < all; j++) {
            even[j] += (NAME(Pairs))bytes[j] & 255;
            odd[j] += (NAME(Pairs))bytes[j] >> 8;
          }
        }
#pragma GCC unroll 8
      for (int j = 0; j < all; j++) {
        ((NAME(Pairs) *)sums)[2 * j] = even[j];
        ((NAME(Pairs) *)sums)[2 * j + 1] = odd[j];
      }
    }
}

TARGET static void NAME(bit_sums)(const uint32_t *words, const uint8_t *tables, int side,
                                  int channels_in, int channels_out, int16_t *sums) {
#if BYTES > 32
  if (channels_out == 32) {
    bit_sums_avx2(words, tables, side, channels_in, channels_out, sums);
    return;
  }
#endif
  uint16_t rows[18 * 18 * 8];
  int step = channels_in / 4, depth = (step + 7) / 8, count = (side + 2) * (side + 2) * depth;
  if (channels_in < LANES) NAME(find_rows)(words, count, 1, channels_out, rows);
  else NAME(find_rows)(words, count, 2, channels_out, rows);
#if BYTES <= 32
  if (channels_out == 32) NAME(add_rows)(32, rows, tables, side, step, sums);
#endif
  if (channels_out == 64) NAME(add_rows)(64, rows, tables, side, step, sums);
  if (channels_out == 128) NAME(add_rows)(128, rows, tables, side, step, sums);
}

TARGET static void NAME(keep_bits)(const int16_t *sums, const int16_t *limits, int side,
                                   int channels, int pool, uint32_t *words) {
  int window = 1 + pool, right = pool * channels, below = side * right;
  int depth = (channels + LANES - 1) / LANES, width = side / window + 2;
  for (int y = 0; y < side / window; y++, sums += below)
    for (int x = 0; x < side / window; x++, sums += right)
      for (int c = 0; c < channels; c += 16, sums += 16) {
        uint32_t *to = words + (y * width + x) * depth + c / LANES;
        uint32_t found = NAME(reached)(sums, right, below, limits + c);
        *to = c % LANES ? *to | found << 16 : found;
      }
}
