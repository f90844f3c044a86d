# SPDX-License-Identifier: MIT
"""Python interface to `objective.h`: the parts of the SAC losses that work sample by sample.

Sampling of actions and its backward pass, TD targets, and the actor loss's gradient with respect to
the critics' values. The formulas are those of `networks.Actor.sample` and `sac`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from walkhome.learning.fused.kernel_library import KernelArguments, make_arguments
from walkhome.learning.fused.kernels import Kernels


class Objective:
    """Builds and runs arguments as `Kernels` does.

    Args:
        kernels: Gives the types and the library.
    """

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels

    def sample(
        self,
        head: Tensor,
        noise: Tensor,
        to: Tensor,
        log_std_range: tuple[float, float],
        back: tuple[Tensor, Tensor, Tensor, float] | None = None,
    ) -> KernelArguments:
        """Arguments of `sample_actions` and, with `back`, of `sample_backward`.

        Their attribute `sampled` holds the outputs: actions, (N, A), and log densities, (N,).

        Args:
            head: (N, 2 A) the actor's output: means, then log standard deviations before clipping.
            noise: (N, A) standard normal numbers.
            to: (N, A) stored copy of the actions, an input of the critics; rows may have gaps.
            log_std_range: Bounds of the log standard deviation.
            back: Gradient of the loss with respect to the actions, (N, A); outputs for the
                gradients with respect to the head, (N, 2 A), and to log(alpha), (); target
                entropy, nats.
        """
        rows, actions = noise.shape
        action, log_prob = noise.new_zeros(rows, actions), noise.new_zeros(rows)
        d_action, d_head, d_log_alpha, target_entropy = back or (None, None, None, 0.0)
        args = make_arguments(
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
        args.sampled = action, log_prob
        return args

    def target(
        self,
        next_values: Tensor,
        log_prob: Tensor,
        td_target: Tensor,
        n_critics: int,
        discounts: tuple[float, float],
    ) -> KernelArguments:
        """Arguments of the kernel `compute_targets`.

        Args:
            next_values: (n_critics + K, N) values of the next state and action by the target
                networks, reward critics first.
            log_prob: (N,) log density of the next action.
            td_target: (1 + K, N) output: the target of all reward critics, and of each cost.
            n_critics: Number of reward critics.
            discounts: Discounts of rewards and of costs.
        """
        return make_arguments(
            self._kernels.kinds.target,
            rows=next_values.shape[1],
            critics=n_critics,
            costs=len(td_target) - 1,
            next=self._kernels.as_real(next_values),
            log_prob=self._kernels.as_real(log_prob),
            td_target=self._kernels.as_real(td_target),
            discount=discounts[0],
            cost_discount=discounts[1],
        )

    def sample_actions(self, args: KernelArguments) -> None:
        """Compute `Actor.sample`; writes the arguments' `sampled`."""
        self._kernels.library.wk_sample_actions(args.pointer)

    def sample_backward(self, args: KernelArguments, alpha: float) -> None:
        """Backward pass of `sample_actions`, for the actor's and the temperature's loss.

        Writes the gradients with respect to the head and to log(alpha).

        Args:
            args: See `sample`; built with `back`, after `sample_actions`.
            alpha: The temperature.
        """
        self._kernels.library.wk_sample_backward(args.pointer, alpha)

    def compute_targets(
        self, args: KernelArguments, reward: Tensor, not_done: Tensor, cost: Tensor, alpha: float
    ) -> None:
        """Write the TD targets of a batch (1812.05905 eqs. 2, 3 and 6).

        Args:
            args: See `target`.
            reward: (N,).
            not_done: (N,) 1, or 0 where the episode terminated.
            cost: (N, K).
            alpha: The temperature.
        """
        # Columns of a replay's batch share one stride, which C expects; others are copied.
        strides = {x.stride(0) for x in (reward, not_done, cost) if x.numel()}
        if len(strides) > 1:
            rows = torch.column_stack((reward, not_done, cost))
            reward, not_done, cost = rows[:, 0], rows[:, 1], rows[:, 2:]
        for x in (reward, not_done, cost):
            self._kernels.typed(x, self._kernels.real)
        addresses = (x.data_ptr() for x in (reward, not_done, cost))
        self._kernels.library.wk_targets(args.pointer, *addresses, reward.stride(0), alpha)

    def value_gradient(
        self, values: Tensor, n_critics: int, lambdas: Tensor, d_values: Tensor
    ) -> None:
        """Write dL/dQ, the actor loss's gradient with respect to the critics' values.

        Args:
            values: (n_critics + K, N) values of the policy's actions, reward critics first.
            n_critics: Number of reward critics.
            lambdas: (K,) float64 multipliers.
            d_values: (n_critics + K, N) output.
        """
        addresses = (values.data_ptr(), lambdas.data_ptr(), d_values.data_ptr())
        self._kernels.library.wk_value_gradient(
            values.shape[1], n_critics, len(lambdas), *addresses
        )
