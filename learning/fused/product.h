/* SPDX-License-Identifier: MIT
 *
 * Matrix products (M, K) (K, N), for sizes that stay in the cache.
 *
 * The sum over K runs in units: two consecutive bfloat16 numbers in 32 bits, which one instruction
 * multiplies and adds, or one number of another type. The right factor (K, N) is packed: panels of
 * WIDTH columns, one after the other, each holding for every unit of K its WIDTH units side by side;
 * incomplete units and panels are filled with zeros. So the inner loop reads memory in order, and a
 * factor is packed once for all its products.
 *
 * The left factor (M, K) is either row-major with rows of whole units, or the transpose of a packed
 * factor, whose units are side by side too. The gradient of a weight, transpose(x) d, needs only
 * the latter.
 */
#ifndef WK_PRODUCT_H
#define WK_PRODUCT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

/* A tile of TILE rows by VECTORS vectors of sums must fit the registers, besides its factors. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define VECTORS 4
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define VECTORS 2
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define VECTORS 4
#else
#define VECTOR_BYTES 16
#define VECTORS 2
#endif
#define TILE 6

#if WK_STORE == 64
typedef double real;
typedef double store;
#else
typedef float real;
#if WK_STORE == 16
typedef uint16_t store;
#else
typedef float store;
#endif
#endif

#if WK_STORE == 16
#define PER_UNIT 2
typedef uint32_t __attribute__((may_alias)) unit;
#else
#define PER_UNIT 1
typedef real unit;
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef unit unit_vec __attribute__((vector_size(VECTOR_BYTES)));
#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(real)))
#define WIDTH (VECTORS * LANES)

static inline ptrdiff_t units(ptrdiff_t numbers) { return (numbers + PER_UNIT - 1) / PER_UNIT; }
static inline ptrdiff_t panels(ptrdiff_t columns) { return (columns + WIDTH - 1) / WIDTH; }

/* sum + x y, with one unit for x. */
static inline vec add_product(vec sum, unit x, unit_vec y)
{
#if WK_STORE != 16
    return sum + x * y;
#elif defined(__AVX512BF16__)
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)x), (__m512bh)y);
#else
    unit_vec xs = (unit_vec){0} + x; /* bfloat16 is the upper half of float32 */
    return sum + (vec)(xs << 16) * (vec)(y << 16) + (vec)(xs & 0xffff0000u) * (vec)(y & 0xffff0000u);
#endif
}

/* One tile of sums. Unit k of row i of the left factor is at a + i * row + k * step. */
static inline __attribute__((always_inline)) void
tile(const int rows, const int vectors, const unit *a, ptrdiff_t row, ptrdiff_t step,
     const unit *b, ptrdiff_t depth, real *c, ptrdiff_t c_row)
{
    vec sum[TILE][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++)
            sum[i][j] = (vec){0};
    for (ptrdiff_t k = 0; k < depth; k++) {
        unit_vec y[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++)
            memcpy(&y[j], b + k * WIDTH + j * LANES, sizeof y[j]);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            unit x = a[i * row + k * step];
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++)
                sum[i][j] = add_product(sum[i][j], x, y[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++)
            memcpy(c + i * c_row + j * LANES, &sum[i][j], sizeof sum[i][j]);
}

/* At most TILE rows of the product, written to `c` in whole panels; its rows are `c_row` apart. */
static void product(int rows, const unit *a, ptrdiff_t row, ptrdiff_t step, const unit *b,
                    ptrdiff_t depth, ptrdiff_t columns, real *c, ptrdiff_t c_row)
{
    for (ptrdiff_t at = 0; at < columns; at += WIDTH, b += depth * WIDTH, c += WIDTH) {
#define ROWS(R)                                                                                    \
    case R:                                                                                        \
        if (columns - at <= LANES)                                                                 \
            tile(R, 1, a, row, step, b, depth, c, c_row);                                          \
        else                                                                                       \
            tile(R, VECTORS, a, row, step, b, depth, c, c_row);                                    \
        break;
        switch (rows) {
            ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
        }
#undef ROWS
    }
}

#endif
