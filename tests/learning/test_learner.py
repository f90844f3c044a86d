# SPDX-License-Identifier: MIT
from __future__ import annotations

import json

import numpy as np
import pytest
from small_sac import constraint_config, learner_config, sac_config

from walkhome.learning.learner import Learner
from walkhome.learning.networks import NetworkSizes
from walkhome.learning.policy import load_policies, save_policies
from walkhome.learning.transition import Transition

OBS, ACT, K = 4, 2, 2
TASKS = ("forward", "backward")


def make(
    seed: int = 0, tasks=TASKS, relabel: bool = True, shared: bool = False, **constraint
) -> Learner:
    config = learner_config(
        sac=sac_config((16, 16), batch_size=16, learning_rate=3e-3),
        constraint=constraint_config(**{"budgets": (0.01, 0.02), **constraint}),
        replay_capacity=300,
        relabel=relabel,
        shared_network=shared,
    )
    return Learner(config, tasks, NetworkSizes(OBS, ACT, K), seed)


def feed(learner: Learner, n: int, seed: int = 0, task: str | None = None) -> None:
    rng = np.random.default_rng(seed)
    for i in range(n):
        reward = rng.standard_normal()
        learner.add(
            Transition(
                rng.standard_normal(OBS),
                rng.uniform(-1, 1, ACT),
                [reward, -reward][: len(learner.tasks)],
                rng.uniform(0, 1, K),
                rng.standard_normal(OBS),
                bool(rng.random() < 0.1),
                task or learner.tasks[i // 10 % len(learner.tasks)],
            )
        )


def bytes_of(learner: Learner) -> dict[str, bytes]:
    state = learner.state_dict()
    result = {k: v.tobytes() for k, v in state["tensors"].items()}
    result["scalars"] = json.dumps(state["scalars"]).encode()
    return result


def weights(learner: Learner, task: str) -> bytes:
    return b"".join(w.tobytes() + b.tobytes() for w, b in learner.policy(task).layers)


def test_nothing_happens_before_a_batch_is_there():
    learner = make()
    feed(learner, 15)
    before = bytes_of(learner)
    assert learner.update(5) == 0
    assert bytes_of(learner) == before
    feed(learner, 1)
    assert learner.update(5) == 5
    assert learner.gradient_steps == 5


def test_tasks_take_turns_across_calls():
    learner = make()
    feed(learner, 50)
    counts = []
    for _ in range(4):
        learner.update(1)
        counts.append([learner.metrics()[t]["updates"] for t in TASKS])
    assert counts == [[1, 0], [1, 1], [2, 1], [2, 2]]


def test_without_relabelling_a_task_waits_for_its_own_transitions():
    learner = make(relabel=False)
    feed(learner, 40, task="forward")
    before = weights(learner, "backward")
    assert learner.update(4) == 4
    assert learner.metrics()["forward"]["updates"] == 4
    assert weights(learner, "backward") == before
    feed(learner, 16, task="backward")
    learner.update(4)
    assert learner.metrics()["backward"]["updates"] == 2


def test_with_relabelling_a_task_learns_its_own_reward_from_others_episodes():
    results = {}
    for sign in (1.0, -1.0):
        learner = make()
        rng = np.random.default_rng(0)
        for _ in range(100):
            action = rng.uniform(-1, 1, ACT)
            learner.add(
                Transition(
                    np.zeros(OBS), action, [sign * action[0], 0.0], np.zeros(K), np.zeros(OBS),
                    True, "backward",
                )
            )  # fmt: skip
        learner.update(120)
        results[sign] = learner.policy("forward").act(np.zeros(OBS), True)[0]
    assert results[1.0] > results[-1.0] + 0.1


def test_relabelled_batches_carry_the_reward_of_the_task_in_turn(monkeypatch):
    learner = make()
    feed(learner, 50)
    seen = []
    for i, sac in enumerate(learner._sacs):
        monkeypatch.setattr(
            sac, "update", lambda batch, _, i=i: seen.append((i, batch.reward.copy(), batch.cost))
        )
    learner.update(2)
    for i, reward, _ in seen:
        everything = learner.replay.state_dict()["rows"][:, 2 * OBS + ACT + i]
        assert np.isin(reward, everything).all()


def test_an_episode_moves_the_multipliers_of_its_task_alone():
    learner = make()
    feed(learner, 50)
    learner.update(2)
    before = bytes_of(learner)
    learner.end_episode("forward", [0.3, 0.0])
    after = bytes_of(learner)
    changed = {k for k in after if after[k] != before[k]}
    assert changed
    assert all(k.startswith("forward.multipliers.") for k in changed)
    assert learner.multipliers("forward")[0] > 0.0
    assert learner.multipliers("forward")[1] == 0.0
    assert learner.metrics()["forward"]["lambda"] == learner.multipliers("forward").tolist()


def test_the_multipliers_of_a_task_steer_its_own_actor_alone():
    one, two = make(), make()
    for learner in (one, two):
        feed(learner, 50)
    two.end_episode("backward", [1.0, 1.0])
    for learner in (one, two):
        learner.update(6)
    assert weights(one, "forward") == weights(two, "forward")
    assert weights(one, "backward") != weights(two, "backward")


def test_a_cost_that_is_not_finite_is_counted_and_nothing_else():
    learner = make()
    learner.end_episode("forward", [0.3, 0.3])
    before = learner.multipliers("forward")
    learner.end_episode("forward", [np.nan, np.inf])
    np.testing.assert_array_equal(learner.multipliers("forward"), before)
    assert learner.metrics()["forward"]["rejected_costs"] == 2


def test_policies_are_live_views():
    learner = make()
    feed(learner, 50)
    policy = learner.policy("forward")
    before = policy.act(np.ones(OBS), True)
    learner.update(2)
    assert not np.array_equal(policy.act(np.ones(OBS), True), before)
    np.testing.assert_array_equal(
        policy.act(np.ones(OBS), True), learner.policy("forward").act(np.ones(OBS), True)
    )


def test_the_same_calls_give_the_same_bytes():
    results = []
    for seed in (1, 1, 2):
        learner = make(seed)
        feed(learner, 60)
        learner.update(5)
        learner.end_episode("backward", [0.1, 0.2])
        learner.update(5)
        results.append(bytes_of(learner))
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_tasks_begin_with_different_weights():
    learner = make()
    assert weights(learner, "forward") != weights(learner, "backward")


@pytest.mark.parametrize(
    ("kind", "relabel", "shared"),
    [
        ("pid", True, False),
        ("pid", False, False),
        ("pid", True, True),
        ("dual", True, False),
        ("fixed", True, False),
        ("off", False, True),
    ],
)
def test_saved_state_continues_bit_for_bit(kind, relabel, shared):
    constraint = {"kind": kind, "fixed": (1.0, 2.0), "shared": shared}
    one = make(3, relabel=relabel, **constraint)
    # More than fits: what is rebuilt begins elsewhere in its ring.
    feed(one, 400)
    one.update(5)
    one.end_episode("forward", [0.3, 0.1])
    one.update(2)
    state = one.state_dict()
    scalars = json.loads(json.dumps(state["scalars"]))
    two = make(77, relabel=relabel, **constraint)
    two.replay.load_state_dict(one.replay.state_dict())
    two.load_state_dict({"tensors": state["tensors"], "scalars": scalars})
    assert bytes_of(one) == bytes_of(two)
    for learner in (one, two):
        feed(learner, 30, seed=5)
        learner.update(3)
        learner.end_episode("backward", [0.02, 0.5])
        learner.update(4)
    assert bytes_of(one) == bytes_of(two)


def test_state_is_a_copy():
    learner = make()
    feed(learner, 50)
    learner.update(1)
    state = learner.state_dict()
    before = {k: v.copy() for k, v in state["tensors"].items()}
    scalars = json.dumps(state["scalars"])
    learner.update(3)
    learner.end_episode("forward", [1.0, 1.0])
    assert all(np.array_equal(v, before[k]) for k, v in state["tensors"].items())
    assert json.dumps(state["scalars"]) == scalars


def test_the_state_covers_everything_that_evolves():
    """Everything that an update or an episode changes in any object is part of the state."""
    learner = make()
    feed(learner, 50)
    learner.update(2)
    names = {k.split(".", 1)[1] for k in learner.state_dict()["tensors"]}
    assert {"sac.log_alpha", "sac.generator", "sac.updates", "sac.actor.layer0.weight"} <= names
    assert {"multipliers.integral", "multipliers.smooth", "multipliers.values"} <= names
    live = [n for n in names if n.startswith(("sac.actor.", "sac.critics."))] + ["sac.log_alpha"]
    for name in live:
        for moment in ("exp_avg", "exp_avg_sq", "step"):
            assert f"sac.adam.{name[4:]}.{moment}" in names
    for name in live:
        if name.startswith("sac.critics."):
            assert f"sac.targets.{name[12:]}" in names
    assert {"gradient_steps", "turn", "rng"} <= set(learner.state_dict()["scalars"])


def test_a_state_of_another_configuration_is_refused():
    state = make().state_dict()
    with pytest.raises(ValueError, match="tasks"):
        make(tasks=("forward", "left")).load_state_dict(state)
    with pytest.raises(ValueError, match="constraint_kind"):
        make(kind="dual").load_state_dict(state)
    with pytest.raises(ValueError, match="shared_network"):
        make(shared=True).load_state_dict(state)
    with pytest.raises(ValueError, match="version"):
        make().load_state_dict({**state, "scalars": {**state["scalars"], "version": 0}})
    extra = {**state["tensors"], "left.sac.updates": np.array(0)}
    with pytest.raises(ValueError, match=r"left\.sac\.updates"):
        make().load_state_dict({**state, "tensors": extra})


def test_a_refused_state_changes_nothing():
    learner, other = make(), make(5)
    feed(other, 50)
    other.update(3)
    state = other.state_dict()
    state["tensors"]["backward.multipliers.values"] = np.array([np.nan, 0.0])
    before = bytes_of(learner)
    with pytest.raises(ValueError, match="values"):
        learner.load_state_dict(state)
    assert bytes_of(learner) == before


def test_one_shared_network_learns_opposite_tasks_and_is_saved_as_one_policy_each(tmp_path):
    learner = make(shared=True, kind="off")
    rng = np.random.default_rng(0)
    for _ in range(100):
        action = rng.uniform(-1, 1, ACT)
        learner.add(
            Transition(
                np.zeros(OBS), action, [action[0], -action[0]], np.zeros(K), np.zeros(OBS), True,
                "backward",
            )
        )  # fmt: skip
    learner.update(300)
    assert learner.metrics()["forward"]["updates"] == 300
    forward, backward = (learner.policy(t).act(np.zeros(OBS), True)[0] for t in TASKS)
    assert forward > backward + 0.1
    save_policies(tmp_path / "p", {t: learner.policy(t) for t in TASKS}, {})
    loaded, _ = load_policies(tmp_path / "p")
    for task in TASKS:
        observation = rng.standard_normal(OBS)
        assert loaded[task].observation_size == OBS
        np.testing.assert_allclose(
            loaded[task].act(observation, True),
            learner.policy(task).act(observation, True),
            atol=1e-5,
        )


def test_a_shared_network_takes_each_tasks_own_multipliers():
    one, two = make(shared=True), make(shared=True)
    two.end_episode("backward", [1.0, 1.0])
    for learner in (one, two):
        feed(learner, 50)
        learner.update(1)
    assert weights(one, "forward") == weights(two, "forward"), "the first turn is forward's"
    for learner in (one, two):
        learner.update(1)
    assert weights(one, "forward") != weights(two, "forward")


def test_wrong_names_are_refused():
    learner = make()
    with pytest.raises(ValueError, match="unknown task 'left'"):
        learner.end_episode("left", [0.0, 0.0])
    with pytest.raises(ValueError, match="each once"):
        make(tasks=("forward", "forward"))
    with pytest.raises(ValueError, match="holds no batch"):
        learner_config(replay_capacity=10)


def test_a_weight_that_breaks_is_noticed():
    learner = make()
    assert learner.finite()
    learner.policy("backward").layers[0][0][0, 0] = np.nan
    assert not learner.finite()


@pytest.mark.parametrize("relabel", [True, False])
def test_learners_that_share_the_tasks_are_together_the_whole_one(relabel):
    whole, *parts = (make(3, relabel=relabel) for _ in range(3))
    for part, task in zip(parts, TASKS, strict=True):
        part.learn_only([task])
        assert part.learned_tasks == (task,)
    for learner in (whole, *parts):
        feed(learner, 100)
        learner.update(7)
        learner.end_episode("forward", [0.3, 0.1])
        learner.update(4)
    expected = bytes_of(whole)
    for part, task in zip(parts, TASKS, strict=True):
        found = bytes_of(part)
        own = {k for k in expected if k.startswith(f"{task}.")} | {"scalars"}
        assert {k: found[k] for k in own} == {k: expected[k] for k in own}
    with pytest.raises(ValueError, match="shared network"):
        make(shared=True).learn_only(["forward"])
