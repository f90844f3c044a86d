# SPDX-License-Identifier: MIT
from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sac import OBS, SMALL, A, K, random_replay, sac_config, sample
from torch import nn

from walkhome.learning.fused.fast_sac import FastSac
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.replay import Replay
from walkhome.learning.sac import (
    Sac,
    actor_loss,
    cost_target,
    critic_loss,
    reward_target,
    temperature_loss,
)
from walkhome.learning.transition import Transition

# --- The losses, against the formulas written out sample by sample ---


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(0, 3), st.floats(0.0, 0.999))
def test_losses_are_the_formulas(seed, critics, k, discount):
    rng = np.random.default_rng(seed)
    n = 5
    r, log_p, alpha = rng.normal(size=n), rng.normal(size=n), float(rng.uniform(0, 1))
    not_done = (rng.random(n) < 0.5).astype(float)
    c, q, qc = rng.normal(size=(n, k)), rng.normal(size=(critics, n)), rng.normal(size=(n, k))
    y, yc, lam = rng.normal(size=n), rng.normal(size=(n, k)), rng.uniform(0, 5, k)
    tensors = [torch.from_numpy(np.asarray(x)) for x in (r, log_p, not_done, c, q, qc, y, yc, lam)]
    t_r, t_log_p, t_not_done, t_c, t_q, t_qc, t_y, t_yc, t_lam = tensors
    t_alpha = torch.tensor(alpha, dtype=torch.float64)

    got = reward_target(t_r, t_not_done, t_q, t_log_p, t_alpha, discount).numpy()
    for i in range(n):
        soft = min(q[j, i] for j in range(critics)) - alpha * log_p[i]
        assert got[i] == pytest.approx(r[i] + discount * not_done[i] * soft)

    got = cost_target(t_c, t_not_done, t_qc, discount).numpy()
    for i in range(n):
        for j in range(k):
            assert got[i, j] == pytest.approx(c[i, j] + discount * not_done[i] * qc[i, j])

    expected = 0.0
    for i in range(n):
        expected += sum(0.5 * (q[j, i] - y[i]) ** 2 for j in range(critics)) / n
        expected += sum(0.5 * (qc[i, j] - yc[i, j]) ** 2 for j in range(k)) / n
    assert critic_loss(t_q, t_y, t_qc, t_yc).item() == pytest.approx(expected)

    expected = 0.0
    for i in range(n):
        price = sum(lam[j] * qc[i, j] for j in range(k))
        value = (min(q[j, i] for j in range(critics)) - price) / (1.0 + sum(lam))
        expected += (alpha * log_p[i] - value) / n
    assert actor_loss(t_log_p, t_q, t_qc, t_alpha, t_lam).item() == pytest.approx(expected)

    log_alpha = torch.tensor(math.log(alpha + 0.1), dtype=torch.float64, requires_grad=True)
    temperature_loss(log_alpha, t_log_p, -2.0).backward()
    assert log_alpha.grad.item() == pytest.approx(-(log_p.mean() - 2.0))


def test_temperature_rises_when_entropy_is_too_low_and_falls_when_too_high():
    for entropy, rises in ((-5.0, True), (5.0, False)):
        log_alpha = torch.tensor(0.0, requires_grad=True)
        temperature_loss(log_alpha, torch.full((4,), -entropy), 0.0).backward()
        assert (log_alpha.grad < 0) == rises


@settings(max_examples=30)
@given(st.floats(0, 1e4))
def test_a_large_multiplier_turns_the_actors_gradient_but_does_not_grow_it(lam):
    q = torch.zeros(2, 4, requires_grad=True)
    qc = torch.zeros(4, 1, requires_grad=True)
    actor_loss(torch.zeros(4), q, qc, torch.tensor(0.1), torch.tensor([lam])).backward()
    assert q.grad.abs().sum() + qc.grad.abs().sum() == pytest.approx(1.0, rel=1e-5)


# --- The update, against an independent, plain implementation ---


class Naive:
    """An independent SAC with constraints: `nn.Module`s, separate losses, no optimisations."""

    def __init__(self, sac: Sac) -> None:
        self.sac = sac
        tensors = {k: v.detach().clone() for k, v in sac.tensors().items()}
        self.actor = self._mlp(
            [(tensors[f"actor.layer{i}.weight"], tensors[f"actor.layer{i}.bias"]) for i in range(3)]
        )
        self.critics = [self._critic(tensors, "critics", m) for m in range(3)]
        self.targets = [self._critic(tensors, "targets", m) for m in range(3)]
        self.log_alpha = nn.Parameter(tensors["log_alpha"])
        lr = sac.config.learning_rate
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), lr)
        self.critic_adam = torch.optim.Adam([p for c in self.critics for p in c.parameters()], lr)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], sac.config.temperature_learning_rate)
        self.generator = torch.Generator()
        self.generator.set_state(sac.generator.get_state())

    @staticmethod
    def _mlp(layers, norms=()) -> nn.Sequential:
        modules: list[nn.Module] = []
        for i, (weight, bias) in enumerate(layers):
            linear = nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
            modules.append(linear)
            if i < len(norms):
                norm = nn.LayerNorm(weight.shape[0])
                norm.weight = nn.Parameter(norms[i][0].clone())
                norm.bias = nn.Parameter(norms[i][1].clone())
                modules.append(norm)
            modules.append(nn.ReLU())
        return nn.Sequential(*modules[:-1])

    def _critic(self, tensors, prefix: str, m: int) -> nn.Sequential:
        get = {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
        layers = [(get[f"hidden{i}.weight"][m].t(), get[f"hidden{i}.bias"][m, 0]) for i in (0, 1)]
        if m < 2:
            layers.append((get["reward.weight"][m], get["reward.bias"][m]))
        else:
            layers.append((get["cost.weight"], get["cost.bias"]))
        norms = []
        if self.sac.config.layer_norm:
            norms = [(get[f"hidden{i}.gain"][m, 0], get[f"hidden{i}.shift"][m, 0]) for i in (0, 1)]
        return self._mlp(layers, norms)

    def _act(self, observation):
        mean, log_std = self.actor(observation).chunk(2, -1)
        std = log_std.clamp(-10, 2).exp()
        noise = torch.randn(len(observation), A, generator=self.generator)
        u = mean + std * noise
        action = torch.tanh(u)
        density = torch.distributions.Normal(mean, std).log_prob(u).sum(-1)
        return action, density - torch.log(1 - action.pow(2) + 1e-9).sum(-1)

    def update(self, batch, lam: np.ndarray) -> None:
        config = self.sac.config
        s, a, s2 = (
            torch.from_numpy(x.copy())
            for x in (batch.observation, batch.action, batch.next_observation)
        )
        r, c = torch.from_numpy(batch.reward.copy()), torch.from_numpy(batch.cost.copy())
        not_done = torch.from_numpy(batch.not_done.copy())
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            a2, log_p2 = self._act(s2)
            x2 = torch.cat([s2, a2], 1)
            q2 = torch.min(self.targets[0](x2), self.targets[1](x2))[:, 0]
            y = r + config.discount * not_done * (q2 - alpha * log_p2)
            yc = c + config.cost_discount * not_done[:, None] * self.targets[2](x2)
        x = torch.cat([s, a], 1)
        loss = (self.critics[2](x) - yc).pow(2).sum(1).mean() / 2
        for critic in self.critics[:2]:
            loss = loss + (critic(x)[:, 0] - y).pow(2).mean() / 2
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()
        a_new, log_p = self._act(s)
        x = torch.cat([s, a_new], 1)
        q = torch.min(self.critics[0](x), self.critics[1](x))[:, 0]
        price = (self.critics[2](x) * torch.tensor(lam, dtype=torch.float32)).sum(1)
        loss = (alpha * log_p - (q - price) / (1 + lam.sum())).mean()
        self.actor_adam.zero_grad()
        loss.backward()
        self.actor_adam.step()
        self.alpha_adam.zero_grad()
        (-self.log_alpha * (log_p.detach() - A).mean()).backward()
        self.alpha_adam.step()
        for live, target in zip(self.critics, self.targets, strict=True):
            for p, t in zip(live.parameters(), target.parameters(), strict=True):
                t.data = (1 - config.tau) * t.data + config.tau * p.data


@pytest.mark.parametrize("make", [Sac, FastSac])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_updates_are_those_of_a_plain_implementation(layer_norm, make):
    config = sac_config(
        **SMALL, layer_norm=layer_norm, cost_discount=0.9, temperature_learning_rate=1e-3
    )
    sac = make(config, NetworkSizes(OBS, A, K), seed=3)
    naive = Naive(sac)
    replay, lam = random_replay(), np.array([0.5, 2.0])
    for i in range(5):
        batch = sample(replay, i)
        sac.update(batch, lam)
        naive.update(batch, lam)
    probe = torch.from_numpy(sample(replay, 99).observation_action.copy())
    for parameters, networks in (
        (sac.critics.parameters, naive.critics),
        (sac.targets, naive.targets),
    ):
        q, qc = sac.critics.values(probe, parameters)
        for m in range(2):
            torch.testing.assert_close(q[m], networks[m](probe)[:, 0], rtol=1e-3, atol=2e-5)
        torch.testing.assert_close(qc, networks[2](probe), rtol=1e-3, atol=2e-5)
    for i, layer in enumerate(m for m in naive.actor if isinstance(m, nn.Linear)):
        torch.testing.assert_close(sac.actor.weights[i], layer.weight, rtol=1e-3, atol=2e-5)
    assert sac.log_alpha.item() == pytest.approx(naive.log_alpha.item(), abs=1e-6)


# --- Small problems whose values are known ---


def chain(steps: int = 500) -> tuple[Sac, np.ndarray]:
    """Two states, 0 -> 1 -> 1 -> ... for any action; costs (1, 0.2) in 0, (0.5, 0) in 1.

    With discount 0.8: Qc(1) = (2.5, 0), Qc(0) = (1 + 0.8 * 2.5, 0.2) = (3, 0.2).
    """
    rng = np.random.default_rng(0)
    replay = Replay(400, 1, 1, 1, 2)
    for i in range(400):
        state = i % 2
        costs = (1.0, 0.2) if state == 0 else (0.5, 0.0)
        action = rng.uniform(-1, 1, 1)
        replay.add(Transition([state], action, [0.0], costs, [1.0], False, "only"), 0)
    config = sac_config((32, 32), 64, 3e-3, cost_discount=0.8, tau=0.05, initial_temperature=0.5)
    sac = Sac(config, NetworkSizes(1, 1, 2), seed=0)
    for _ in range(steps):
        sac.update(replay.sample(rng, 64, 0, False), np.zeros(2))
    actions = rng.uniform(-1, 1, 20)
    probe = np.array([[s, a] for s in (0.0, 1.0) for a in actions], np.float32)
    with torch.no_grad():
        _, costs_ = sac.critics.values(torch.from_numpy(probe))
    return sac, costs_.numpy().reshape(2, 20, 2)


def test_cost_values_of_a_chain_are_the_known_ones():
    _, values = chain()
    # Truncated episodes bootstrap, the discount is the costs' own, entropy earns no bonus, each
    # constraint keeps its column.
    np.testing.assert_allclose(values[0].mean(0), [3.0, 0.2], atol=0.06)
    np.testing.assert_allclose(values[1].mean(0), [2.5, 0.0], atol=0.06)


@cache
def one_step(
    multipliers: tuple[float, ...], k: int = 1, steps: int = 400
) -> tuple[Sac, torch.Tensor]:
    """Episodes of one step with reward a and costs (max(0, a), 0, ...), which Q and Qc equal.

    Returns the learner and the policy's mean action.
    """
    rng = np.random.default_rng(0)
    replay = Replay(400, 1, 1, 1, k)
    for _ in range(400):
        a = rng.uniform(-1, 1)
        costs = np.zeros(k)
        costs[:1] = max(0.0, a)
        replay.add(Transition([0.5], [a], [a], costs, [0.5], True, "only"), 0)
    sac = Sac(
        sac_config((32, 32), 64, 3e-3, initial_temperature=0.01), NetworkSizes(1, 1, k), seed=0
    )
    for _ in range(steps):
        sac.update(replay.sample(rng, 64, 0, False), np.asarray(multipliers, np.float64))
    with torch.no_grad():
        mean, _ = sac.actor.head(torch.tensor([[0.5]]))
    return sac, torch.tanh(mean)[0, 0]


def test_values_of_a_one_step_problem_are_its_reward_and_cost():
    sac, _ = one_step((0.0,))
    actions = torch.linspace(-0.9, 0.9, 19)
    with torch.no_grad():
        q, qc = sac.critics.values(torch.stack([torch.full((19,), 0.5), actions], 1))
    for values in q:
        torch.testing.assert_close(values, actions, atol=0.08, rtol=0)
    torch.testing.assert_close(qc[:, 0], actions.clamp(min=0), atol=0.08, rtol=0)


def test_the_policy_gives_up_reward_for_a_price_and_only_for_the_constraint_that_costs():
    assert one_step((0.0,))[1] > 0.5
    # Reward a - 3 max(0, a): best at 0.
    assert -0.35 < one_step((3.0,))[1] < 0.2
    assert one_step((0.0, 3.0), k=2)[1] > 0.5


# --- What a caller relies on ---


def test_equal_seeds_give_equal_bytes_and_others_do_not():
    replay = random_replay()
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(states))  # the global generator must not matter
        sac = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed)
        for i in range(4):
            sac.update(sample(replay, i), np.ones(K))
        states.append(sac.state_dict())
    assert all(states[0][k].tobytes() == states[1][k].tobytes() for k in states[0])
    assert states[0]["actor.layer0.weight"].tobytes() != states[2]["actor.layer0.weight"].tobytes()


def test_plain_sac_is_a_number_of_constraints_too():
    sac = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, 0), seed=0)
    replay = random_replay(k=0)
    for i in range(3):
        sac.update(sample(replay, i), np.zeros(0))
    assert sac.finite()
    assert set(sac.metrics()) == {"alpha", "q_mean", "critic_loss", "entropy", "updates"}


def test_without_a_price_the_costs_do_not_touch_the_actor():
    results = []
    for scale in (1.0, 50.0):
        replay = random_replay()
        columns = replay._columns[4]
        replay._rows[:, columns] *= scale
        sac = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
        for i in range(3):
            sac.update(sample(replay, i), np.zeros(K))
        results.append(sac.actor.weights[0].detach().clone())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)


def test_the_actor_moves_only_each_kth_time():
    sac = Sac(sac_config(**SMALL, actor_every=3), NetworkSizes(OBS, A, K), seed=0)
    replay = random_replay()
    moved = []
    for i in range(6):
        before, alpha = sac.actor.weights[0].detach().clone(), sac.alpha
        sac.update(sample(replay, i), np.ones(K))
        moved.append(not torch.equal(before, sac.actor.weights[0]))
        assert (sac.alpha != alpha) == moved[-1]
    assert moved == [False, False, True, False, False, True]


def test_views_of_the_actor_stay_live():
    sac = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
    view = sac.actor.weights[0].detach().numpy()
    before = view.copy()
    sac.update(sample(random_replay()), np.ones(K))
    assert not np.array_equal(view, before)
    sac.load_state_dict(Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0).state_dict())
    np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize(
    "name", ["actor.layer1.bias", "critics.cost.weight", "targets.reward.bias"]
)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_weight_is_noticed(name, bad):
    sac = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
    assert sac.finite()
    with torch.no_grad():
        sac.tensors()[name].view(-1)[1 if sac.tensors()[name].numel() > 1 else 0] = bad
    assert not sac.finite()


def test_saved_state_continues_bit_for_bit():
    replay = random_replay()
    one = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
    two = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=9)
    for i in range(3):
        one.update(sample(replay, i), np.ones(K))
    two.update(sample(replay, 50), np.ones(K))
    two.load_state_dict(one.state_dict())
    for i in range(3, 6):
        one.update(sample(replay, i), np.ones(K))
        two.update(sample(replay, i), np.ones(K))
    a, b = one.state_dict(), two.state_dict()
    assert set(a) == set(b)
    assert all(a[k].tobytes() == b[k].tobytes() for k in a)


def test_a_fresh_state_restores_too():
    one = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
    two = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=9)
    two.update(sample(random_replay()), np.ones(K))
    two.load_state_dict(one.state_dict())
    for sac in (one, two):
        sac.update(sample(random_replay()), np.ones(K))
    a, b = one.state_dict(), two.state_dict()
    assert all(a[k].tobytes() == b[k].tobytes() for k in a)


def test_a_state_that_does_not_fit_is_refused_by_name():
    sac = Sac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
    sac.update(sample(random_replay()), np.ones(K))
    state = sac.state_dict()
    with pytest.raises(ValueError, match=r"actor\.layer0\.weight"):
        Sac(sac_config(**SMALL), NetworkSizes(OBS + 1, A, K), seed=0).load_state_dict(state)
    with pytest.raises(ValueError, match="log_alpha"):
        sac.load_state_dict({k: v for k, v in state.items() if k != "log_alpha"})
    with pytest.raises(ValueError, match="differ"):
        sac.load_state_dict({**state, "more": np.zeros(1)})
    with pytest.raises(ValueError, match="float64"):
        sac.load_state_dict({**state, "log_alpha": np.zeros((), np.float64)})


@pytest.mark.parametrize(
    "bad",
    [
        {"hidden_sizes": ()},
        {"hidden_sizes": (0,)},
        {"batch_size": 0},
        {"actor_every": 0},
        {"n_critics": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"discount": 1.0},
        {"cost_discount": -0.1},
        {"tau": 1.5},
        {"initial_temperature": 0.0},
        {"log_std_range": (1.0, -1.0)},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError):
        sac_config(**bad)
