# SPDX-License-Identifier: MIT
from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import assert_same_run, config_of, newest, run
from small_sac import (
    OBS,
    SMALL,
    A,
    K,
    constraint_config,
    learner_config,
    random_replay,
    sac_config,
    sample,
)

from walkhome.learning import checkpoint
from walkhome.learning.learner import Learner
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.replay import Replay
from walkhome.learning.sac import Sac
from walkhome.learning.transition import Transition

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import crossq
import crossq_job
from crossq import EPSILON, KEPT, CrossSac

PRICES = np.array([0.5, 2.0])


class ByHand:
    """An independent implementation of the same update, in float64."""

    def __init__(self, sac: CrossSac, warm_up: float = math.inf) -> None:
        self.config, self.warm_up, self.updates = sac.config, warm_up, 0
        self.t = {
            name: tensor.detach().double().clone().requires_grad_("statistics" not in name)
            for name, tensor in sac.tensors().items()
        }
        lr = sac.config.learning_rate
        of = {kind: [t for n, t in self.t.items() if n.startswith(kind)] for kind in ("act", "cri")}
        self.critic_adam = torch.optim.Adam(of["cri"], lr)
        self.actor_adam = torch.optim.Adam(of["act"], lr)
        self.alpha_adam = torch.optim.Adam(
            [self.t["log_alpha"]], sac.config.temperature_learning_rate
        )
        self.generator = torch.Generator()
        self.generator.set_state(sac.generator.get_state())

    def norm(self, x, name, member, training):
        t, row = self.t, 0 if name == "input" else member
        mean = t[f"statistics.{name}.mean"][row, 0]
        variance = t[f"statistics.{name}.variance"][row, 0]
        if training:
            batch_mean = sum(x) / len(x)
            batch_variance = sum((row - batch_mean) ** 2 for row in x) / len(x)
            r, d = 1.0, 0.0
            if self.updates >= self.warm_up:
                sigma, running = (batch_variance + EPSILON) ** 0.5, (variance + EPSILON) ** 0.5
                r = (sigma / running).detach().clip(1 / 3, 3)
                d = ((batch_mean - mean) / running).detach().clip(-5, 5)
            x = (x - batch_mean) / (batch_variance + EPSILON) ** 0.5 * r + d
            if name != "input" or member == 0:  # one set for all
                self.seen.append((mean, batch_mean.detach()))
                self.seen.append((variance, batch_variance.detach()))
        else:
            x = (x - mean) / (variance + EPSILON) ** 0.5
        gain, shift = t[f"critics.{name}.gain"], t[f"critics.{name}.shift"]
        return x * gain[member, 0] + shift[member, 0]

    def critic(self, x, member, training):
        x = self.norm(x, "input", member, training)
        for i in range(2):
            weight, bias = self.t[f"critics.hidden{i}.weight"], self.t[f"critics.hidden{i}.bias"]
            x = torch.clip(x @ weight[member] + bias[member, 0], 0)
            x = self.norm(x, f"hidden{i}", member, training)
        if member == 2:
            return x @ self.t["critics.cost.weight"].T + self.t["critics.cost.bias"]
        return (
            x @ self.t["critics.reward.weight"][member, 0] + self.t["critics.reward.bias"][member]
        )

    def act(self, s):
        x = s
        for i in range(3):
            x = x @ self.t[f"actor.layer{i}.weight"].T + self.t[f"actor.layer{i}.bias"]
            x = torch.clip(x, 0) if i < 2 else x
        mean, std = x[:, :A], x[:, A:].clip(-10, 2).exp()
        u = mean + std * torch.randn(len(s), A, generator=self.generator).double()
        density = torch.distributions.Normal(mean, std).log_prob(u).sum(1)
        return torch.tanh(u), density - torch.log(1 - torch.tanh(u) ** 2).sum(1)

    def update(self, batch, prices) -> None:
        s, a, s2, r, c, not_done = (
            torch.from_numpy(x.copy()).double()
            for x in (batch.observation, batch.action, batch.next_observation, batch.reward,
                      batch.cost, batch.not_done)
        )  # fmt: skip
        n, config, alpha = len(s), self.config, self.t["log_alpha"].exp().detach()
        with torch.no_grad():
            a2, log_p2 = self.act(s2)
        both = torch.cat([torch.cat([s, a], 1), torch.cat([s2, a2], 1)])
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        q1, q2, qc = (self.critic(both, member, True) for member in range(3))
        y = r + config.discount * not_done * (torch.min(q1[n:], q2[n:]) - alpha * log_p2)
        yc = c + config.cost_discount * not_done[:, None] * qc[n:]
        loss = sum(((q[:n] - y.detach()) ** 2).mean() / 2 for q in (q1, q2))
        loss = loss + ((qc[:n] - yc.detach()) ** 2).sum(1).mean() / 2
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()
        for running, batch_value in self.seen:
            running.copy_(KEPT * running + (1 - KEPT) * batch_value)
        self.updates += 1
        a_new, log_p = self.act(s)
        x = torch.cat([s, a_new], 1)
        q = torch.min(self.critic(x, 0, False), self.critic(x, 1, False))
        price = (self.critic(x, 2, False) * torch.tensor(prices)).sum(1)
        self.actor_adam.zero_grad()
        (alpha * log_p - (q - price) / (1 + prices.sum())).mean().backward()
        self.actor_adam.step()
        self.alpha_adam.zero_grad()
        (-self.t["log_alpha"] * (log_p.detach() - A).mean()).backward()
        self.alpha_adam.step()


@pytest.mark.parametrize("warm_up", [2, 100])
def test_updates_are_those_written_out_by_hand(warm_up, monkeypatch):
    monkeypatch.setattr(crossq, "WARM_UP", warm_up)
    config = sac_config(**SMALL, cost_discount=0.9, temperature_learning_rate=1e-3)
    sac = CrossSac(config, NetworkSizes(OBS, A, K), seed=3)
    by_hand = ByHand(sac, warm_up)
    replay = random_replay()
    for i in range(5):
        batch = sample(replay, i)
        sac.update(batch, PRICES)
        by_hand.update(batch, PRICES)
    for name, tensor in sac.tensors().items():
        torch.testing.assert_close(
            tensor.double(), by_hand.t[name], rtol=1e-3, atol=5e-5, msg=lambda m, n=name: f"{n} {m}"
        )


def test_renormalisation_makes_a_difference_once_it_is_warm(monkeypatch):
    states = []
    for warm_up in (0, 100):
        monkeypatch.setattr(crossq, "WARM_UP", warm_up)
        sac = CrossSac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
        sac.update(sample(random_replay()), PRICES)
        states.append(sac.state_dict())
    name = "critics.hidden0.weight"
    assert states[0][name].tobytes() != states[1][name].tobytes()


def test_there_are_no_targets_and_acting_moves_no_statistics():
    sac = CrossSac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed=0)
    assert not [name for name in sac.tensors() if name.startswith("targets")]
    sac.update(sample(random_replay()), PRICES)
    before = {name: tensor.clone() for name, tensor in sac.critics.statistics.items()}
    probe = torch.randn(7, OBS + A)
    one, _ = sac.critics.values(probe)
    alone = torch.cat([sac.critics.values(row[None])[0] for row in probe], 1)
    torch.testing.assert_close(one, alone)  # no matter what else is in the batch
    for name, tensor in sac.critics.statistics.items():
        assert torch.equal(tensor, before[name]), name
        assert tensor.abs().sum() > 0


def test_values_of_a_one_step_problem_are_its_reward_and_cost():
    rng = np.random.default_rng(0)
    replay = Replay(400, 1, 1, 1, 1)
    for _ in range(400):
        a = rng.uniform(-1, 1)
        costs, before, after = [max(0.0, a)], [rng.normal()], [rng.normal()]
        replay.add(Transition(before, [a], [a], costs, after, True, "only"), 0)
    sac = CrossSac(
        sac_config((32, 32), 64, 3e-3, initial_temperature=0.01), NetworkSizes(1, 1, 1), seed=0
    )
    for _ in range(600):
        sac.update(replay.sample(rng, 64, 0, False), np.zeros(1))
    actions = torch.linspace(-0.8, 0.8, 17)
    with torch.no_grad():
        q, qc = sac.critics.values(torch.stack([torch.zeros(17), actions], 1))
        mean, _ = sac.actor.head(torch.tensor([[0.0]]))
    for values in q:
        torch.testing.assert_close(values, actions, atol=0.12, rtol=0)
    torch.testing.assert_close(qc[:, 0], actions.clamp(min=0), atol=0.12, rtol=0)
    assert torch.tanh(mean)[0, 0] > 0.5


def test_equal_seeds_give_equal_bytes():
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(states))  # the global generator must not matter
        sac = CrossSac(sac_config(**SMALL), NetworkSizes(OBS, A, K), seed)
        for i in range(4):
            sac.update(sample(random_replay(), i), PRICES)
        states.append(sac.state_dict())
    assert all(states[0][k].tobytes() == states[1][k].tobytes() for k in states[0])
    assert states[0]["log_alpha"].tobytes() != states[2]["log_alpha"].tobytes()


def learner(seed: int, make_sac=CrossSac) -> Learner:
    config = learner_config(
        sac_config(**SMALL),
        constraint_config(budgets=(0.01, 0.02)),
        300,
    )
    made = Learner(
        config, ("forward", "backward"), NetworkSizes(OBS, A, K), seed, make_sac=make_sac
    )
    rng = np.random.default_rng(0)
    for i in range(100):
        made.add(
            Transition(
                rng.normal(size=OBS),
                rng.uniform(-1, 1, A),
                rng.normal(size=2),
                rng.uniform(0, 1, K),
                rng.normal(size=OBS),
                i % 9 == 0,
                "forward" if i % 2 else "backward",
            )
        )
    return made


def test_a_saved_learner_continues_bit_for_bit(tmp_path):
    one, two = learner(0), learner(1)
    one.update(5)
    state = one.state_dict()
    checkpoint.save(tmp_path / "saved", state["tensors"], state["scalars"])
    tensors, scalars = checkpoint.load(tmp_path / "saved")
    two.update(3)
    two.load_state_dict({"tensors": tensors, "scalars": scalars})
    one.update(5)
    two.update(5)
    a, b = one.state_dict()["tensors"], two.state_dict()["tensors"]
    assert set(a) == set(b)
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)
    assert "forward.sac.statistics.hidden1.variance" in a


def test_a_state_of_other_critics_is_refused_and_changes_nothing():
    one, other = learner(0), learner(0, make_sac=None)
    before = one.state_dict()["tensors"]
    with pytest.raises(ValueError, match="does not fit"):
        one.load_state_dict(other.state_dict())
    assert all(before[k].tobytes() == v.tobytes() for k, v in one.state_dict()["tensors"].items())
    assert isinstance(one._sacs[0], Sac)


def test_a_broken_statistic_is_noticed():
    one = learner(0)
    assert one.finite()
    one._sacs[0].critics.statistics["input.mean"][0, 0, 0] = math.nan
    assert not one.finite()


def test_resume_is_exact_with_critics_that_keep_statistics(tmp_path):
    config = config_of("learning.backend=plain", "run.minutes=0.12", "run.checkpoint_every_s=1.0")
    run(tmp_path / "whole", config, start=crossq_job.start)
    assert any("statistics" in name for name in newest(tmp_path / "whole")[0])
    run(tmp_path / "killed", config, 250, start=crossq_job.start)
    run(tmp_path / "killed", config, resume=True, start=crossq_job.start)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
