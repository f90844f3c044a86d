# SPDX-License-Identifier: MIT
"""`CudaSac` against `Sac`: on the processor without a graph everywhere, on CUDA where there is one.

What stages a batch, draws the noise, brings the actor back and keeps the state is the same on both.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from batches import OBS, PRICES, A, N, make_batch
from small_sac import constraint_config, learner_config, sac_config

from walkhome.learning import cuda_sac
from walkhome.learning.cuda_sac import CudaSac, NoCuda, why_no_cuda
from walkhome.learning.learner import Learner
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.sac import Sac, SacConfig
from walkhome.learning.transition import Transition

HAS_CUDA = torch.cuda.is_available()
# Tolerance: zero on the processor, where the arithmetic is the same; float32's on a GPU.
DEVICES = [("cpu", 0.0), *([("cuda", 2e-4)] if HAS_CUDA else [])]
CONFIG = sac_config(hidden_sizes=(16, 12), batch_size=N, actor_every=2)


def make_pair(device: str, config: SacConfig = CONFIG, k: int = 2) -> tuple[Sac, CudaSac]:
    return Sac(config, NetworkSizes(OBS, A, k), seed=3), CudaSac(
        config, NetworkSizes(OBS, A, k), seed=3, device=device
    )


def check_equal(a: Sac, b: Sac, tolerance: float) -> None:
    expected, got = a.state_dict(), b.state_dict()
    assert list(expected) == list(got)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(
            got[name].astype(float), array.astype(float), 0.0, tolerance, err_msg=name
        )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("device", "tolerance"), DEVICES)
@pytest.mark.parametrize("n_constraints", [0, 1, 2])
@pytest.mark.parametrize("actor_every", [1, 3])
def test_updates_in_a_row_are_the_plain_ones(device, tolerance, n_constraints, actor_every):
    config = sac_config(hidden_sizes=(16, 12), batch_size=N, actor_every=actor_every)
    plain, other = make_pair(device, config, n_constraints)
    for seed in range(8):
        batch = make_batch(seed, n_constraints)
        for sac in (plain, other):
            sac.update(batch, PRICES[:n_constraints] * seed)
    check_equal(plain, other, tolerance)
    for name, value in plain.metrics().items():
        assert other.metrics()[name] == pytest.approx(value, abs=10 * tolerance), name


@pytest.mark.parametrize(("device", "tolerance"), DEVICES)
def test_batches_of_another_size_get_their_own_place(device, tolerance):
    plain, other = make_pair(device)
    for seed, n in enumerate((N, 4, N, 4, N)):
        for sac in (plain, other):
            sac.update(make_batch(seed, 2, n), PRICES)
    check_equal(plain, other, tolerance)


@pytest.mark.parametrize(("device", "tolerance"), DEVICES)
def test_the_host_sees_each_new_actor_through_the_same_views(device, tolerance):
    plain, other = make_pair(device, sac_config(hidden_sizes=(16, 12), batch_size=N))
    views = [t.detach().numpy() for t in other.host_actor.parameters]
    for seed in range(3):
        before = [view.copy() for view in views]
        for sac in (plain, other):
            sac.update(make_batch(seed, 2), PRICES)
        for view, old, live in zip(views, before, plain.actor.parameters, strict=True):
            assert not np.array_equal(view, old)
            np.testing.assert_allclose(view, live.detach().numpy(), 0.0, tolerance)


@pytest.mark.parametrize(("device", "tolerance"), DEVICES)
def test_states_go_both_ways_and_learning_goes_on_from_them(device, tolerance):
    plain, other = make_pair(device)
    for seed in range(5):
        plain.update(make_batch(seed, 2), PRICES)
        other.update(make_batch(seed + 50, 2), PRICES)
    other.load_state_dict(plain.state_dict())
    check_equal(plain, other, 0.0)
    shown, live = other.host_actor.parameters, plain.actor.parameters
    assert all(torch.equal(a, b) for a, b in zip(shown, live, strict=True))
    for seed in range(5):
        for sac in (plain, other):
            sac.update(make_batch(seed + 100, 2), PRICES)
    check_equal(plain, other, tolerance)
    fresh = Sac(CONFIG, NetworkSizes(OBS, A, 2), seed=9)
    fresh.load_state_dict(other.state_dict())
    check_equal(other, fresh, 0.0)


@pytest.mark.parametrize(("device", "tolerance"), DEVICES)
def test_what_the_warm_up_did_is_undone(device, tolerance):
    plain, other = make_pair(device)
    for sac in (plain, other):
        for seed in range(3):
            sac.update(make_batch(seed, 2), PRICES)
    before = {name: t.detach().clone() for name, t in other._evolving().items()}
    other._learn_from(other._stages[N], learns_actor=True)
    assert any(not torch.equal(t, before[name]) for name, t in other._evolving().items())
    other._undo(before)
    check_equal(plain, other, tolerance)
    _, untouched = make_pair(device)
    before = {name: t.detach().clone() for name, t in untouched._evolving().items()}
    untouched._stages = other._stages
    untouched._learn_from(other._stages[N], learns_actor=True)
    untouched._undo(before)
    moments = [t for name, t in untouched._evolving().items() if name not in before]
    assert moments
    assert not any(t.any() for t in moments)


def test_without_a_device_it_says_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(NoCuda, match="built without CUDA"):
        CudaSac(CONFIG, NetworkSizes(OBS, A, 2), seed=3)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "nvidia-smi" in why_no_cuda()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert why_no_cuda() == ""


def test_a_learner_on_another_device_gives_policies_of_its_newest_weights(monkeypatch):
    device, tolerance = DEVICES[-1]
    on_device = cuda_sac.CudaSac

    def there(*args):
        return on_device(*args, device=device)

    monkeypatch.setattr("walkhome.learning.learner.CudaSac", there)
    sac = sac_config(hidden_sizes=(16,), batch_size=8)
    prices = constraint_config(kind="fixed", budgets=(1.0,), initial=(0.4,), fixed=(0.3,))
    learners = [
        Learner(
            learner_config(sac, prices, backend="plain", device=d),
            ("go",),
            NetworkSizes(OBS, A, 1),
            seed=0,
        )
        for d in ("cpu", "cuda")
    ]
    rng, actions = np.random.default_rng(1), []
    for learner in learners:
        rng = np.random.default_rng(1)
        policy = learner.policy("go")
        for _ in range(20):
            learner.add(
                Transition(
                    rng.standard_normal(OBS),
                    rng.uniform(-1.0, 1.0, A),
                    rng.standard_normal(1),
                    rng.uniform(0.0, 1.0, 1),
                    rng.standard_normal(OBS),
                    False,
                    "go",
                )
            )
        assert learner.update(6) == 6
        actions.append(policy.act(np.ones(OBS, np.float32), deterministic=True).copy())
    np.testing.assert_allclose(actions[1], actions[0], 0.0, 10 * tolerance)
