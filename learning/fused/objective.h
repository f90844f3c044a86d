/* SPDX-License-Identifier: MIT
 *
 * What SAC asks of its networks, sample by sample: the actor's actions and their density, the
 * critics' targets, and the slopes of the actor's loss. Equations as in `sac.py`.
 */
#ifndef WK_OBJECTIVE_H
#define WK_OBJECTIVE_H

#include <math.h>

#include "packed.h"

#define LOG_2 ((real)0.69314718055994531)
#define HALF_LOG_2_PI ((real)0.91893853320467274)

#if WK_STORE == 64
static inline real exponential(real x) { return exp(x); }
static inline real log_one_plus(real x) { return log1p(x); }
#else
/* e^x within a few units in the last place, in a form that compilers make vectors of: a power of
 * two times a polynomial in what is left, at most log(2) / 2. */
static inline real exponential(real x)
{
    x = x < -87 ? -87 : x > 88 ? 88 : x;
    const float whole = 12582912.0f; /* adding it rounds to a whole number */
    float power = (x * 1.44269504f + whole) - whole;
    float r = (x - power * 0.693359375f) + power * 2.12194440e-4f;
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    int32_t bits = ((int32_t)power + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/* log(1 + x) for x in [0, 1], as 2 artanh(x / (2 + x)): z^2 is at most 1/9. */
static inline real log_one_plus(real x)
{
    float z = x / (2 + x), square = z * z, sum = 1.0f / 15;
    sum = sum * square + 1.0f / 13;
    sum = sum * square + 1.0f / 11;
    sum = sum * square + 1.0f / 9;
    sum = sum * square + 1.0f / 7;
    sum = sum * square + 1.0f / 5;
    sum = sum * square + 1.0f / 3;
    sum = sum * square + 1.0f;
    return 2 * z * sum;
}
#endif

static inline real clamp(real x, real low, real high) { return x < low ? low : x > high ? high : x; }

/* The actor's actions for N samples. */
typedef struct {
    ptrdiff_t rows, actions, to_stride;
    const real *head;     /* (N, 2 A) means, then raw logarithms of the standard deviation */
    const real *noise;    /* (N, A) normal */
    real *action;         /* (N, A) in (-1, 1) */
    real *log_prob;       /* (N) */
    store *to;            /* (N, A) the action as the critics read it */
    const real *d_action; /* (N, A) the loss's gradient by it, through the critics, and */
    real *d_head;         /* (N, 2 A) by the head; NULL where there is no way back */
    real *d_log_alpha;
    real low, high, target_entropy; /* bounds of the logarithm */
} wk_sample;

/* SAC appendix C, with softplus(-2 u) + u = |u| + log(1 + e^(-2 |u|)), symmetric and never large. */
void wk_draw(const wk_sample *job)
{
    ptrdiff_t actions = job->actions;
    for (ptrdiff_t n = 0; n < job->rows; n++) {
        const real *restrict mean = job->head + n * 2 * actions, *restrict raw = mean + actions;
        const real *restrict noise = job->noise + n * actions;
        real *restrict action = job->action + n * actions;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t j = 0; j < actions; j++) {
            real log_std = clamp(raw[j], job->low, job->high);
            real u = mean[j] + exponential(log_std) * noise[j];
            real size = u < 0 ? -u : u, e = exponential(-2 * size), tanh = (1 - e) / (1 + e);
            action[j] = u < 0 ? -tanh : tanh;
            sum += noise[j] * noise[j] / 2 + log_std + HALF_LOG_2_PI
                   + 2 * (LOG_2 - size - log_one_plus(e));
        }
        job->log_prob[n] = -sum;
        pack_row(action, actions, job->to + n * job->to_stride);
    }
}

/* From the gradient by the actions, and of alpha log pi averaged over the samples, to that by the
 * head; and that of the temperature's loss. */
void wk_draw_back(const wk_sample *job, double alpha)
{
    ptrdiff_t actions = job->actions;
    real weight = (real)(alpha / (double)job->rows), entropy = 0;
    for (ptrdiff_t n = 0; n < job->rows; n++) {
        const real *restrict raw = job->head + (2 * n + 1) * actions;
        const real *restrict noise = job->noise + n * actions;
        const real *restrict action = job->action + n * actions;
        const real *restrict d_action = job->d_action + n * actions;
        real *restrict d_mean = job->d_head + n * 2 * actions, *restrict d_log_std = d_mean + actions;
#pragma omp simd
        for (ptrdiff_t j = 0; j < actions; j++) {
            real log_std = clamp(raw[j], job->low, job->high);
            /* through a = tanh(u), and from log pi, whose derivative by u is 2 tanh(u) */
            real d_u = d_action[j] * (1 - action[j] * action[j]) + 2 * weight * action[j];
            /* u = mean + std noise, and log pi holds -log std; past its bounds it does not learn */
            real d = d_u * exponential(log_std) * noise[j] - weight;
            d_mean[j] = d_u;
            d_log_std[j] = log_std == raw[j] ? d : 0 * d;
        }
        entropy -= job->log_prob[n];
    }
    *job->d_log_alpha = entropy / (real)job->rows - job->target_entropy;
}

/* What the critics should say about N samples. */
typedef struct {
    ptrdiff_t rows, critics, costs;
    const real *next;     /* (critics + K, N) what the targets say about what follows */
    const real *log_prob; /* (N) of the action that follows */
    real *wanted;         /* (1 + K, N), first what all reward critics should say */
    real discount, cost_discount;
} wk_target;

/* The smallest of the critics' values for sample n; not-a-number if one is. */
static inline real smallest(const real *values, ptrdiff_t critics, ptrdiff_t rows, ptrdiff_t n)
{
    real least = values[n];
    for (ptrdiff_t i = 1; i < critics; i++) {
        real value = values[i * rows + n];
        least = value < least || value != value ? value : least;
    }
    return least;
}

/* Equations 2, 3 and 6. The batch's rows are `stride` numbers apart in all three. */
void wk_targets(const wk_target *job, const real *reward, const real *not_done, const real *cost,
                ptrdiff_t stride, double alpha)
{
    ptrdiff_t rows = job->rows;
    for (ptrdiff_t n = 0; n < rows; n++) {
        real going_on = not_done[n * stride];
        real value = smallest(job->next, job->critics, rows, n) - (real)alpha * job->log_prob[n];
        job->wanted[n] = reward[n * stride] + job->discount * going_on * value;
        for (ptrdiff_t k = 0; k < job->costs; k++)
            job->wanted[(1 + k) * rows + n] =
                cost[n * stride + k]
                + job->cost_discount * going_on * job->next[(job->critics + k) * rows + n];
    }
}

/* Gradient of -E[(min Q - sum lambda Qc) / (1 + sum lambda)] by all values, (critics + K, N). As
 * autograd has it, critics that tie for the minimum share it. */
void wk_slopes(ptrdiff_t rows, ptrdiff_t critics, ptrdiff_t costs, const real *values,
               const double *prices, real *slopes)
{
    double sum = 1;
    for (ptrdiff_t k = 0; k < costs; k++)
        sum += prices[k];
    real scale = (real)(1 / (sum * (double)rows));
    for (ptrdiff_t n = 0; n < rows; n++) {
        real least = smallest(values, critics, rows, n), ties = 0;
        for (ptrdiff_t i = 0; i < critics; i++)
            ties += values[i * rows + n] == least;
        for (ptrdiff_t i = 0; i < critics; i++)
            slopes[i * rows + n] = -scale * (values[i * rows + n] == least) / ties;
        for (ptrdiff_t k = 0; k < costs; k++)
            slopes[(critics + k) * rows + n] = (real)prices[k] * scale;
    }
}

#endif
