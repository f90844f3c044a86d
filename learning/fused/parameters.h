/* SPDX-License-Identifier: MIT
 *
 * Parameters: Adam, the targets that follow, and the packed forms that products read, in one pass.
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

/* A strip of rows is stepped, followed and packed while it is in the first-level cache. */
#define STRIP 16

/* A matrix (rows, columns) of parameters and its packed forms, each or NULL; a matrix that no
 * product reads has none. */
typedef struct {
    ptrdiff_t rows, columns, first_row;
    unit *packed;     /* (rows, columns) */
    unit *transposed; /* (columns, rows - first_row), of the rows from first_row on */
    unit *target;     /* of the target: (rows, columns) */
} wk_matrix;

/* Parameters with their moments, targets and gradients, all in the same order: `matrices`, one
 * after the other. Adam (Kingma & Ba 2015, algorithm 1) is as torch.optim.Adam has it. */
typedef struct {
    ptrdiff_t n_matrices;
    const wk_matrix *matrices;
    real *parameter, *first, *second;
    const real *gradient;
    real *target; /* or NULL */
    real rate, beta1, beta2, eps, tau;
} wk_parameters;

static void adam(const wk_parameters *job, ptrdiff_t start, ptrdiff_t n, real step, real root)
{
    real *restrict p = job->parameter + start, *restrict first = job->first + start;
    real *restrict second = job->second + start;
    const real *restrict gradient = job->gradient + start;
    real beta1 = job->beta1, beta2 = job->beta2, eps = job->eps;
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
static void follow(const wk_parameters *job, ptrdiff_t start, ptrdiff_t n)
{
    real *restrict target = job->target + start;
    const real *restrict live = job->parameter + start;
    real tau = job->tau;
#pragma omp simd
    for (ptrdiff_t i = 0; i < n; i++)
        target[i] += tau * (live[i] - target[i]);
}

/* Rows [start, start + count) of a matrix, at `from`, into its packed forms. */
static void pack_strip(const wk_matrix *m, const real *from, ptrdiff_t start, ptrdiff_t count,
                       unit *packed, unit *transposed, real *room)
{
    ptrdiff_t length = row_length(m->columns);
    store *strip = (store *)room;
    memset(strip, 0, (size_t)(STRIP * length) * sizeof *strip);
    for (ptrdiff_t i = 0; i < count; i++)
        pack_row(from + i * m->columns, m->columns, strip + i * length);
    if (packed)
        pack_rows(strip, length, start, count, m->rows, m->columns, packed);
    ptrdiff_t skipped = m->first_row > start ? least(m->first_row - start, count) : 0;
    if (transposed && skipped < count)
        pack_columns(strip + skipped * length, length, start + skipped - m->first_row,
                     count - skipped, m->columns, transposed);
}

static void strips(const wk_parameters *job, int learn, real step, real root, real *room)
{
    ptrdiff_t at = 0;
    for (const wk_matrix *m = job->matrices; m < job->matrices + job->n_matrices; m++)
        for (ptrdiff_t start = 0; start < m->rows; start += STRIP) {
            ptrdiff_t count = least(STRIP, m->rows - start), n = count * m->columns;
            if (learn) {
                adam(job, at, n, step, root);
                if (job->target)
                    follow(job, at, n);
            }
            if (m->packed || m->transposed)
                pack_strip(m, job->parameter + at, start, count, m->packed, m->transposed, room);
            if (m->target)
                pack_strip(m, job->target + at, start, count, m->target, NULL, room);
            at += n;
        }
}

/* One step along the gradients. `correction1`, `correction2`: 1 - beta^t of the first and second
 * moment. */
void wk_step(const wk_parameters *job, double correction1, double correction2, real *room)
{
    strips(job, 1, (real)(job->rate / correction1), (real)(1 / sqrt(correction2)), room);
}

/* Pack again what was written to from outside. */
void wk_pack(const wk_parameters *job, real *room) { strips(job, 0, 0, 0, room); }

#endif
