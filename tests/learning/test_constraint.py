# SPDX-License-Identifier: MIT
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sac import constraint_config

from walkhome.learning.constraint import make_multipliers

anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
kinds = st.sampled_from(["pid", "dual"])


def make(kind: str, k: int = 1, budget: float = 0.01, **settings_):
    return make_multipliers(constraint_config(kind=kind, budgets=(budget,) * k, **settings_), k)


@given(
    kinds, st.lists(st.tuples(anything, anything), max_size=40), st.floats(0, 1), st.floats(0, 7)
)
def test_multipliers_are_finite_and_bounded_whatever_comes_in(kind, costs, budget, lowest):
    multipliers = make(kind, 2, budget, lambda_min=lowest, lambda_max=7.0)
    for cost in costs:
        multipliers.update(cost)
        assert np.isfinite(multipliers.values).all()
        assert (multipliers.values >= lowest).all()
        assert (multipliers.values <= 7.0).all()
        assert all(np.isfinite(a).all() for a in multipliers.state_dict().values())


@given(
    kinds,
    st.lists(st.floats(0, 1), max_size=10),
    st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1, max_size=10),
)
def test_a_measurement_that_is_not_finite_changes_nothing_and_is_counted(kind, before, broken):
    multipliers, twin = make(kind, 2), make(kind, 2)
    for cost in before:
        multipliers.update([cost, cost])
        twin.update([cost, cost])
    state = multipliers.state_dict()
    for cost in broken:
        multipliers.update([cost, 0.5])
        twin.update([0.0, 0.5])
    after = multipliers.state_dict()
    for name, array in after.items():
        if name != "rejected":
            assert array[0] == state[name][0], "the broken one stands still"
            assert array[1] == twin.state_dict()[name][1], "the other one goes on"
    assert after["rejected"].tolist() == [len(broken), 0]


@pytest.mark.parametrize("kind", ["pid", "dual"])
def test_a_multiplier_rises_from_its_floor_and_comes_back_to_it(kind):
    multipliers = make(kind, lambda_min=1.0)
    assert multipliers.values.tolist() == [1.0]
    for _ in range(20):
        multipliers.update([0.0])
    assert multipliers.values.tolist() == [1.0]
    multipliers.update([0.05])
    assert multipliers.values[0] > 1.05, (
        "at once: twenty clean episodes left nothing to make up for"
    )
    for _ in range(20):
        multipliers.update([0.0])
    assert multipliers.values.tolist() == [1.0]


def test_one_nan_does_not_switch_a_constraint_off():
    multipliers = make("pid")
    multipliers.update([math.nan])
    for _ in range(3):
        multipliers.update([0.08])
    assert multipliers.values[0] > 0.0


@given(kinds, st.lists(st.floats(0, 1), max_size=20), st.floats(0, 1e300), st.floats(0, 1e300))
def test_a_larger_violation_is_never_answered_by_a_smaller_step(kind, history, one, other):
    low, high = min(one, other), max(one, other)
    results = []
    for newest in (low, high):
        multipliers = make(kind)
        for cost in history:
            multipliers.update([cost])
        multipliers.update([newest])
        results.append(multipliers.values[0])
    assert results[0] <= results[1]


@pytest.mark.parametrize("kind", ["pid", "dual"])
def test_the_step_grows_with_the_violation(kind):
    values = []
    for cost in (0.011, 0.02, 0.05, 0.26, 2.5):
        multipliers = make(kind)
        multipliers.update([cost])
        values.append(multipliers.values[0])
    assert values == sorted(set(values))


@given(kinds, st.lists(st.floats(0.0, 0.5), max_size=20), st.floats(0.011, 10.0))
def test_lasting_violation_makes_the_multiplier_positive(kind, history, cost):
    multipliers = make(kind)
    for earlier in history:
        multipliers.update([earlier])
    for _ in range(60):
        multipliers.update([cost])
    assert multipliers.values[0] > 0.0


@settings(max_examples=30)
@given(st.floats(0.1, 1e6), st.integers(50, 3000))
def test_pid_comes_back_from_saturation_within_fifty_updates(cost, n):
    multipliers = make("pid", lambda_max=100.0)
    for _ in range(n):
        multipliers.update([cost])
    if n > 1000:
        assert multipliers.values[0] == 100.0
    updates = 0
    while multipliers.values[0] >= 1.0:
        multipliers.update([0.0])
        updates += 1
    assert updates <= 50


def delayed_plant(multipliers, peak, half, delay, lag, episodes=400, noise=0.0):
    """A delayed policy whose cost (in budgets) falls with lambda as peak / (1 + lambda / half).

    Returns the multipliers and the costs over the episodes.
    """
    rng = np.random.default_rng(0)
    cost, applied = peak, [multipliers.values[0]] * (delay + 1)
    values, costs = [], []
    for _ in range(episodes):
        cost += (peak / (1.0 + applied[-1 - delay] / half) - cost) / lag
        measured = cost * np.exp(noise * rng.standard_normal() - 0.5 * noise**2)
        multipliers.update([0.01 * measured])
        applied.append(multipliers.values[0])
        values.append(multipliers.values[0])
        costs.append(cost)
    return np.array(values), np.array(costs)


@pytest.mark.parametrize(("peak", "half"), [(3.0, 2.0), (3.0, 20.0), (1.5, 2.0)])
def test_pid_settles_on_a_delayed_plant_without_a_limit_cycle(peak, half):
    values, costs = delayed_plant(make("pid"), peak, half, delay=2, lag=5)
    answer = half * (peak - 1.0)
    assert values.max() <= 1.25 * answer, "overshoot"
    # A multiplier far above 1 takes longer to reach, in proportion to its logarithm.
    assert np.argmax(values > 0.63 * answer) <= (20 if answer < 10 else 40)
    np.testing.assert_allclose(values[200:], answer, rtol=0.02)
    np.testing.assert_allclose(costs[200:], 1.0, rtol=0.02)


@pytest.mark.parametrize(
    ("peak", "half", "delay", "lag"), [(11.0, 0.2, 3, 8), (3.0, 2.0, 5, 15), (11.0, 2.0, 2, 5)]
)
def test_pid_settles_on_harder_plants_too(peak, half, delay, lag):
    values, costs = delayed_plant(make("pid"), peak, half, delay, lag)
    np.testing.assert_allclose(values[300:], half * (peak - 1.0), rtol=0.02)
    np.testing.assert_allclose(costs[300:], 1.0, rtol=0.02)


def test_pid_holds_the_budget_on_average_under_noise():
    _, costs = delayed_plant(make("pid"), 3.0, 2.0, 2, 5, episodes=2000, noise=0.5)
    assert 0.9 < costs[200:].mean() < 1.1


def test_pid_is_stooke_for_small_violations_without_growth():
    multipliers = make(
        "pid",
        budget=1.0,
        proportional=0.3,
        integral=0.2,
        derivative=0.7,
        growth=0.0,
        smoothing=0.0,
    )
    integral = before = 0.0
    for cost in (1.5, 1.8, 1.2, 0.4, 1.9, 1.9):
        multipliers.update([cost])
        error = cost - 1.0
        integral = max(0.0, integral + 0.2 * error)
        expected = max(0.0, 0.3 * error + integral + 0.7 * max(0.0, error - before))
        before = error
        assert multipliers.values[0] == pytest.approx(expected)


def test_dual_on_the_margin_is_the_papers_projected_ascent():
    multipliers = make("dual", budget=0.0, dual_rate=0.1, initial=(0.05,))
    value = 0.05
    for margin in (-0.3, 0.1, -0.2, 0.9, -0.1):
        multipliers.update([-margin])
        value = max(0.0, value - 0.1 * margin)
        assert multipliers.values[0] == pytest.approx(value)


@pytest.mark.parametrize("kind", ["pid", "dual"])
def test_each_constraint_has_its_own_multiplier(kind):
    multipliers = make(kind, 3)
    for _ in range(10):
        multipliers.update([0.5, 0.0, 0.02])
    values = multipliers.values
    assert values[0] > values[2] > values[1] == 0.0


def test_fixed_and_off_never_move():
    fixed = make_multipliers(constraint_config(kind="fixed", fixed=(2.0, 3.0)), 2)
    off = make_multipliers(constraint_config(kind="off"), 2)
    for multipliers in (fixed, off):
        before = multipliers.values
        multipliers.update([5.0, math.nan])
        np.testing.assert_array_equal(multipliers.values, before)
        assert multipliers.rejected.tolist() == [0, 1]
    assert fixed.values.tolist() == [2.0, 3.0]
    assert off.values.tolist() == [0.0, 0.0]


def test_no_constraint_is_a_number_of_constraints_too():
    for kind in ("pid", "dual", "fixed", "off"):
        multipliers = make_multipliers(constraint_config(kind=kind), 0)
        multipliers.update([])
        assert multipliers.values.shape == (0,)


def test_values_are_a_copy():
    multipliers = make("pid")
    multipliers.values[0] = 5.0
    assert multipliers.values[0] == 0.0


@given(kinds, st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=10))
def test_saved_multipliers_continue_bit_for_bit(kind, before, after):
    one, two = make(kind), make(kind)
    for cost in before:
        one.update([cost])
    two.load_state_dict(one.state_dict())
    for cost in after:
        one.update([cost])
        two.update([cost])
    for name, array in one.state_dict().items():
        assert array.tobytes() == two.state_dict()[name].tobytes(), name


def test_loading_refuses_what_does_not_fit():
    multipliers = make("pid")
    good = multipliers.state_dict()
    with pytest.raises(ValueError, match="the state has"):
        make("dual").load_state_dict(good)
    with pytest.raises(ValueError, match="integral"):
        multipliers.load_state_dict({**good, "integral": np.zeros(2)})
    with pytest.raises(ValueError, match="smooth is not finite"):
        multipliers.load_state_dict({**good, "smooth": np.array([np.nan])})
    with pytest.raises(ValueError, match="mean_cost has shape"):
        multipliers.update([0.1, 0.2])


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "sometimes"},
        {"lambda_max": math.inf},
        {"lambda_min": -0.1},
        {"lambda_min": 101.0},
        {"lambda_min": math.nan},
        {"budgets": (math.nan,)},
        {"scales": (0.0,)},
        {"initial": (-1.0,)},
        {"initial": (101.0,)},
        {"integral": 0.0},
        {"growth": 1.0},
        {"smoothing": 1.0},
        {"proportional": -0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError):
        constraint_config(**bad)


def test_a_missing_budget_is_named():
    with pytest.raises(ValueError, match="budgets needs 2"):
        make_multipliers(constraint_config(budgets=(0.1,)), 2)
