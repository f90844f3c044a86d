/* SPDX-License-Identifier: MIT
 *
 * Adam, the moving average of the target networks, and the packed copies that products read, in one
 * pass over the parameters.
 */
#ifndef WK_PARAMETERS_H
#define WK_PARAMETERS_H

#include <math.h>

#include "packed.h"

#if WK_STORE == 64
#define SQRT sqrt
#else
#define SQRT sqrtf
#endif

/* Rows per strip: all three are done for a strip while it is in the first-level cache. */
#define STRIP 16

/* A matrix (rows, columns) of parameters and its packed copies, each of which may be NULL; one that
 * no product reads has none. */
typedef struct {
    ptrdiff_t rows, columns, first_row;
    unit *packed;     /* (rows, columns) */
    unit *transposed; /* (columns, rows - first_row): transpose of the rows from first_row on */
    unit *target;     /* (rows, columns) of the target network */
} wk_matrix;

/* Parameters with their moments, targets and gradients, all laid out as `matrices`, one after the
 * other. Adam (Kingma & Ba 2015, algorithm 1) as in torch.optim.Adam. */
typedef struct {
    ptrdiff_t n_matrices;
    const wk_matrix *matrices;
    real *parameter, *first, *second;
    const real *gradient;
    real *target; /* or NULL */
    real rate, beta1, beta2, eps, tau;
} wk_parameters;

static void adam(const wk_parameters *args, ptrdiff_t start, ptrdiff_t n, real step, real root)
{
    real *restrict p = args->parameter + start, *restrict first = args->first + start;
    real *restrict second = args->second + start;
    const real *restrict gradient = args->gradient + start;
    real beta1 = args->beta1, beta2 = args->beta2, eps = args->eps;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++) {
        real g = gradient[i];
        real m = first[i] + (g - first[i]) * (1 - beta1);
        real v = beta2 * second[i] + (1 - beta2) * g * g;
        first[i] = m;
        second[i] = v;
        p[i] -= step * m / (SQRT(v) * root + eps);
    }
}

/* target += tau (live - target) */
static void update_targets(const wk_parameters *args, ptrdiff_t start, ptrdiff_t n)
{
    real *restrict target = args->target + start;
    const real *restrict live = args->parameter + start;
    real tau = args->tau;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++)
        target[i] += tau * (live[i] - target[i]);
}

/* Packs rows [start, start + count) of a matrix, which are at `from`. */
static void pack_strip(const wk_matrix *m, const real *from, ptrdiff_t start, ptrdiff_t count,
                       unit *packed, unit *transposed, real *scratch)
{
    ptrdiff_t length = row_length(m->columns);
    store *strip = (store *)scratch;
    memset(strip, 0, (size_t)(STRIP * length) * sizeof *strip);
    for (ptrdiff_t i = 0; i < count; i++)
        pack_row(from + i * m->columns, m->columns, strip + i * length);
    if (packed)
        pack_rows(strip, length, start, count, m->rows, m->columns, packed);
    ptrdiff_t skipped = m->first_row > start ? minimum(m->first_row - start, count) : 0;
    if (transposed && skipped < count)
        pack_columns(strip + skipped * length, length, start + skipped - m->first_row,
                     count - skipped, m->columns, transposed);
}

static void for_each_strip(const wk_parameters *args, int learn, real step, real root, real *scratch)
{
    ptrdiff_t at = 0;
    for (const wk_matrix *m = args->matrices; m < args->matrices + args->n_matrices; m++)
        for (ptrdiff_t start = 0; start < m->rows; start += STRIP) {
            ptrdiff_t count = minimum(STRIP, m->rows - start), n = count * m->columns;
            if (learn) {
                adam(args, at, n, step, root);
                if (args->target)
                    update_targets(args, at, n);
            }
            if (m->packed || m->transposed)
                pack_strip(m, args->parameter + at, start, count, m->packed, m->transposed, scratch);
            if (m->target)
                pack_strip(m, args->target + at, start, count, m->target, NULL, scratch);
            at += n;
        }
}

/* One step along the gradients. `correction1` and `correction2` are 1 - beta^t of the first and the
 * second moment. */
void wk_step(const wk_parameters *args, double correction1, double correction2, real *scratch)
{
    for_each_strip(args, 1, (real)(args->rate / correction1), (real)(1 / sqrt(correction2)), scratch);
}

/* Renews the packed copies after parameters were written from outside. */
void wk_pack(const wk_parameters *args, real *scratch) { for_each_strip(args, 0, 0, 0, scratch); }

#endif
