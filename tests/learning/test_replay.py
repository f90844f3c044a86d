# SPDX-License-Identifier: MIT
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkhome.learning.replay import Replay
from walkhome.learning.transition import Transition

OBS, A, T, K = 3, 2, 2, 2


def transition(i: int) -> dict:
    """A transition whose every number identifies the transition and the field."""
    return {
        "observation": np.full(OBS, i + 0.1),
        "action": np.full(A, i + 0.2),
        "rewards": np.array([i + 0.3, -i - 0.3]),
        "costs": np.array([i + 0.4, i + 0.5]),
        "next_observation": np.full(OBS, i + 0.6),
        "done": i % 3 == 0,
    }


def add(replay: Replay, i: int, task: int = 0, **changes) -> None:
    replay.add(Transition(**{**transition(i), **changes}, task="any"), task)


def filled(n: int, capacity: int = 100, tasks: tuple[int, ...] = (0, 1)) -> Replay:
    replay = Replay(capacity, OBS, A, T, K)
    for i in range(n):
        add(replay, i, tasks[i % len(tasks)])
    return replay


def numbers(batch) -> np.ndarray:
    return np.round(batch.observation[:, 0] - 0.1).astype(int)


@pytest.mark.parametrize("task", [0, 1])
def test_every_field_of_a_sample_belongs_to_the_same_transition(task):
    batch = filled(50).sample(np.random.default_rng(0), 64, task, only_own=False)
    i = numbers(batch)
    sign = 1 if task == 0 else -1
    np.testing.assert_allclose(batch.observation, np.repeat(i[:, None] + 0.1, OBS, 1), rtol=1e-6)
    np.testing.assert_allclose(batch.action, np.repeat(i[:, None] + 0.2, A, 1), rtol=1e-6)
    np.testing.assert_allclose(batch.reward, sign * (i + 0.3), rtol=1e-6)
    np.testing.assert_allclose(batch.cost, np.stack([i + 0.4, i + 0.5], 1), rtol=1e-6)
    np.testing.assert_allclose(
        batch.next_observation, np.repeat(i[:, None] + 0.6, OBS, 1), rtol=1e-6
    )
    np.testing.assert_array_equal(batch.not_done, (i % 3 != 0).astype(np.float32))
    np.testing.assert_array_equal(batch.observation_action[:, :OBS], batch.observation)
    np.testing.assert_array_equal(batch.observation_action[:, OBS:], batch.action)
    assert batch.observation_action.dtype == np.float32


def test_sampling_is_uniform_over_what_is_stored():
    replay = filled(130, capacity=100)
    rng = np.random.default_rng(0)
    seen = np.concatenate([numbers(replay.sample(rng, 500, 0, False)) for _ in range(100)])
    counts = np.bincount(seen, minlength=130)
    assert counts[:30].sum() == 0, "the oldest are forgotten"
    assert counts[30:].min() > 380
    assert counts[30:].max() < 620


@settings(max_examples=60)
@given(
    st.integers(1, 12),
    st.lists(st.integers(0, T - 1), min_size=1, max_size=60),
    st.integers(0, T - 1),
)
def test_own_samples_come_from_own_stored_episodes(capacity, tasks, task):
    replay = Replay(capacity, OBS, A, T, K)
    for i, t in enumerate(tasks):
        add(replay, i, t)
    stored = list(enumerate(tasks))[-capacity:]
    own = {i for i, t in stored if t == task}
    assert len(replay) == len(stored)
    assert replay.own_size(task) == len(own)
    rng = np.random.default_rng(0)
    if own:
        assert set(numbers(replay.sample(rng, 200, task, only_own=True))) == own
    else:
        with pytest.raises(ValueError, match="no transition"):
            replay.sample(rng, 4, task, only_own=True)


@pytest.mark.parametrize("only_own", [False, True])
def test_a_rebuilt_replay_draws_the_same_batches_wherever_its_ring_begins(only_own):
    one = filled(257, capacity=100)
    two = Replay(100, OBS, A, T, K)
    for i in range(257 - 100, 257):
        add(two, i, i % 2)
    three = Replay(100, OBS, A, T, K)
    three.load_state_dict(one.state_dict())
    for i in range(257, 300):
        for replay in (one, two, three):
            add(replay, i, i % 2)
    for replay in (two, three):
        a = one.sample(np.random.default_rng(5), 32, 1, only_own)
        b = replay.sample(np.random.default_rng(5), 32, 1, only_own)
        np.testing.assert_array_equal(a.observation, b.observation)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("field", ["observation", "action", "rewards", "costs", "next_observation"])
def test_a_number_that_is_not_finite_is_refused_by_name_and_leaves_nothing(field, bad):
    replay = filled(5)
    before = replay.state_dict()
    broken = transition(5)[field].copy()
    broken[-1] = bad
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=rf"^{field} "):
        add(replay, 5, **{field: broken})
    assert len(replay) == 5
    for name, array in replay.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_wrong_sizes_and_tasks_are_refused_by_name():
    replay = filled(1)
    with pytest.raises(ValueError, match=r"costs has shape \(3,\), expected \(2,\)"):
        add(replay, 0, costs=np.zeros(3))
    with pytest.raises(ValueError, match="task 2"):
        add(replay, 0, task=2)
    with pytest.raises(ValueError, match="at least 1"):
        Replay(0, OBS, A, T, K)


def test_loading_refuses_what_does_not_fit():
    state = filled(10).state_dict()
    with pytest.raises(ValueError, match="capacity 5"):
        Replay(5, OBS, A, T, K).load_state_dict(state)
    with pytest.raises(ValueError, match="float32 rows"):
        Replay(50, OBS + 1, A, T, K).load_state_dict(state)
    with pytest.raises(ValueError, match="tasks beyond"):
        Replay(50, OBS, A, T, K).load_state_dict({**state, "task": state["task"] + 1})
    rows = state["rows"].copy()
    rows[3, 3] = np.nan
    with pytest.raises(ValueError, match="non-finite"):
        Replay(50, OBS, A, T, K).load_state_dict({**state, "rows": rows})


def test_no_constraints_is_a_size_like_any_other():
    replay = Replay(4, OBS, A, 1, 0)
    add(replay, 0, rewards=[1.0], costs=[])
    assert replay.sample(np.random.default_rng(0), 2, 0, False).cost.shape == (2, 0)
