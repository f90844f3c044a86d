/* SPDX-License-Identifier: MIT
 *
 * An update's networks, there (`forward.h`) and back, here; what SAC asks of them (`objective.h`);
 * and the optimiser, which leaves the weights as the next products read them (`parameters.h`).
 *
 * Compiled three times by `kernel_library.py`, by the type that factors of products are stored in:
 * WK_STORE 32 (float32), 16 (bfloat16) or 64 (float64, for proofs). Sums and parameters are `real`,
 * float32 or float64. Arrays are row-major without gaps, unless a stride says otherwise; rows of stored numbers
 * take whole units (see `product.h`). Not-a-numbers pass through, so that a diverged learner is
 * seen.
 */
#include "forward.h"
#include "objective.h"
#include "packed.h"
#include "parameters.h"
#include "product.h"

/* The way back through a hidden layer. */
typedef struct wk_back {
    ptrdiff_t turned; /* weights and their gradient are (H, in) */
    ptrdiff_t rows;   /* that `d` has: becomes N, or with `samples` how many there are */
    const wk_layer *layer;
    const wk_head *head;         /* what comes after the layer: this, */
    const struct wk_back *above; /* or this, through */
    const unit *weight;          /* (H above, H) packed: the transpose of its weights */
    int32_t *samples;            /* (N) of which sample each row of `d` is, or NULL */
    store *d;                    /* (N, H) gradient by the layer's products */
    unit *d_packed;              /* (N, H), and */
    const unit *x_packed;        /* (N, in) factors of */
    real *d_weight;              /* (in, H), or NULL where no gradient is wanted */
    real *d_bias, *d_gain, *d_shift; /* (H), likewise */
} wk_back;

/* Of the losses that wish nothing from the parameters, the actor's goes through one critic for each
 * sample, that of the smallest value. Samples without a gradient are left out: row n of `d` is of
 * sample `samples[n]`, in all layers alike. */
static ptrdiff_t sample_of(const wk_back *job, ptrdiff_t n)
{
    return job->samples ? job->samples[n] : n;
}

static ptrdiff_t find_samples(const wk_back *job)
{
    const wk_head *h = job->head;
    ptrdiff_t found = 0;
    for (ptrdiff_t n = 0; n < job->layer->rows; n++)
        for (ptrdiff_t o = 0; o < h->outputs; o++)
            if (h->d_values[n * h->row_stride + o * h->output_stride] != 0) {
                job->samples[found++] = (int32_t)n;
                break;
            }
    return found;
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

/* From `row`, the gradient by the normalised row times gain plus shift, to that by the products;
 * `sum` and `product` are those of the row times gain, and of that times the normalised row. */
static inline void leave(const wk_back *job, ptrdiff_t n, real *restrict row, real sum,
                         real product)
{
    const wk_layer *l = job->layer;
    ptrdiff_t width = l->width, sample = sample_of(job, n);
    const store *restrict normal = l->normal + sample * row_length(width);
    const real *restrict gain = l->gain;
    real rstd = l->rstd[sample];
    sum /= (real)width;
    product /= (real)width;
    if (job->d_bias) {
        real *restrict d_bias = job->d_bias, *restrict d_gain = job->d_gain;
        real *restrict d_shift = job->d_shift;
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
    pack_row(row, width, job->d + n * row_length(width));
}

static void backward_two(const wk_back *job, ptrdiff_t n, real *row, ptrdiff_t m, real *other)
{
    const wk_layer *l = job->layer;
    ptrdiff_t length = row_length(l->width);
    ptrdiff_t at = sample_of(job, n) * length, other_at = sample_of(job, m) * length;
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
    leave(job, n, row, sum, product);
    if (m != n)
        leave(job, m, other, other_sum, other_product);
}

static inline void backward_plain(const wk_back *job, ptrdiff_t n, real *restrict row)
{
    ptrdiff_t width = job->layer->width, length = row_length(width);
    const store *restrict active = job->layer->active + sample_of(job, n) * length;
    real *restrict d_bias = job->d_bias;
#pragma omp simd
    for (ptrdiff_t j = 0; j < width; j++)
        row[j] = load(active[j]) <= 0 ? 0 : row[j];
    if (d_bias) {
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            d_bias[j] += row[j];
    }
    pack_row(row, width, job->d + n * length);
}

/* The gradient by rows [start, end) of `active`, into the room: from the head, or from above. */
static void arrive(const wk_back *job, ptrdiff_t start, ptrdiff_t end, real *room)
{
    const wk_layer *l = job->layer;
    ptrdiff_t width = l->width, room_length = room_row(width);
    if (!job->head) {
        ptrdiff_t depth = units(job->above->layer->width);
        product((int)(end - start), (const unit *)job->above->d + start * depth, depth, 1,
                job->weight, depth, width, room, room_length);
        return;
    }
    real *restrict x = room + TILE * room_length;
    for (ptrdiff_t n = start; n < end; n++) {
        ptrdiff_t sample = sample_of(job, n);
        const store *restrict active = l->active + sample * row_length(width);
#pragma omp simd
        for (ptrdiff_t j = 0; j < width; j++)
            x[j] = load(active[j]);
        head_backward(job->head, x, sample, width, room + (n - start) * room_length);
    }
}

/* The product of something packed, transposed, and something else packed: (rows, columns), summed
 * over `depth` units. */
static void transposed_product(const unit *a, ptrdiff_t rows, const unit *b, ptrdiff_t columns,
                               ptrdiff_t depth, real *to, real *room)
{
    ptrdiff_t length = room_row(columns);
    for (ptrdiff_t i = 0; i < rows;) { /* tiles end where a panel does */
        ptrdiff_t place = i % WIDTH, n = least(least(TILE, WIDTH - place), rows - i);
        real *c = length == columns ? to + i * columns : room;
        product((int)n, a + i / WIDTH * depth * WIDTH + place, 1, WIDTH, b, depth, columns, c,
                length);
        for (ptrdiff_t j = 0; j < n && c == room; j++)
            memcpy(to + (i + j) * columns, room + j * length, (size_t)columns * sizeof *to);
        i += n;
    }
}

static void backward(wk_back *job, real *room)
{
    const wk_layer *l = job->layer;
    ptrdiff_t width = l->width, length = row_length(width), room_length = room_row(width);
    clear(job->d_bias, width);
    clear(job->d_gain, width);
    clear(job->d_shift, width);
    if (job->head) {
        clear(job->head->d_weight, width * job->head->outputs);
        clear(job->head->d_bias, job->head->d_weight ? job->head->outputs : 0);
    }
    job->rows = !job->samples ? l->rows : job->head ? find_samples(job) : job->above->rows;
    for (ptrdiff_t start = 0; start < job->rows; start += TILE) {
        ptrdiff_t end = least(start + TILE, job->rows);
        arrive(job, start, end, room);
        for (ptrdiff_t n = start; n < end; n += l->gain ? 2 : 1) {
            real *row = room + (n - start) * room_length;
            if (l->gain) {
                ptrdiff_t m = least(n + 1, end - 1);
                backward_two(job, n, row, m, room + (m - start) * room_length);
            } else {
                backward_plain(job, n, row);
            }
        }
        if (job->d_weight)
            pack_rows(job->d + start * length, length, start, end - start, l->rows, width,
                      job->d_packed);
    }
    if (job->d_weight && job->turned)
        transposed_product(job->d_packed, width, job->x_packed, l->inputs, units(l->rows),
                           job->d_weight, room);
    else if (job->d_weight)
        transposed_product(job->x_packed, l->inputs, job->d_packed, width, units(l->rows),
                           job->d_weight, room);
}

/* From the last layer to the first. */
void wk_backward(wk_back *const *jobs, ptrdiff_t n_jobs, real *room)
{
    for (ptrdiff_t i = 0; i < n_jobs; i++)
        backward(jobs[i], room);
}

/* Adds the gradient by some of the first layer's inputs, (N, columns), to `to`; `weight` is the
 * transpose of theirs, (H, columns) packed. */
void wk_add_input_gradient(const wk_back *job, const unit *weight, ptrdiff_t columns,
                           real *restrict to, real *restrict room)
{
    ptrdiff_t depth = units(job->layer->width), room_length = room_row(columns);
    for (ptrdiff_t start = 0; start < job->rows; start += TILE) {
        ptrdiff_t end = least(start + TILE, job->rows);
        product((int)(end - start), (const unit *)job->d + start * depth, depth, 1, weight, depth,
                columns, room, room_length);
        for (ptrdiff_t n = start; n < end; n++)
            for (ptrdiff_t j = 0; j < columns; j++)
                to[sample_of(job, n) * columns + j] += room[(n - start) * room_length + j];
    }
}

/* (N, columns) numbers from rows with gaps to stored ones; and packed, or NULL. */
typedef struct {
    ptrdiff_t rows, columns, to_stride;
    store *to;
    unit *packed;
} wk_intake;

void wk_take_in(const wk_intake *job, const real *from, ptrdiff_t from_stride)
{
    for (ptrdiff_t n = 0; n < job->rows; n++)
        pack_row(from + n * from_stride, job->columns, job->to + n * job->to_stride);
    if (job->packed)
        pack_rows(job->to, job->to_stride, 0, job->rows, job->rows, job->columns, job->packed);
}
