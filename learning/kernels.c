/* SPDX-License-Identifier: MIT
 *
 * What lies between the matrix products of an update, each in one pass over memory: bias, layer
 * normalisation and ReLU, forward and backward; heads; Adam with the targets' average.
 *
 * Compiled three times by `kernels.py`, by the type that activations are stored in: WK_STORE 32
 * (float32), 16 (bfloat16) or 64 (float64, for proofs). Sums and parameters are in `real`. Arrays
 * are row-major without gaps, unless a stride says otherwise. Not-a-numbers pass through, so that
 * a diverged learner is seen.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if WK_STORE == 64
typedef double real;
typedef double store;
#define SQRT sqrt
#else
typedef float real;
#define SQRT sqrtf
#if WK_STORE == 16
typedef uint16_t store;
#else
typedef float store;
#endif
#endif

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
#else
static inline real load(store x) { return x; }
static inline store pack(real value) { return value; }
#endif

/* A hidden layer of one network, for N samples. */
typedef struct {
    ptrdiff_t rows, width;
    const store *linear; /* (N, H) products, without the bias */
    store *active;       /* (N, H) after ReLU */
    const real *bias;    /* (H) */
    const real *gain;    /* (H), or NULL where nothing is normalised */
    const real *shift;   /* (H) */
    real *mean, *rstd;   /* (N) */
    real eps;
} wk_layer;

/* The last layer; values(n, o) lies at n * row_stride + o * output_stride. */
typedef struct {
    ptrdiff_t outputs, row_stride, output_stride;
    const real *weight; /* (O, H) */
    const real *bias;   /* (O) */
    real *values;
    const real *d_values; /* like values */
    real *d_weight, *d_bias; /* or NULL where no gradient is wanted */
} wk_head;

/* The way back through a hidden layer. */
typedef struct {
    const wk_layer *layer;
    const wk_head *head; /* NULL: `d` holds the gradient with respect to `active` */
    store *d;            /* (N, H), becomes the gradient with respect to `linear` */
    real *d_bias, *d_gain, *d_shift; /* (H), or NULL where none is wanted */
} wk_backward_job;

/* What follows gets `room`: 4 H numbers to work in, which stay in the first-level cache. Rows that
 * are normalised go two by two, so that one's sums hide the latency of the other's; the last row of
 * an odd number goes with itself. */

/* Mean and reciprocal deviation, from sums over what is left of a row after taking off `pivot`,
 * one of its numbers: sums of squares of the numbers themselves would lose their digits. */
static inline void moments(const wk_layer *l, ptrdiff_t n, real pivot, real sum, real squares)
{
    real shifted = sum / (real)l->width, variance = squares / (real)l->width - shifted * shifted;
    l->mean[n] = pivot + shifted;
    l->rstd[n] = 1 / SQRT((variance < 0 ? 0 : variance) + l->eps);
}

static inline void normalise(const wk_layer *l, ptrdiff_t n, const real *restrict row)
{
    store *restrict y = l->active + n * l->width;
    const real *restrict gain = l->gain, *restrict shift = l->shift;
    real mean = l->mean[n], rstd = l->rstd[n];
#pragma omp simd
    for (ptrdiff_t j = 0; j < l->width; j++) {
        real v = (row[j] - mean) * rstd * gain[j] + shift[j];
        y[j] = pack(v < 0 ? 0 : v);
    }
}

static void forward_two(const wk_layer *l, ptrdiff_t n, ptrdiff_t m, real *restrict room)
{
    ptrdiff_t width = l->width;
    const store *x = l->linear + n * width, *y = l->linear + m * width;
    const real *restrict bias = l->bias;
    real *restrict row = room, *restrict other = room + width;
    real pivot = load(x[0]) + bias[0], other_pivot = load(y[0]) + bias[0];
    real sum = 0, squares = 0, other_sum = 0, other_squares = 0;
#pragma omp simd reduction(+ : sum, squares, other_sum, other_squares)
    for (ptrdiff_t j = 0; j < width; j++) {
        row[j] = load(x[j]) + bias[j];
        other[j] = load(y[j]) + bias[j];
        real v = row[j] - pivot, w = other[j] - other_pivot;
        sum += v;
        squares += v * v;
        other_sum += w;
        other_squares += w * w;
    }
    moments(l, n, pivot, sum, squares);
    moments(l, m, other_pivot, other_sum, other_squares);
    normalise(l, n, row);
    normalise(l, m, other);
}

void wk_forward(const wk_layer *l, real *restrict room)
{
    ptrdiff_t width = l->width;
    if (l->gain) {
        for (ptrdiff_t n = 0; n < l->rows; n += 2)
            forward_two(l, n, n + 1 < l->rows ? n + 1 : n, room);
        return;
    }
    const real *restrict bias = l->bias;
    for (ptrdiff_t n = 0; n < l->rows; n++) {
        const store *restrict x = l->linear + n * width;
        store *restrict y = l->active + n * width;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++) {
            real v = load(x[j]) + bias[j];
            y[j] = pack(v < 0 ? 0 : v);
        }
    }
}

void wk_head_forward(const wk_layer *l, const wk_head *h, real *restrict room)
{
    ptrdiff_t width = l->width;
    for (ptrdiff_t n = 0; n < l->rows; n++) {
        const store *restrict x = l->active + n * width;
        real *values = h->values + n * h->row_stride;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            room[j] = load(x[j]);
        ptrdiff_t o = 0;
        for (; o + 4 <= h->outputs; o += 4) { /* four at a time hide each other's latency */
            const real *restrict w = h->weight + o * width;
            real a = 0, b = 0, c = 0, d = 0;
#pragma omp simd reduction(+ : a, b, c, d)
            for (ptrdiff_t j = 0; j < width; j++) {
                a += room[j] * w[j];
                b += room[j] * w[j + width];
                c += room[j] * w[j + 2 * width];
                d += room[j] * w[j + 3 * width];
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
                sum += room[j] * w[j];
            values[o * h->output_stride] = sum + h->bias[o];
        }
    }
}

/* Adds up what the head's parameters get, and writes the gradient with respect to a row; `x` is
 * the row. */
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

/* The gradient with respect to a row of `active`, into `row`. */
static inline void arrive(const wk_backward_job *job, ptrdiff_t n, real *restrict row,
                          real *restrict room)
{
    ptrdiff_t width = job->layer->width;
    const store *restrict active = job->layer->active + n * width;
    const store *restrict d = job->d + n * width;
    if (job->head) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            room[j] = load(active[j]);
        head_backward(job->head, room, n, width, row);
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            row[j] = room[j] <= 0 ? 0 : row[j];
    } else {
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            row[j] = load(active[j]) <= 0 ? 0 : load(d[j]);
    }
}

/* From `row`, the gradient by the normalised row `normal` times gain plus shift, to that by the
 * products. */
static inline void leave(const wk_backward_job *job, ptrdiff_t n, const real *restrict row,
                         const real *restrict normal, real sum, real product)
{
    const wk_layer *l = job->layer;
    ptrdiff_t width = l->width;
    store *restrict d = job->d + n * width;
    const real *restrict gain = l->gain;
    real rstd = l->rstd[n];
    sum /= (real)width;
    product /= (real)width;
    if (job->d_bias) {
        real *restrict d_bias = job->d_bias, *restrict d_gain = job->d_gain;
        real *restrict d_shift = job->d_shift;
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++) {
            real v = rstd * (row[j] * gain[j] - sum - normal[j] * product);
            d_gain[j] += row[j] * normal[j];
            d_shift[j] += row[j];
            d_bias[j] += v;
            d[j] = pack(v);
        }
    } else {
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            d[j] = pack(rstd * (row[j] * gain[j] - sum - normal[j] * product));
    }
}

static void backward_two(const wk_backward_job *job, ptrdiff_t n, ptrdiff_t m, real *restrict room)
{
    const wk_layer *l = job->layer;
    ptrdiff_t width = l->width;
    const store *x = l->linear + n * width, *y = l->linear + m * width;
    const real *restrict bias = l->bias, *restrict gain = l->gain;
    real *restrict row = room, *restrict normal = room + width;
    real *restrict other = room + 2 * width, *restrict other_normal = room + 3 * width;
    real mean = l->mean[n], rstd = l->rstd[n], other_mean = l->mean[m], other_rstd = l->rstd[m];
    real sum = 0, product = 0, other_sum = 0, other_product = 0;
    arrive(job, n, row, normal);
    if (m != n)
        arrive(job, m, other, other_normal);
#pragma omp simd reduction(+ : sum, product, other_sum, other_product)
    for (ptrdiff_t j = 0; j < width; j++) {
        normal[j] = (load(x[j]) + bias[j] - mean) * rstd;
        other_normal[j] = (load(y[j]) + bias[j] - other_mean) * other_rstd;
        real v = row[j] * gain[j], w = other[j] * gain[j];
        sum += v;
        product += v * normal[j];
        other_sum += w;
        other_product += w * other_normal[j];
    }
    leave(job, n, row, normal, sum, product);
    if (m != n)
        leave(job, m, other, other_normal, other_sum, other_product);
}

void wk_backward(const wk_backward_job *job, real *restrict room)
{
    const wk_layer *l = job->layer;
    ptrdiff_t width = l->width;
    clear(job->d_bias, width);
    clear(job->d_gain, width);
    clear(job->d_shift, width);
    if (job->head) {
        clear(job->head->d_weight, width * job->head->outputs);
        clear(job->head->d_bias, job->head->d_weight ? job->head->outputs : 0);
    }
    if (l->gain) {
        memset(room + 2 * width, 0, (size_t)(2 * width) * sizeof *room);
        for (ptrdiff_t n = 0; n < l->rows; n += 2)
            backward_two(job, n, n + 1 < l->rows ? n + 1 : n, room);
        return;
    }
    real *restrict row = room, *restrict d_bias = job->d_bias;
    for (ptrdiff_t n = 0; n < l->rows; n++) {
        store *restrict d = job->d + n * width;
        arrive(job, n, row, room + width);
        if (d_bias) {
#pragma omp simd
            for (ptrdiff_t j = 0; j < width; j++)
                d_bias[j] += row[j];
        }
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            d[j] = pack(row[j]);
    }
}

/* Adam (Kingma & Ba 2015, algorithm 1) as torch.optim.Adam has it. */
typedef struct {
    ptrdiff_t size;
    real *parameter, *first, *second;
    const real *gradient;         /* either this, */
    const store *stored_gradient; /* or this */
    store *copy;                  /* of the parameters, or NULL */
    real rate, beta1, beta2, eps;
} wk_adam_job;

#define ADAM(GRADIENT, COPY)                                                                       \
    _Pragma("omp simd") for (ptrdiff_t i = 0; i < job->size; i++)                                  \
    {                                                                                              \
        real g = GRADIENT;                                                                         \
        real m = first[i] + (g - first[i]) * (1 - job->beta1);                                     \
        real v = job->beta2 * second[i] + (1 - job->beta2) * g * g;                                \
        first[i] = m;                                                                              \
        second[i] = v;                                                                             \
        p[i] -= step * m / (SQRT(v) * root + job->eps);                                            \
        COPY;                                                                                      \
    }

/* `correction1`, `correction2`: 1 - beta^t of the first and second moment. */
void wk_adam(const wk_adam_job *job, double correction1, double correction2)
{
    real *restrict p = job->parameter, *restrict first = job->first;
    real *restrict second = job->second;
    const real *restrict gradient = job->gradient;
    const store *restrict stored = job->stored_gradient;
    real step = (real)(job->rate / correction1), root = (real)(1 / sqrt(correction2));
    store *restrict copy = job->copy;
    if (gradient && copy) {
        ADAM(gradient[i], copy[i] = pack(p[i]))
    } else if (gradient) {
        ADAM(gradient[i], )
    } else if (copy) {
        ADAM(load(stored[i]), copy[i] = pack(p[i]))
    } else {
        ADAM(load(stored[i]), )
    }
}

/* target += tau (live - target); the first `n_copied` of what it becomes also go to `copy`. */
void wk_follow(real *restrict target, const real *restrict live, ptrdiff_t size,
               store *restrict copy, ptrdiff_t n_copied, double tau)
{
    real share = (real)tau;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n_copied; i++) {
        target[i] += share * (live[i] - target[i]);
        copy[i] = pack(target[i]);
    }
#pragma omp simd
    for (ptrdiff_t i = n_copied; i < size; i++)
        target[i] += share * (live[i] - target[i]);
}
