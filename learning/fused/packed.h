/* SPDX-License-Identifier: MIT
 *
 * Conversion of numbers into the layouts that `product.h` reads.
 */
#ifndef WK_PACKED_H
#define WK_PACKED_H

#include "product.h"

#if WK_STORE == 16
static inline real load(store x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline store pack(real value) /* to nearest, ties to even */
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (store)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

static inline unit join(store first, store second) { return first | (unit)second << 16; }
#else
static inline real load(store x) { return x; }
static inline store pack(real value) { return value; }
static inline unit join(store first, store second)
{
    (void)second;
    return first;
}
#endif

/* Converts a row of `real` into stored numbers. */
static inline void pack_row(const real *restrict from, ptrdiff_t n, store *restrict to)
{
    ptrdiff_t j = 0;
#if WK_STORE == 16 && defined(__AVX512BF16__)
    for (; j + LANES <= n; j += LANES) {
        __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + j));
        memcpy(to + j, &rounded, sizeof rounded);
    }
#endif
#pragma omp simd
    for (ptrdiff_t i = j; i < n; i++)
        to[i] = pack(from[i]);
}

static inline ptrdiff_t minimum(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }

/* Length of a row of `columns` stored numbers, rounded up to whole units. */
static inline ptrdiff_t row_length(ptrdiff_t columns) { return units(columns) * PER_UNIT; }

/* Packs PER_UNIT rows, which are one unit of each column, into all panels; `to` is the unit's place
 * in the first panel, `depth` the number of units that a panel holds per column. */
static inline void pack_unit(const store *first, const store *second, ptrdiff_t columns,
                             unit *to, ptrdiff_t depth)
{
    for (ptrdiff_t at = 0; at < columns; at += WIDTH, to += depth * WIDTH) {
        unit *restrict part = to;
        ptrdiff_t n = minimum(WIDTH, columns - at);
#pragma omp simd
        for (ptrdiff_t j = 0; j < n; j++)
            part[j] = join(first[at + j], second[at + j]);
    }
}

/* Packs rows [start, start + count) of a right factor of `total` rows. `start` is the first row of
 * a unit; if `count` is odd, a row of zeros must follow. */
static inline void pack_rows(const store *rows, ptrdiff_t stride, ptrdiff_t start, ptrdiff_t count,
                             ptrdiff_t total, ptrdiff_t columns, unit *to)
{
    for (ptrdiff_t i = 0; i < count; i += PER_UNIT) {
        const store *first = rows + i * stride;
        pack_unit(first, PER_UNIT == 1 ? first : first + stride, columns,
                  to + (start + i) / PER_UNIT * WIDTH, units(total));
    }
}

/* Packs rows [start, start + count) as columns of a right factor (its transpose). */
static inline void pack_columns(const store *rows, ptrdiff_t stride, ptrdiff_t start,
                                ptrdiff_t count, ptrdiff_t columns, unit *to)
{
    ptrdiff_t depth = units(columns);
    for (ptrdiff_t i = 0; i < count;) { /* up to the end of the panel */
        ptrdiff_t place = (start + i) % WIDTH, n = minimum(WIDTH - place, count - i);
        unit *panel = to + (start + i) / WIDTH * depth * WIDTH + place;
        for (ptrdiff_t k = 0; k < depth; k++)
            for (ptrdiff_t j = 0; j < n; j++)
                panel[k * WIDTH + j] = ((const unit *)(rows + (i + j) * stride))[k];
        i += n;
    }
}

#endif
