/* SPDX-License-Identifier: MIT
 *
 * The kernels of a SAC update (README.md derives it): the networks' forward pass (`forward.h`) and
 * backward pass (this file), the losses (`objective.h`), and Adam, which also writes the weights in
 * the layout that the next products read (`parameters.h`).
 *
 * `kernel_library.py` compiles this file once for each storage type of matrix factors: WK_STORE 32
 * (float32), 16 (bfloat16) or 64 (float64, for tests of the mathematics). Sums and parameters are
 * `real`: float32, or float64 for WK_STORE 64. Arrays are row-major without gaps unless a stride is
 * given; rows of stored numbers take whole units (`product.h`). NaNs propagate, so that a diverged
 * learner is noticed.
 */
#include "forward.h"
#include "objective.h"
#include "packed.h"
#include "parameters.h"
#include "product.h"

/* Arguments of the backward pass through one hidden layer. */
typedef struct wk_layer_backward {
    ptrdiff_t transposed_weight; /* not 0: weight and gradient are (H, in) */
    ptrdiff_t rows; /* rows of `d`, set by the pass: N, or the number of active samples */
    const wk_layer *layer;
    const wk_head *head;                   /* the head after the last layer, else NULL */
    const struct wk_layer_backward *above; /* the layer above, else NULL */
    const unit *weight;                    /* (H above, H) packed transpose of its weight */
    int32_t *samples;                      /* (N) sample index of each row of `d`, or NULL */
    store *d;                              /* (N, H) gradient with respect to the product */
    unit *d_packed;                        /* (N, H) `d` packed */
    const unit *x_packed;                  /* (N, in) the layer's input packed */
    real *d_weight;                        /* (in, H), or NULL for no parameter gradients */
    real *d_bias, *d_gain, *d_shift;       /* (H), or NULL */
} wk_layer_backward;

/* The actor loss backpropagates only through the minimising critic of each sample, and needs no
 * gradients of the critics' parameters. Samples whose gradient is zero are skipped: row n of `d`
 * belongs to sample `samples[n]`, in all layers of the network. */
static ptrdiff_t sample_index(const wk_layer_backward *args, ptrdiff_t n)
{
    return args->samples ? args->samples[n] : n;
}

static ptrdiff_t find_active_samples(const wk_layer_backward *args)
{
    const wk_head *h = args->head;
    ptrdiff_t found = 0;
    for (ptrdiff_t n = 0; n < args->layer->rows; n++)
        for (ptrdiff_t o = 0; o < h->outputs; o++)
            if (h->d_values[n * h->row_stride + o * h->output_stride] != 0) {
                args->samples[found++] = (int32_t)n;
                break;
            }
    return found;
}

/* Accumulates the gradients of the head's parameters and writes the gradient with respect to its
 * input row `x`. */
static void head_backward(const wk_head *h, const real *restrict x, ptrdiff_t n, ptrdiff_t width,
                          real *restrict row)
{
    for (ptrdiff_t o = 0; o < h->outputs; o++) {
        real d = h->d_values[n * h->row_stride + o * h->output_stride];
        const real *restrict w = h->weight + o * width;
        if (o == 0) {
#pragma omp simd
            for (ptrdiff_t j = 0; j < width; j++)
                row[j] = d * w[j];
        } else {
#pragma omp simd
            for (ptrdiff_t j = 0; j < width; j++)
                row[j] += d * w[j];
        }
        if (h->d_weight) {
            real *restrict d_w = h->d_weight + o * width;
#pragma omp simd
            for (ptrdiff_t j = 0; j < width; j++)
                d_w[j] += d * x[j];
            h->d_bias[o] += d;
        }
    }
}

static void clear(real *x, ptrdiff_t n)
{
    if (x)
        memset(x, 0, (size_t)n * sizeof *x);
}

/* Backward pass of y = gain * x_hat + shift, x_hat = (z - mean) * rstd, for one row. In: `row` is
 * dL/dy, `sum` the sum of dL/dy * gain, `product` the sum of dL/dy * gain * x_hat. Out: `row` and
 * `d` are dL/dz = rstd (dL/dy gain - sum / H - x_hat product / H); d_gain, d_shift and d_bias
 * accumulate. */
static inline void layernorm_backward_row(const wk_layer_backward *args, ptrdiff_t n, real *restrict row, real sum,
                         real product)
{
    const wk_layer *l = args->layer;
    ptrdiff_t width = l->width, sample = sample_index(args, n);
    const store *restrict normal = l->normal + sample * row_length(width);
    const real *restrict gain = l->gain;
    real rstd = l->rstd[sample];
    sum /= (real)width;
    product /= (real)width;
    if (args->d_bias) {
        real *restrict d_bias = args->d_bias, *restrict d_gain = args->d_gain;
        real *restrict d_shift = args->d_shift;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++) {
            real x = load(normal[j]), v = rstd * (row[j] * gain[j] - sum - x * product);
            d_gain[j] += row[j] * x;
            d_shift[j] += row[j];
            d_bias[j] += v;
            row[j] = v;
        }
    } else {
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            row[j] = rstd * (row[j] * gain[j] - sum - load(normal[j]) * product);
    }
    pack_row(row, width, args->d + n * row_length(width));
}

static void layernorm_relu_backward_pair(const wk_layer_backward *args, ptrdiff_t n, real *row, ptrdiff_t m, real *other)
{
    const wk_layer *l = args->layer;
    ptrdiff_t length = row_length(l->width);
    ptrdiff_t at = sample_index(args, n) * length, other_at = sample_index(args, m) * length;
    const store *normal = l->normal + at, *other_normal = l->normal + other_at;
    const store *active = l->active + at, *other_active = l->active + other_at;
    const real *gain = l->gain;
    real sum = 0, product = 0, other_sum = 0, other_product = 0;
#pragma omp simd reduction(+ : sum, product, other_sum, other_product)
    for (ptrdiff_t j = 0; j < l->width; j++) {
        row[j] = load(active[j]) <= 0 ? 0 : row[j];
        other[j] = load(other_active[j]) <= 0 ? 0 : other[j];
        real v = row[j] * gain[j], w = other[j] * gain[j];
        sum += v;
        product += v * load(normal[j]);
        other_sum += w;
        other_product += w * load(other_normal[j]);
    }
    layernorm_backward_row(args, n, row, sum, product);
    if (m != n)
        layernorm_backward_row(args, m, other, other_sum, other_product);
}

static inline void relu_backward_row(const wk_layer_backward *args, ptrdiff_t n, real *restrict row)
{
    ptrdiff_t width = args->layer->width, length = row_length(width);
    const store *restrict active = args->layer->active + sample_index(args, n) * length;
    real *restrict d_bias = args->d_bias;
#pragma omp simd
    for (ptrdiff_t j = 0; j < width; j++)
        row[j] = load(active[j]) <= 0 ? 0 : row[j];
    if (d_bias) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            d_bias[j] += row[j];
    }
    pack_row(row, width, args->d + n * length);
}

/* Loads dL/d(active) of rows [start, end) into the scratch: from the head, or from the layer above. */
static void load_upstream_grad(const wk_layer_backward *args, ptrdiff_t start, ptrdiff_t end, real *scratch)
{
    const wk_layer *l = args->layer;
    ptrdiff_t width = l->width, scratch_stride = scratch_row(width);
    if (!args->head) {
        ptrdiff_t depth = units(args->above->layer->width);
        product((int)(end - start), (const unit *)args->above->d + start * depth, depth, 1,
                args->weight, depth, width, scratch, scratch_stride);
        return;
    }
    real *restrict x = scratch + TILE * scratch_stride;
    for (ptrdiff_t n = start; n < end; n++) {
        ptrdiff_t sample = sample_index(args, n);
        const store *restrict active = l->active + sample * row_length(width);
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            x[j] = load(active[j]);
        head_backward(args->head, x, sample, width, scratch + (n - start) * scratch_stride);
    }
}

/* transpose(a) b for two packed factors: (rows, columns), summed over `depth` units. */
static void transposed_product(const unit *a, ptrdiff_t rows, const unit *b, ptrdiff_t columns,
                               ptrdiff_t depth, real *to, real *scratch)
{
    ptrdiff_t length = scratch_row(columns);
    for (ptrdiff_t i = 0; i < rows;) { /* a tile does not cross a panel of `a` */
        ptrdiff_t place = i % WIDTH, n = minimum(minimum(TILE, WIDTH - place), rows - i);
        real *c = length == columns ? to + i * columns : scratch;
        product((int)n, a + i / WIDTH * depth * WIDTH + place, 1, WIDTH, b, depth, columns, c,
                length);
        for (ptrdiff_t j = 0; j < n && c == scratch; j++)
            memcpy(to + (i + j) * columns, scratch + j * length, (size_t)columns * sizeof *to);
        i += n;
    }
}

static void backward(wk_layer_backward *args, real *scratch)
{
    const wk_layer *l = args->layer;
    ptrdiff_t width = l->width, length = row_length(width), scratch_stride = scratch_row(width);
    clear(args->d_bias, width);
    clear(args->d_gain, width);
    clear(args->d_shift, width);
    if (args->head) {
        clear(args->head->d_weight, width * args->head->outputs);
        clear(args->head->d_bias, args->head->d_weight ? args->head->outputs : 0);
    }
    args->rows = !args->samples ? l->rows : args->head ? find_active_samples(args) : args->above->rows;
    for (ptrdiff_t start = 0; start < args->rows; start += TILE) {
        ptrdiff_t end = minimum(start + TILE, args->rows);
        load_upstream_grad(args, start, end, scratch);
        for (ptrdiff_t n = start; n < end; n += l->gain ? 2 : 1) {
            real *row = scratch + (n - start) * scratch_stride;
            if (l->gain) {
                ptrdiff_t m = minimum(n + 1, end - 1);
                layernorm_relu_backward_pair(args, n, row, m, scratch + (m - start) * scratch_stride);
            } else {
                relu_backward_row(args, n, row);
            }
        }
        if (args->d_weight)
            pack_rows(args->d + start * length, length, start, end - start, l->rows, width,
                      args->d_packed);
    }
    if (args->d_weight && args->transposed_weight)
        transposed_product(args->d_packed, width, args->x_packed, l->inputs, units(l->rows),
                           args->d_weight, scratch);
    else if (args->d_weight)
        transposed_product(args->x_packed, l->inputs, args->d_packed, width, units(l->rows),
                           args->d_weight, scratch);
}

/* Backward pass through a network; `calls` runs from the last layer to the first. */
void wk_backward(wk_layer_backward *const *calls, ptrdiff_t n_calls, real *scratch)
{
    for (ptrdiff_t i = 0; i < n_calls; i++)
        backward(calls[i], scratch);
}

/* Adds the gradient with respect to some inputs of the first layer, (N, columns), to `to`; `weight`
 * is the packed transpose of their part of the weight, (H, columns). */
void wk_add_input_gradient(const wk_layer_backward *args, const unit *weight, ptrdiff_t columns,
                           real *restrict to, real *restrict scratch)
{
    ptrdiff_t depth = units(args->layer->width), scratch_stride = scratch_row(columns);
    for (ptrdiff_t start = 0; start < args->rows; start += TILE) {
        ptrdiff_t end = minimum(start + TILE, args->rows);
        product((int)(end - start), (const unit *)args->d + start * depth, depth, 1, weight, depth,
                columns, scratch, scratch_stride);
        for (ptrdiff_t n = start; n < end; n++)
            for (ptrdiff_t j = 0; j < columns; j++)
                to[sample_index(args, n) * columns + j] += scratch[(n - start) * scratch_stride + j];
    }
}

/* Arguments of `wk_store_input`: where (N, columns) numbers go, stored and packed (or NULL). */
typedef struct {
    ptrdiff_t rows, columns, to_stride;
    store *to;
    unit *packed;
} wk_input;

void wk_store_input(const wk_input *args, const real *from, ptrdiff_t from_stride)
{
    for (ptrdiff_t n = 0; n < args->rows; n++)
        pack_row(from + n * from_stride, args->columns, args->to + n * args->to_stride);
    if (args->packed)
        pack_rows(args->to, args->to_stride, 0, args->rows, args->rows, args->columns, args->packed);
}
