/* SPDX-License-Identifier: MIT
 *
 * The parts of the SAC losses that work sample by sample: the policy's actions and log densities,
 * the TD targets, and dL/dQ of the actor's loss. Equations are those of `sac.py`.
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
/* e^x to within a few units in the last place, in a form that compilers vectorise: a power of two
 * times a polynomial in the remainder, which is at most log(2) / 2. */
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

/* Arguments for sampling the actions of N samples, and for its backward pass. */
typedef struct {
    ptrdiff_t rows, actions, to_stride;
    const real *head;     /* (N, 2 A) means, then unclipped log standard deviations */
    const real *noise;    /* (N, A) standard normal */
    real *action;         /* (N, A) in (-1, 1) */
    real *log_prob;       /* (N) */
    store *to;            /* (N, A) the action as the critics read it */
    const real *d_action; /* (N, A) gradient of the loss with respect to the action */
    real *d_head;         /* (N, 2 A) with respect to the head; NULL for no backward pass */
    real *d_log_alpha;
    real low, high, target_entropy; /* bounds of log std */
} wk_sample;

/* SAC appendix C, with softplus(-2 u) + u = |u| + log(1 + e^(-2 |u|)), symmetric and never large. */
void wk_sample_actions(const wk_sample *args)
{
    ptrdiff_t actions = args->actions;
    for (ptrdiff_t n = 0; n < args->rows; n++) {
        const real *restrict mean = args->head + n * 2 * actions, *restrict raw = mean + actions;
        const real *restrict noise = args->noise + n * actions;
        real *restrict action = args->action + n * actions;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (ptrdiff_t j = 0; j < actions; j++) {
            real log_std = clamp(raw[j], args->low, args->high);
            real u = mean[j] + exponential(log_std) * noise[j];
            real size = u < 0 ? -u : u, e = exponential(-2 * size), tanh = (1 - e) / (1 + e);
            action[j] = u < 0 ? -tanh : tanh;
            sum += noise[j] * noise[j] / 2 + log_std + HALF_LOG_2_PI
                   + 2 * (LOG_2 - size - log_one_plus(e));
        }
        args->log_prob[n] = -sum;
        pack_row(action, actions, args->to + n * args->to_stride);
    }
}

/* Backward pass: from the gradient with respect to the actions, and from the loss's own mean of
 * alpha log pi, to the gradient with respect to the head; and the gradient of the temperature's
 * loss. */
void wk_sample_backward(const wk_sample *args, double alpha)
{
    ptrdiff_t actions = args->actions;
    real weight = (real)(alpha / (double)args->rows), entropy = 0;
    for (ptrdiff_t n = 0; n < args->rows; n++) {
        const real *restrict raw = args->head + (2 * n + 1) * actions;
        const real *restrict noise = args->noise + n * actions;
        const real *restrict action = args->action + n * actions;
        const real *restrict d_action = args->d_action + n * actions;
        real *restrict d_mean = args->d_head + n * 2 * actions, *restrict d_log_std = d_mean + actions;
#pragma omp simd
        for (ptrdiff_t j = 0; j < actions; j++) {
            real log_std = clamp(raw[j], args->low, args->high);
            /* through a = tanh(u), and from log pi, where d(log pi)/du = 2 tanh(u) */
            real d_u = d_action[j] * (1 - action[j] * action[j]) + 2 * weight * action[j];
            /* u = mean + std noise, and log pi contains -log std; clipped values get no gradient */
            real d = d_u * exponential(log_std) * noise[j] - weight;
            d_mean[j] = d_u;
            d_log_std[j] = log_std == raw[j] ? d : 0 * d;
        }
        entropy -= args->log_prob[n];
    }
    *args->d_log_alpha = entropy / (real)args->rows - args->target_entropy;
}

/* Arguments for the TD targets of N samples. */
typedef struct {
    ptrdiff_t rows, critics, costs;
    const real *next;     /* (critics + K, N) values of the next state and action by the targets */
    const real *log_prob; /* (N) log density of the next action */
    real *td_target;         /* (1 + K, N) output: the reward target, then those of the costs */
    real discount, cost_discount;
} wk_target;

/* Minimum over the reward critics for sample n; NaN if one of them is NaN. */
static inline real minimum_value(const real *values, ptrdiff_t critics, ptrdiff_t rows, ptrdiff_t n)
{
    real least = values[n];
    for (ptrdiff_t i = 1; i < critics; i++) {
        real value = values[i * rows + n];
        least = value < least || value != value ? value : least;
    }
    return least;
}

/* Equations 2, 3 and 6 of 1812.05905. All three inputs have rows `stride` numbers apart. */
void wk_targets(const wk_target *args, const real *reward, const real *not_done, const real *cost,
                ptrdiff_t stride, double alpha)
{
    ptrdiff_t rows = args->rows;
    for (ptrdiff_t n = 0; n < rows; n++) {
        real not_done_n = not_done[n * stride];
        real value = minimum_value(args->next, args->critics, rows, n) - (real)alpha * args->log_prob[n];
        args->td_target[n] = reward[n * stride] + args->discount * not_done_n * value;
        for (ptrdiff_t k = 0; k < args->costs; k++)
            args->td_target[(1 + k) * rows + n] =
                cost[n * stride + k]
                + args->cost_discount * not_done_n * args->next[(args->critics + k) * rows + n];
    }
}

/* dL/dQ for L = -E[(min Q - sum lambda Qc) / (1 + sum lambda)], (critics + K, N). Critics that tie
 * for the minimum share the gradient, as in autograd. */
void wk_value_gradient(ptrdiff_t rows, ptrdiff_t critics, ptrdiff_t costs, const real *values,
               const double *lambdas, real *dL_dQ)
{
    double sum = 1;
    for (ptrdiff_t k = 0; k < costs; k++)
        sum += lambdas[k];
    real scale = (real)(1 / (sum * (double)rows));
    for (ptrdiff_t n = 0; n < rows; n++) {
        real least = minimum_value(values, critics, rows, n), ties = 0;
        for (ptrdiff_t i = 0; i < critics; i++)
            ties += values[i * rows + n] == least;
        for (ptrdiff_t i = 0; i < critics; i++)
            dL_dQ[i * rows + n] = -scale * (values[i * rows + n] == least) / ties;
        for (ptrdiff_t k = 0; k < costs; k++)
            dL_dQ[(critics + k) * rows + n] = (real)lambdas[k] * scale;
    }
}

#endif
