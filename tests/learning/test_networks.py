# SPDX-License-Identifier: MIT
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from walkhome.learning.networks import Actor, Critics


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def actor(o: int = 5, a: int = 3) -> Actor:
    return Actor(o, a, (16, 12), (-10.0, 2.0), generator())


@settings(max_examples=200)
@given(st.floats(-30, 30), st.floats(-10, 2), st.floats(-4, 4))
def test_log_density_is_that_of_a_squashed_gaussian(mean, log_std, noise):
    net = Actor(1, 1, (4,), (-10.0, 2.0), generator())
    with torch.no_grad():
        net.weights[-1].zero_()
        net.biases[-1].copy_(torch.tensor([mean, log_std]))
        action, log_prob = net.sample(torch.zeros(1, 1), torch.tensor([[noise]]))
    # In double precision, by the change of variables; 1 - tanh^2 = 1 / cosh^2.
    u = mean + math.exp(log_std) * noise
    log_cosh = abs(u) + math.log1p(math.exp(-2 * abs(u))) - math.log(2)
    expected = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi) + 2 * log_cosh
    assert log_prob.item() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert action.item() == pytest.approx(math.tanh(u), abs=1e-5)


def test_density_integrates_to_one():
    net = Actor(1, 1, (4,), (-10.0, 2.0), generator())
    with torch.no_grad():
        net.weights[-1].zero_()
        net.biases[-1].copy_(torch.tensor([0.3, -0.5]))
        noise = torch.linspace(-8, 8, 200_001)[:, None]
        action, log_prob = net.sample(torch.zeros(len(noise), 1), noise)
    a, p = action[:, 0].double().numpy(), log_prob.double().exp().numpy()
    assert np.trapezoid(p, a) == pytest.approx(1.0, abs=1e-3)


def test_gradients_of_the_density_stay_finite_far_out():
    net = Actor(1, 1, (4,), (-10.0, 2.0), generator())
    with torch.no_grad():
        net.biases[-1].copy_(torch.tensor([50.0, 5.0]))
    _, log_prob = net.sample(torch.zeros(1, 1), torch.ones(1, 1))
    gradients = torch.autograd.grad(log_prob.sum(), net.parameters)
    assert all(torch.isfinite(g).all() for g in gradients)
    assert torch.isfinite(log_prob).all()


def test_actor_is_the_plain_network():
    net, x = actor(), torch.randn(7, 5, generator=generator(1))
    layers: list[nn.Module] = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = weight.detach(), bias.detach()
        layers += [linear, nn.ReLU()]
    mean, log_std = nn.Sequential(*layers[:-1])(x).chunk(2, 1)
    got_mean, got_log_std = net.head(x)
    torch.testing.assert_close(got_mean, mean)
    torch.testing.assert_close(got_log_std, log_std.clamp(-10, 2))


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("n_constraints", [0, 1, 2])
def test_critics_are_separate_plain_networks(layer_norm, n_constraints):
    critics = Critics(5, (16, 12), 2, n_constraints, layer_norm, generator())
    named = dict(zip(critics.names, critics.parameters, strict=True))
    with torch.no_grad():  # gains and shifts begin at 1 and 0, where a mistake would not show
        for p in critics.parameters:
            p += 0.1 * torch.randn(p.shape, generator=generator(2))
    x = torch.randn(7, 5, generator=generator(1))
    reward, cost = critics.values(x)
    assert reward.shape == (2, 7)
    assert cost.shape == (7, n_constraints)
    for member in range(2 + bool(n_constraints)):
        y = x
        for i, width in enumerate((16, 12)):
            y = y @ named[f"hidden{i}.weight"][member] + named[f"hidden{i}.bias"][member, 0]
            if layer_norm:
                y = nn.functional.layer_norm(
                    y,
                    (width,),
                    named[f"hidden{i}.gain"][member, 0],
                    named[f"hidden{i}.shift"][member, 0],
                )
            y = y.relu()
        if member < 2:
            expected = y @ named["reward.weight"][member, 0] + named["reward.bias"][member]
            torch.testing.assert_close(reward[member], expected, rtol=1e-4, atol=1e-5)
        else:
            expected = y @ named["cost.weight"].t() + named["cost.bias"]
            torch.testing.assert_close(cost, expected, rtol=1e-4, atol=1e-5)


def test_layer_norm_bounds_the_value_of_far_inputs():
    critics = Critics(5, (16, 16), 2, 0, True, generator())
    near, _ = critics.values(torch.randn(50, 5, generator=generator(1)))
    far, _ = critics.values(1e6 * torch.randn(50, 5, generator=generator(1)))
    assert far.abs().max() < 10 * near.abs().max()


def test_networks_depend_on_the_seed_alone():
    torch.manual_seed(0)
    one = actor().parameters
    torch.manual_seed(1)
    two = actor().parameters
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    other = Actor(5, 3, (16, 12), (-10.0, 2.0), generator(1)).parameters
    assert not torch.equal(one[0], other[0])


def test_initial_weights_have_pytorchs_default_spread():
    net = Actor(100, 3, (200,), (-10.0, 2.0), generator())
    reference = nn.Linear(100, 200)
    assert net.weights[0].abs().max() <= 0.1
    assert net.weights[0].std().item() == pytest.approx(reference.weight.std().item(), rel=0.02)
