# SPDX-License-Identifier: MIT
"""What SAC asks of its networks sample by sample, on tensors: `objective.h`.

The formulas are those of `networks.Actor.sample` and `sac`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from walkhome.learning.fused.kernel_library import Job, make_job
from walkhome.learning.fused.kernels import Kernels


class Objective:
    """Jobs as those of `Kernels`, and what does them."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def sample(
        self,
        head: Tensor,
        noise: Tensor,
        to: Tensor,
        log_std_range: tuple[float, float],
        back: tuple[Tensor, Tensor, Tensor, float] | None = None,
    ) -> Job:
        """The actor's actions, for `draw` and, with `back`, `draw_back`.

        The job's `drawn` are the actions, (N, A), and their log densities, (N,).

        Args:
            head: (N, 2 A) means, and logarithms of the standard deviation before they are clipped.
            noise: (N, A) normal numbers.
            to: (N, A) stored, rows may have gaps: where the actions go too.
            log_std_range: Bounds of the logarithm.
            back: Gradient by the actions, (N, A), where those by the head, (N, 2 A), and by
                log(alpha), (), go, and the target entropy.
        """
        rows, actions = noise.shape
        action, log_prob = noise.new_zeros(rows, actions), noise.new_zeros(rows)
        d_action, d_head, d_log_alpha, target_entropy = back or (None, None, None, 0.0)
        job = make_job(
            self._kernels.kinds.sample,
            rows=rows,
            actions=actions,
            to_stride=to.stride(0),
            head=self._kernels.as_real(head),
            noise=self._kernels.as_real(noise),
            action=self._kernels.as_real(action),
            log_prob=self._kernels.as_real(log_prob),
            to=self._kernels.typed(to, self._kernels.store),
            d_action=self._kernels.as_real(d_action),
            d_head=self._kernels.as_real(d_head),
            d_log_alpha=self._kernels.as_real(d_log_alpha),
            low=log_std_range[0],
            high=log_std_range[1],
            target_entropy=target_entropy,
        )
        job.drawn = action, log_prob
        return job

    def target(
        self,
        following: Tensor,
        log_prob: Tensor,
        wanted: Tensor,
        n_critics: int,
        discounts: tuple[float, float],
    ) -> Job:
        """What the critics should say, for `targets`.

        Args:
            following: (n_critics + K, N) what the targets say about what follows.
            log_prob: (N,) of the action that follows.
            wanted: (1 + K, N) for all reward critics, and for each constraint.
            n_critics: How many reward critics.
            discounts: Of rewards and of costs.
        """
        return make_job(
            self._kernels.kinds.target,
            rows=following.shape[1],
            critics=n_critics,
            costs=len(wanted) - 1,
            next=self._kernels.as_real(following),
            log_prob=self._kernels.as_real(log_prob),
            wanted=self._kernels.as_real(wanted),
            discount=discounts[0],
            cost_discount=discounts[1],
        )

    def draw(self, job: Job) -> None:
        """Write what `Actor.sample` gives to the job's `drawn`."""
        self._kernels.library.wk_draw(job.pointer)

    def draw_back(self, job: Job, alpha: float) -> None:
        """From the gradient by the actions to that of the actor's loss by the head.

        Likewise that of the temperature's.
        """
        self._kernels.library.wk_draw_back(job.pointer, alpha)

    def targets(
        self, job: Job, reward: Tensor, not_done: Tensor, cost: Tensor, alpha: float
    ) -> None:
        """Write what the critics should say about a batch: (N,), (N,) and (N, K), whole rows."""
        # from a replay's rows they are all as far apart; else they are copied side by side
        strides = {x.stride(0) for x in (reward, not_done, cost) if x.numel()}
        if len(strides) > 1:
            rows = torch.column_stack((reward, not_done, cost))
            reward, not_done, cost = rows[:, 0], rows[:, 1], rows[:, 2:]
        for x in (reward, not_done, cost):
            self._kernels.typed(x, self._kernels.real)
        addresses = (x.data_ptr() for x in (reward, not_done, cost))
        self._kernels.library.wk_targets(job.pointer, *addresses, reward.stride(0), alpha)

    def slopes(self, values: Tensor, n_critics: int, prices: Tensor, slopes: Tensor) -> None:
        """Write the gradient of the actor's loss by the critics' values, (n_critics + K, N).

        Args:
            values: (n_critics + K, N), rewards first.
            n_critics: How many reward critics.
            prices: (K,) float64 multipliers.
            slopes: Where it goes.
        """
        addresses = (values.data_ptr(), prices.data_ptr(), slopes.data_ptr())
        self._kernels.library.wk_slopes(values.shape[1], n_critics, len(prices), *addresses)
