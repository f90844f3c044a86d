/* SPDX-License-Identifier: MIT
 *
 * Forward pass of a network. TILE rows at a time go through a layer's product, bias, normalisation
 * and ReLU before they are written to memory.
 */
#ifndef WK_FORWARD_H
#define WK_FORWARD_H

#include "packed.h"
#include "parameters.h"
#include "product.h"

/* A hidden layer of one network, for N samples. */
typedef struct {
    ptrdiff_t rows, inputs, width;
    ptrdiff_t x_stride;
    const store *x;      /* (N, in) */
    const unit *weight;  /* (in, H) packed */
    const real *bias;    /* (H) */
    const real *gain;    /* (H), or NULL without layer normalisation */
    const real *shift;   /* (H) */
    store *active;       /* (N, H) after ReLU */
    store *normal;       /* (N, H) normalised rows, kept for backward, or NULL */
    real *rstd;          /* (N) their reciprocal standard deviations, or NULL */
    unit *packed;        /* (N, H) `active` packed, for the next weight's gradient, or NULL */
    real eps;
} wk_layer;

/* The output layer; values(n, o) is at n * row_stride + o * output_stride. */
typedef struct {
    ptrdiff_t outputs, row_stride, output_stride;
    const real *weight; /* (O, H) */
    const real *bias;   /* (O) */
    real *values;
    const real *td_target;   /* laid out like values, or NULL */
    real *d_values;          /* like values; with td_target, set to scale (values - td_target) */
    real *d_weight, *d_bias; /* (O, H), (O), or NULL for no parameter gradients */
    real scale;
} wk_head;

/* The functions below work in `scratch`, which stays in the first-level cache: TILE rows of whole
 * panels for products, then one row for a head's input. Normalised rows are handled in pairs, so
 * that the sums of one hide the latency of the other's; an odd last row is paired with itself. */
_Static_assert(STRIP > TILE, "scratch holds STRIP rows");

static ptrdiff_t scratch_row(ptrdiff_t width) { return panels(width) * WIDTH; }

/* Numbers of scratch that a matrix of `width` columns, or a layer of `width` units, needs. */
ptrdiff_t wk_scratch_size(ptrdiff_t width) { return STRIP * scratch_row(width); }

/* Stored numbers in a packed factor of (rows, columns). */
ptrdiff_t wk_packed_size(ptrdiff_t rows, ptrdiff_t columns)
{
    return panels(columns) * WIDTH * units(rows) * PER_UNIT;
}

/* Mean and reciprocal standard deviation of a row, from the sums of (x - pivot) and its square, where
 * `pivot` is one of the row's numbers: sums of x and x^2 themselves would cancel. */
typedef struct {
    real mean, rstd;
} wk_moments;

static inline wk_moments moments(const wk_layer *l, real pivot, real sum, real squares)
{
    real shifted = sum / (real)l->width, variance = squares / (real)l->width - shifted * shifted;
    wk_moments result = {pivot + shifted, 1 / SQRT((variance < 0 ? 0 : variance) + l->eps)};
    return result;
}

/* Layer normalisation and ReLU of one row, in place. */
static inline void normalise(const wk_layer *l, ptrdiff_t n, real *restrict row, wk_moments m)
{
    ptrdiff_t width = l->width, at = n * row_length(width);
    const real *restrict gain = l->gain, *restrict shift = l->shift, *restrict bias = l->bias;
#pragma omp simd
    for (ptrdiff_t j = 0; j < width; j++)
        row[j] = (row[j] + bias[j] - m.mean) * m.rstd;
    if (l->normal) {
        pack_row(row, width, l->normal + at);
        l->rstd[n] = m.rstd;
    }
#pragma omp simd
    for (ptrdiff_t j = 0; j < width; j++) {
        real v = row[j] * gain[j] + shift[j];
        row[j] = v < 0 ? 0 : v;
    }
    pack_row(row, width, l->active + at);
}

static void layernorm_relu_forward_pair(const wk_layer *l, ptrdiff_t n, real *row, ptrdiff_t m, real *other)
{
    const real *bias = l->bias;
    real pivot = row[0] + bias[0], other_pivot = other[0] + bias[0];
    real sum = 0, squares = 0, other_sum = 0, other_squares = 0;
#pragma omp simd reduction(+ : sum, squares, other_sum, other_squares)
    for (ptrdiff_t j = 0; j < l->width; j++) {
        real v = row[j] + bias[j] - pivot, w = other[j] + bias[j] - other_pivot;
        sum += v;
        squares += v * v;
        other_sum += w;
        other_squares += w * w;
    }
    normalise(l, n, row, moments(l, pivot, sum, squares));
    if (m != n)
        normalise(l, m, other, moments(l, other_pivot, other_sum, other_squares));
}

static inline void relu_forward_row(const wk_layer *l, ptrdiff_t n, real *restrict row)
{
    const real *restrict bias = l->bias;
#pragma omp simd
    for (ptrdiff_t j = 0; j < l->width; j++) {
        real v = row[j] + bias[j];
        row[j] = v < 0 ? 0 : v;
    }
    pack_row(row, l->width, l->active + n * row_length(l->width));
}

static void head_error(const wk_head *h, ptrdiff_t n)
{
    for (ptrdiff_t o = 0; o < h->outputs; o++) {
        ptrdiff_t at = n * h->row_stride + o * h->output_stride;
        h->d_values[at] = h->scale * (h->values[at] - h->td_target[at]);
    }
}

/* The head's values of rows [start, end), and their TD errors if there are targets. */
static void head_forward(const wk_layer *l, const wk_head *h, ptrdiff_t start, ptrdiff_t end,
                         real *restrict scratch)
{
    ptrdiff_t width = l->width;
    for (ptrdiff_t n = start; n < end; n++) {
        const store *restrict x = l->active + n * row_length(width);
        real *values = h->values + n * h->row_stride;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            scratch[j] = load(x[j]);
        ptrdiff_t o = 0;
        for (; o + 4 <= h->outputs; o += 4) { /* four sums at a time hide each other's latency */
            const real *restrict w = h->weight + o * width;
            real a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
            for (ptrdiff_t j = 0; j < width; j++) {
                a += scratch[j] * w[j];
                b += scratch[j] * w[j + width];
                c += scratch[j] * w[j + 2 * width];
                d += scratch[j] * w[j + 3 * width];
            }
            values[o * h->output_stride] = a + h->bias[o];
            values[(o + 1) * h->output_stride] = b + h->bias[o + 1];
            values[(o + 2) * h->output_stride] = c + h->bias[o + 2];
            values[(o + 3) * h->output_stride] = d + h->bias[o + 3];
        }
        for (; o < h->outputs; o++) {
            const real *restrict w = h->weight + o * width;
            real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (ptrdiff_t j = 0; j < width; j++)
                sum += scratch[j] * w[j];
            values[o * h->output_stride] = sum + h->bias[o];
        }
        if (h->td_target)
            head_error(h, n);
    }
}

/* One layer, followed by the head if it is the last. */
static void forward(const wk_layer *l, const wk_head *head, real *scratch)
{
    ptrdiff_t width = l->width, length = row_length(width), scratch_stride = scratch_row(width);
    ptrdiff_t stride = l->x_stride / PER_UNIT;
    for (ptrdiff_t start = 0; start < l->rows; start += TILE) {
        ptrdiff_t end = minimum(start + TILE, l->rows);
        product((int)(end - start), (const unit *)l->x + start * stride, stride, 1, l->weight,
                units(l->inputs), width, scratch, scratch_stride);
        for (ptrdiff_t n = start; n < end; n += l->gain ? 2 : 1) {
            real *row = scratch + (n - start) * scratch_stride;
            if (l->gain) {
                ptrdiff_t m = minimum(n + 1, end - 1);
                layernorm_relu_forward_pair(l, n, row, m, scratch + (m - start) * scratch_stride);
            } else {
                relu_forward_row(l, n, row);
            }
        }
        if (l->packed)
            pack_rows(l->active + start * length, length, start, end - start, l->rows, width,
                      l->packed);
        if (head)
            head_forward(l, head, start, end, scratch + TILE * scratch_stride);
    }
}

void wk_forward(const wk_layer *const *layers, ptrdiff_t n_layers, const wk_head *head, real *scratch)
{
    for (ptrdiff_t i = 0; i < n_layers; i++)
        forward(layers[i], i + 1 < n_layers ? NULL : head, scratch);
}

#endif
