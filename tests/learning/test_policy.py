# SPDX-License-Identifier: MIT
from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from walkhome.learning.networks import Actor
from walkhome.learning.policy import NumpyPolicy, PolicyInvalid, load_policies, save_policies

OBS, A = 5, 3


def layers(seed: int = 0, sizes=(OBS, 16, 12, 2 * A)):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(b, a)).astype(np.float32), rng.normal(size=b).astype(np.float32))
        for a, b in pairwise(sizes)
    ]


def torch_and_numpy() -> tuple[Actor, NumpyPolicy]:
    actor = Actor(OBS, A, (32, 16), (-10.0, 2.0), torch.Generator().manual_seed(0))
    pairs = zip(actor.weights, actor.biases, strict=True)
    return actor, NumpyPolicy([(w.detach().numpy(), b.detach().numpy()) for w, b in pairs])


def test_numpy_and_torch_agree():
    actor, policy = torch_and_numpy()
    rng = np.random.default_rng(0)
    for _ in range(20):
        observation = rng.normal(size=OBS)
        noise = rng.standard_normal(A)

        class Fixed:
            """A generator whose next draw is known."""

            def standard_normal(self, n, noise=noise):
                return noise[:n]

        with torch.no_grad():
            x = torch.from_numpy(observation.astype(np.float32))[None]
            mean, _ = actor.head(x)
            action, _ = actor.sample(x, torch.from_numpy(noise.astype(np.float32))[None])
        np.testing.assert_allclose(policy.act(observation, True), mean.tanh()[0], atol=1e-5)
        got = policy.act(observation, False, Fixed())
        np.testing.assert_allclose(got, action[0], atol=1e-5)
        np.testing.assert_allclose(
            policy.act(observation, False, noise=noise), action[0], atol=1e-5
        )


def test_actions_are_fresh_bounded_double_and_repeatable():
    policy = NumpyPolicy([(10 * w, b) for w, b in layers()])
    rng = np.random.default_rng(0)
    first = policy.act(np.ones(OBS), False, rng)
    kept = first.copy()
    second = policy.act(-np.ones(OBS), False, rng)
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)
    assert np.abs([first, second]).max() <= 1.0
    again = policy.act(np.ones(OBS), False, np.random.default_rng(0))
    np.testing.assert_array_equal(again, first)


def test_live_weights_act_at_once():
    actor, policy = torch_and_numpy()
    before = policy.act(np.ones(OBS), True)
    with torch.no_grad():
        actor.biases[-1] += 0.5
    assert not np.array_equal(policy.act(np.ones(OBS), True), before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, OBS - 1])
def test_an_observation_that_is_not_finite_is_refused_by_place(bad, where):
    observation = np.zeros(OBS)
    observation[where] = bad
    with pytest.raises(ValueError, match=rf"not finite at \[{where}\]"):
        NumpyPolicy(layers()).act(observation, True)


def test_wrong_use_is_refused():
    policy = NumpyPolicy(layers())
    with pytest.raises(ValueError, match="shape"):
        policy.act(np.zeros(OBS + 1), True)
    with pytest.raises(ValueError, match="rng"):
        policy.act(np.zeros(OBS), False)


def test_weights_that_break_later_never_give_an_action():
    parts = layers()
    policy = NumpyPolicy(parts)
    parts[-1][1][0] = np.nan
    with pytest.raises(PolicyInvalid, match="stop the robot"):
        policy.act(np.zeros(OBS), True)


def test_saved_policies_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "policy.safetensors"
    policies = {
        "forward": NumpyPolicy(layers(0), (-5.0, 1.0)),
        "turn left": NumpyPolicy(layers(1), (-5.0, 1.0)),
    }
    metadata = {"rate_hz": 50, "observation": ["angle", "roll"], "nested": {"a": [1.5, None]}}
    save_policies(path, policies, metadata)
    loaded, got = load_policies(path)
    assert got == {**metadata, "log_std_range": [-5.0, 1.0]}
    assert set(loaded) == set(policies)
    observation = np.linspace(-1, 1, OBS)
    for task, policy in policies.items():
        assert loaded[task].log_std_range == (-5.0, 1.0)
        for deterministic in (True, False):
            np.testing.assert_array_equal(
                loaded[task].act(observation, deterministic, np.random.default_rng(0)),
                policy.act(observation, deterministic, np.random.default_rng(0)),
            )


def test_the_file_is_as_described(tmp_path):
    path = tmp_path / "policy.safetensors"
    save_policies(path, {"forward": NumpyPolicy(layers())}, {"rate_hz": 50})
    tensors = load_file(path)
    assert tensors["forward.layer0.weight"].shape == (16, OBS)
    assert tensors["forward.layer2.bias"].shape == (2 * A,)
    assert {t.dtype for t in tensors.values()} == {np.dtype(np.float32)}
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    description = json.loads(header["__metadata__"]["walkhome"])
    assert description == {"rate_hz": 50, "log_std_range": [-10.0, 2.0]}


def test_equal_policies_are_equal_bytes(tmp_path):
    for name in "ab":
        save_policies(tmp_path / name, {"forward": NumpyPolicy(layers())}, {"rate_hz": 50})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_that_are_not_finite_are_never_written(tmp_path):
    parts = layers()
    policy = NumpyPolicy(parts)
    parts[1][0][0, 0] = np.inf
    with pytest.raises(PolicyInvalid, match="layer 1"):
        save_policies(tmp_path / "policy.safetensors", {"forward": policy}, {})
    assert not list(tmp_path.iterdir())


METADATA = {"walkhome": '{"log_std_range": [-10.0, 2.0]}'}


def write(path, change=None, metadata=METADATA):
    tensors = {}
    for i, (weight, bias) in enumerate(layers()):
        tensors[f"forward.layer{i}.weight"], tensors[f"forward.layer{i}.bias"] = weight, bias
    if change is not None:
        change(tensors)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("forward.layer1.bias"), "layers are missing"),
        (lambda t: (t.pop("forward.layer0.weight"), t.pop("forward.layer0.bias")), "missing"),
        (lambda t: t.update({"forward.layer0.scale": np.zeros(1, np.float32)}), "unknown tensor"),
        (lambda t: t.update({"forward.layer0.bias": np.zeros(16)}), "float64"),
        (lambda t: t.update({"forward.layer0.bias": np.zeros(15, np.float32)}), "layer 0: weight"),
        (
            lambda t: t.update({"forward.layer1.weight": np.zeros((12, 15), np.float32)}),
            "takes 15 but is given 16",
        ),
        (
            lambda t: t.update({"forward.layer1.bias": np.full(12, np.nan, np.float32)}),
            "not finite",
        ),
        (
            lambda t: t.update(
                {
                    "forward.layer2.weight": np.zeros((5, 12), np.float32),
                    "forward.layer2.bias": np.zeros(5, np.float32),
                }
            ),
            "5 outputs",
        ),
        (
            lambda t: t.update(
                {
                    "turn.layer0.weight": np.zeros((2, 4), np.float32),
                    "turn.layer0.bias": np.zeros(2, np.float32),
                }
            ),
            "tasks differ",
        ),
        (lambda t: t.clear(), "empty"),
    ],
)
def test_a_damaged_policy_is_refused_with_what_where_and_what_next(tmp_path, change, message):
    path = tmp_path / "policy.safetensors"
    write(path, change)
    with pytest.raises(PolicyInvalid, match=message) as error:
        load_policies(path)
    assert "policy.safetensors" in str(error.value)
    assert "checkpoint" in str(error.value)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"walkhome": "{}"},
        {"walkhome": "{"},
        {"walkhome": "[]"},
        {"walkhome": '{"log_std_range": 1.0}'},
        {"walkhome": '{"log_std_range": [2.0, -10.0]}'},
        {"walkhome": '{"log_std_range": ["a", "b"]}'},
    ],
)
def test_a_policy_without_its_description_is_refused(tmp_path, metadata):
    path = tmp_path / "policy.safetensors"
    write(path, metadata=metadata)
    with pytest.raises(PolicyInvalid, match=r"policy\.safetensors"):
        load_policies(path)


def test_every_torn_or_altered_file_is_refused_or_harmless(tmp_path):
    path = tmp_path / "policy.safetensors"
    write(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(PolicyInvalid):
            load_policies(path)
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(0, len(whole))] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        try:
            policies, _ = load_policies(path)
        except PolicyInvalid:
            continue
        for policy in policies.values():
            assert np.isfinite(policy.act(np.zeros(OBS), True)).all()


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(PolicyInvalid, match=r"nothing\.safetensors"):
        load_policies(tmp_path / "nothing.safetensors")


def test_running_a_policy_loads_no_torch(tmp_path):
    path = tmp_path / "policy.safetensors"
    write(path)
    code = (
        "import sys, numpy as np\n"
        "import walkhome.learning.constraint\n"
        "from walkhome.learning.policy import load_policies\n"
        f"policies, _ = load_policies({str(path)!r})\n"
        f"policies['forward'].act(np.zeros({OBS}), False, np.random.default_rng(0))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
