# SPDX-License-Identifier: MIT
"""`FastSac` against `Sac`: gradients, updates, states; wrong kernels fail the comparison."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batches import OBS, PRICES, A, N, make_batch
from small_sac import learner_config, sac_config
from torch import Tensor

from walkhome.learning import sac as reference
from walkhome.learning.fused import kernel_library, kernels
from walkhome.learning.fused.fast_sac import FastSac
from walkhome.learning.fused.kernels import Kernels
from walkhome.learning.fused.objective import Objective
from walkhome.learning.learner import Learner
from walkhome.learning.networks import Actor, NetworkSizes
from walkhome.learning.sac import Sac
from walkhome.native.compiled import has_bfloat16

# Compiler flags of older processors of this kind: narrower vectors and tiles.
NARROWER = (
    [("-march=x86-64-v3", "-mprefer-vector-width=256"), ("-march=x86-64",)]
    if platform.machine() == "x86_64"
    else []
)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run everything in float64, where the two differ only by rounding errors of 1e-16."""
    loss = reference.actor_loss

    def in_double(*tensors: Tensor) -> Tensor:
        return loss(*(t.double() for t in tensors))

    monkeypatch.setattr(reference, "actor_loss", in_double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def use_kernels(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    right: str = "",
    wrong: str = "",
    flags: Sequence[str] = (),
) -> None:
    """Recompile the C with one piece of text replaced, for the learners made after this."""
    (folder / "learning").mkdir()
    found = 0
    for name in ("kernels.c", *kernel_library.HEADERS):
        source = Path(kernel_library.__file__).with_name(name).read_text()
        found += source.count(right) if right else 0
        text = source.replace(right, wrong) if right else source
        (folder / "learning" / name).write_text(text)
    assert found == bool(right), f"{right!r} is there {found} times"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(kernel_library, "FOLDER", folder / "learning")
    flags = (*kernel_library.FLAGS, *flags)
    monkeypatch.setattr(kernel_library, "FLAGS", flags)
    anew = cache(kernel_library.library.__wrapped__)
    monkeypatch.setattr(kernels, "library", anew)


def make_pair(n_constraints: int = 2, **settings: Any) -> tuple[Sac, FastSac]:
    config = sac_config(hidden_sizes=(16, 12), batch_size=N, **settings)
    return (
        Sac(config, NetworkSizes(OBS, A, n_constraints), seed=3),
        FastSac(config, NetworkSizes(OBS, A, n_constraints), seed=3),
    )


def gradients(sac: Sac) -> dict[str, Tensor]:
    """The gradient of the newest update for each tensor that learns."""
    learns = {n: t for n, t in sac.tensors().items() if not n.startswith("targets.")}
    if not isinstance(sac, FastSac):
        return {name: t.grad for name, t in learns.items() if t.grad is not None}
    found = {}
    for adam in (sac._critic_adam, sac._actor_adam, sac._alpha_adam):
        for parameter, gradient in zip(adam._parameters, adam.gradients, strict=True):
            found.update({name: gradient for name, t in learns.items() if t is parameter})
    return found


def check_gradients(plain: Sac, fast: FastSac, multipliers: np.ndarray, n: int = N) -> None:
    batch = make_batch(0, plain.sizes.constraints, n)
    for sac in (plain, fast):
        sac.update(batch, multipliers)
    expected, got = gradients(plain), gradients(fast)
    learning_names = [name for name in plain.tensors() if not name.startswith("targets.")]
    assert sorted(expected) == sorted(got) == sorted(learning_names)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0.0, name
        torch.testing.assert_close(got[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def check_equal(plain: Sac, fast: Sac, tolerance: float) -> None:
    expected, got = plain.state_dict(), fast.state_dict()
    assert list(expected) == list(got)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(
            got[name].astype(float), array.astype(float), 0.0, tolerance, err_msg=name
        )


def check_same_bytes(one: Sac, other: Sac) -> None:
    expected, got = one.state_dict(), other.state_dict()
    assert list(expected) == list(got)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.usefixtures("double")
class TestMathematics:
    @pytest.mark.parametrize("priced", [True, False])
    @pytest.mark.parametrize("n_critics", [1, 2])
    @pytest.mark.parametrize("layer_norm", [True, False])
    @pytest.mark.parametrize("n_constraints", [0, 1, 2])
    def test_every_gradient_is_that_of_autograd(
        self, n_constraints: int, layer_norm: bool, n_critics: int, priced: bool
    ) -> None:
        pair = make_pair(n_constraints, layer_norm=layer_norm, n_critics=n_critics)
        check_gradients(*pair, priced * PRICES[:n_constraints])

    @pytest.mark.parametrize("n_hidden", [1, 3])
    def test_gradients_at_other_depths(self, n_hidden: int) -> None:
        config = sac_config(hidden_sizes=tuple(range(8, 8 + n_hidden)))
        check_gradients(
            Sac(config, NetworkSizes(OBS, A, 2), 3),
            FastSac(config, NetworkSizes(OBS, A, 2), 3),
            PRICES,
        )

    def test_gradients_where_log_std_is_clipped(self) -> None:
        plain, fast = make_pair(log_std_range=(-0.05, 0.05))
        check_gradients(plain, fast, PRICES)

    @pytest.mark.parametrize("bound", [0, 1])
    def test_log_std_learns_exactly_at_its_bound(self, bound: int) -> None:
        pair = make_pair(log_std_range=(-1.0, 0.5))
        for sac in pair:
            with torch.no_grad():
                sac.actor.weights[-1][A:] = 0.0
                sac.actor.biases[-1][A:] = sac.actor.log_std_range[bound]
        check_gradients(*pair, PRICES)
        assert gradients(pair[1])["actor.layer2.bias"][A:].abs().min() > 0.0

    def test_critics_that_tie_share_the_gradient(self) -> None:
        pair = make_pair()
        for sac in pair:
            with torch.no_grad():
                for tensor in (*sac.critics.parameters, *sac.targets):
                    if len(tensor) > 1:
                        tensor[1] = tensor[0]
        pair[1]._critic_adam.refresh()
        check_gradients(*pair, PRICES)

    @pytest.mark.parametrize("actor_every", [1, 2])
    @pytest.mark.parametrize("layer_norm", [True, False])
    @pytest.mark.parametrize("n_constraints", [0, 2])
    def test_updates_in_a_row_agree(
        self, n_constraints: int, layer_norm: bool, actor_every: int
    ) -> None:
        settings = {"layer_norm": layer_norm, "actor_every": actor_every}
        plain, fast = make_pair(n_constraints, learning_rate=1e-3, tau=0.1, **settings)
        for i in range(12):
            # Batches of two sizes, with and without multipliers.
            batch = make_batch(i, n_constraints, N + i % 2)
            prices = (i % 3 > 0) * PRICES[:n_constraints]
            for sac in (plain, fast):
                sac.update(batch, prices)
            for name, value in plain.metrics().items():
                assert fast.metrics()[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
        check_equal(plain, fast, 1e-9)

    @pytest.mark.parametrize("flags", [(), *NARROWER])
    @pytest.mark.parametrize(("sizes", "n"), [((130, 67), 66), ((3, 129), 13)])
    def test_gradients_at_sizes_that_fill_no_tile(
        self,
        sizes: tuple[int, int],
        n: int,
        flags: Sequence[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        use_kernels(monkeypatch, tmp_path, flags=flags)
        config = sac_config(hidden_sizes=sizes)
        pair = Sac(config, NetworkSizes(OBS, A, 2), 3), FastSac(config, NetworkSizes(OBS, A, 2), 3)
        check_gradients(*pair, PRICES, n)

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            # networks
            ("+ (i + j) * columns, scratch + j * length", "+ (i + j) * columns, scratch"),
            ("other[j] = load(other_active[j]) <= 0 ? 0 : other[j];", ""),
            ("product += v * load(normal[j]);", "product += v;"),
            ("other_sum += w;\n        other_product", "other_product"),
            ("- shifted * shifted", ""),
            ("d_gain[j] += row[j] * x;", "d_gain[j] += row[j];"),
            ("d_bias[j] += v;", "d_bias[j] = v;"),
            ("d_bias[j] += row[j];", "d_bias[j] = row[j];"),
            ("row[j] += d * w[j];", "row[j] = d * w[j];"),
            ("layernorm_backward_row(args, m, other", "layernorm_backward_row(args, m, row"),
            ("h->d_bias[o] += d;", ";"),
            (
                "to[sample_index(args, n) * columns + j] +=",
                "to[sample_index(args, n) * columns + j] =",
            ),
            ("return args->samples ? args->samples[n] : n;", "return n;"),
            # products and packing
            ("tile(R, 1, a, row, step, b", "tile(R, 1, a, row, step, b + 1"),
            ("i / WIDTH * depth * WIDTH + place, 1, WIDTH", "place, 1, WIDTH"),
            ("sum[i][j] = add_product(sum[i][j], x, y[j]);", "sum[i][j] = x * y[j];"),
            ("(start + i) % WIDTH, n", "i % WIDTH, n"),
            # losses
            ("(1 - action[j] * action[j])", "1"),
            ("+ 2 * weight * action[j]", ""),
            ("log_std == raw[j] ? d : 0 * d", "d"),
            ("- args->target_entropy", ""),
            ("least = value < least", "least = value > least"),
            ("* not_done_n * value", "* value"),
            ("* (values[i * rows + n] == least) / ties", ""),
        ],
    )
    def test_a_wrong_kernel_is_caught(
        self, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        use_kernels(monkeypatch, tmp_path, right, wrong)

        def check() -> None:
            for layer_norm in (True, False):
                check_gradients(*make_pair(layer_norm=layer_norm), PRICES)
            check_gradients(*make_pair(log_std_range=(-0.05, 0.05)), PRICES)
            config = sac_config(hidden_sizes=(70, 129))
            pair = (
                Sac(config, NetworkSizes(OBS, A, 2), 3),
                FastSac(config, NetworkSizes(OBS, A, 2), 3),
            )
            check_gradients(*pair, PRICES, 30)

        with pytest.raises(AssertionError):
            check()

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ("(1 - beta2) * g * g", "(1 - beta2) * g"),
            ("tau * (live[i] - target[i])", "tau * live[i]"),
        ],
    )
    def test_a_wrong_step_is_caught(
        self, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        use_kernels(monkeypatch, tmp_path, right, wrong)
        plain, fast = make_pair()
        for sac in (plain, fast):
            sac.update(make_batch(0, 2), PRICES)
        with pytest.raises(AssertionError):
            check_equal(plain, fast, 1e-9)

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ("from + i * m->columns, m->columns, strip", "from, m->columns, strip"),
            ("m, args->target + at, start", "m, args->parameter + at, start"),
            ("if (m->packed || m->transposed)", "if (!learn && (m->packed || m->transposed))"),
        ],
    )
    def test_weights_left_behind_are_caught(
        self, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        use_kernels(monkeypatch, tmp_path, right, wrong)
        plain, fast = make_pair(learning_rate=1e-3, tau=0.1)
        for i in range(3):
            for sac in (plain, fast):
                sac.update(make_batch(i, 2), PRICES)
        with pytest.raises(AssertionError):
            check_equal(plain, fast, 1e-9)


class TestBfloat16:
    """Products of bfloat16 factors: close to `Sac`, and exactly reproducible from a state."""

    def make(self, **settings: Any) -> tuple[Sac, FastSac]:
        config = sac_config(hidden_sizes=(64, 48), batch_size=64, **settings)
        return Sac(config, NetworkSizes(OBS, A, 2), seed=3), FastSac(
            config, NetworkSizes(OBS, A, 2), seed=3, half=True
        )

    @pytest.mark.parametrize("layer_norm", [True, False])
    def test_gradients_point_where_those_of_float32_do(self, layer_norm: bool) -> None:
        plain, fast = self.make(layer_norm=layer_norm)
        for sac in (plain, fast):
            sac.update(make_batch(0, 2, 64), PRICES)
        expected, got = gradients(plain), gradients(fast)
        assert sorted(expected) == sorted(got)
        for name, gradient in expected.items():
            error = (got[name].float() - gradient).norm() / gradient.norm()
            assert error < 0.1, (name, float(error))

    @pytest.mark.parametrize("flags", [(), *NARROWER])
    def test_gradients_at_sizes_that_fill_no_unit(
        self, flags: Sequence[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        # Without the instructions for bfloat16 its products are done in float32.
        use_kernels(monkeypatch, tmp_path, flags=flags)
        config = sac_config(hidden_sizes=(131, 71), batch_size=67)
        plain, fast = (
            Sac(config, NetworkSizes(OBS, A, 2), 3),
            FastSac(config, NetworkSizes(OBS, A, 2), 3, half=True),
        )
        for sac in (plain, fast):
            sac.update(make_batch(0, 2, 67), PRICES)
        got = gradients(fast)
        for name, gradient in gradients(plain).items():
            error = (got[name] - gradient).norm() / gradient.norm()
            assert error < 0.1, (name, float(error))

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [
            ("first | (unit)second << 16", "second | (unit)first << 16"),
            ("_mm512_loadu_ps(from + j)", "_mm512_loadu_ps(from)"),
        ],
    )
    @pytest.mark.skipif(not has_bfloat16(), reason="other code without its instructions")
    def test_a_wrong_layout_is_caught(
        self, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        use_kernels(monkeypatch, tmp_path, right, wrong)
        with pytest.raises(AssertionError):
            self.test_gradients_point_where_those_of_float32_do(True)

    def test_it_follows_the_same_target(self) -> None:
        plain, fast = self.make(learning_rate=1e-3)
        for i in range(200):
            for sac in (plain, fast):
                sac.update(make_batch(i % 4, 2, 64), PRICES)
        one, other = plain.metrics(), fast.metrics()
        assert other["q_mean"] == pytest.approx(one["q_mean"], abs=0.03)
        assert other["critic_loss"] == pytest.approx(one["critic_loss"], rel=0.2)

    def test_a_state_goes_on_with_the_same_bytes(self) -> None:
        one, other = self.make()[1], self.make()[1]
        for i in range(5):
            one.update(make_batch(i, 2, 64), PRICES)
        other.update(make_batch(9, 2, 64), PRICES)  # something to overwrite
        other.load_state_dict(one.state_dict())
        for i in range(5):
            for sac in (one, other):
                sac.update(make_batch(i, 2, 64), PRICES)
        check_same_bytes(one, other)

    def test_what_is_not_finite_is_seen(self) -> None:
        fast = self.make()[1]
        batch = make_batch(0, 2, 64)
        batch.reward[3] = np.nan
        fast.update(batch, PRICES)
        assert not fast.finite()


class TestDraw:
    """Sampling of actions: in float32 the C has its own exponential and logarithm."""

    def sampled(self, kind: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, a = 4000, 3
        generator = torch.Generator().manual_seed(0)
        head = torch.randn(n, 2 * a, generator=generator, dtype=torch.float64) * 6.0
        noise = torch.randn(n, a, generator=generator, dtype=torch.float64)
        head, noise = head.to(kind), noise.to(kind)
        head[0], noise[0] = 0.0, 0.0
        kernels = Kernels(kind)
        objective = Objective(kernels)
        args = objective.sample(head, noise, kernels.stored(n, a)[:n, :a], (-10.0, 2.0))
        objective.sample_actions(args)
        actor = Actor(OBS, a, (4,), (-10.0, 2.0), generator)
        actor.head = lambda x: (x[:, :a], x[:, a:].clamp(-10.0, 2.0))  # type: ignore[method-assign]
        return (*args.sampled, *actor.sample(head.double(), noise.double()))

    @pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-9)])
    def test_it_is_that_of_the_actor(self, kind: torch.dtype, tolerance: float) -> None:
        action, log_prob, expected, expected_log_prob = self.sampled(kind)
        assert expected_log_prob.max() - expected_log_prob.min() > 50.0
        torch.testing.assert_close(action.double(), expected, rtol=0.0, atol=2 * tolerance)
        torch.testing.assert_close(
            log_prob.double(), expected_log_prob, rtol=tolerance, atol=20 * tolerance
        )

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [("1.0f / 720", "0.0f"), ("2.12194440e-4f", "0.0f"), ("1.0f / 9;", "0.0f;")],
    )
    def test_a_wrong_digit_is_caught(
        self, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        use_kernels(monkeypatch, tmp_path, right, wrong)
        with pytest.raises(AssertionError):
            self.test_it_is_that_of_the_actor(torch.float32, 1e-6)

    def test_what_is_not_a_number_stays_so(self) -> None:
        kernels = Kernels(torch.float32)
        head, noise = torch.zeros(2, 4), torch.zeros(2, 2)
        head[0, 1] = head[1, 2] = np.nan
        objective = Objective(kernels)
        args = objective.sample(head, noise, kernels.stored(2, 2), (-10.0, 2.0))
        objective.sample_actions(args)
        assert args.sampled[1].isnan().all()
        assert args.sampled[0].isnan().tolist() == [[False, True], [True, False]]


class TestStates:
    @pytest.mark.parametrize("half", [False, True])
    def test_where_memory_lies_changes_nothing(
        self, half: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = sac_config(hidden_sizes=(70, 36), batch_size=34)
        one = FastSac(config, NetworkSizes(OBS, A, 2), seed=3, half=half)
        zeros = torch.zeros

        def elsewhere(*shape: Any, dtype: torch.dtype | None = None) -> Tensor:
            size = shape[0] if shape and isinstance(shape[0], tuple) else shape
            numbers = int(np.prod(size))
            return zeros(numbers + 6, dtype=dtype)[6:].view(size)  # 12 or 24 bytes further

        monkeypatch.setattr(torch, "zeros", elsewhere)
        monkeypatch.setattr(torch, "empty", elsewhere)
        other = FastSac(config, NetworkSizes(OBS, A, 2), seed=3, half=half)
        assert other.critics.parameters[0].data_ptr() % 64 == 24
        for sac in (one, other):
            for i in range(3):
                sac.update(make_batch(i, 2, 34), PRICES)
        check_same_bytes(one, other)

    def test_float32_agrees_too(self) -> None:
        plain, fast = make_pair()
        for i in range(20):
            for sac in (plain, fast):
                sac.update(make_batch(i, 2), PRICES)
        check_equal(plain, fast, 1e-4)

    def test_same_seed_same_bytes(self) -> None:
        one, other = make_pair()[1], make_pair()[1]
        for sac in (one, other):
            for i in range(5):
                sac.update(make_batch(i, 2), PRICES)
        check_same_bytes(one, other)

    @pytest.mark.parametrize("source", [0, 1])
    @pytest.mark.parametrize("updates", [0, 1, 5])
    def test_a_state_loads_into_either(self, source: int, updates: int) -> None:
        # actor_every=2: after one update the critics have stepped and the actor has not.
        saved = make_pair(actor_every=2)[source]
        for i in range(updates):
            saved.update(make_batch(i, 2), PRICES)
        pair = make_pair(actor_every=2)
        for sac in pair:
            sac.update(make_batch(99, 2), PRICES)  # something to overwrite
            sac.load_state_dict(saved.state_dict())
            check_same_bytes(saved, sac)
        for i in range(4):
            for sac in (saved, *pair):
                sac.update(make_batch(50 + i, 2), PRICES)
        check_same_bytes(saved, pair[source])
        check_equal(saved, pair[1 - source], 1e-4)

    def test_a_state_is_a_copy(self) -> None:
        fast = make_pair()[1]
        fast.update(make_batch(0, 2), PRICES)
        state = fast.state_dict()
        before = {name: array.copy() for name, array in state.items()}
        fast.update(make_batch(1, 2), PRICES)
        for name, array in before.items():
            np.testing.assert_array_equal(state[name], array, err_msg=name)

    def test_steps_that_differ_are_refused(self) -> None:
        fast = make_pair()[1]
        fast.update(make_batch(0, 2), PRICES)
        state = fast.state_dict()
        state["adam.critics.hidden0.weight.step"] += 1
        with pytest.raises(ValueError, match="steps"):
            make_pair()[1].load_state_dict(state)

    def test_views_of_the_actor_stay_live(self) -> None:
        fast = make_pair()[1]
        views = [t.detach().numpy() for t in (*fast.actor.weights, *fast.actor.biases)]
        before = [view.copy() for view in views]
        fast.update(make_batch(0, 2), PRICES)
        fast.load_state_dict(fast.state_dict())
        for view, old, tensor in zip(
            views, before, (*fast.actor.weights, *fast.actor.biases), strict=True
        ):
            assert np.abs(view - old).max() > 0.0
            np.testing.assert_array_equal(view, tensor.detach().numpy())

    def test_finite_and_metrics_before_and_after(self) -> None:
        plain, fast = make_pair()
        assert fast.metrics() == plain.metrics()
        fast.update(make_batch(0, 2), PRICES)
        assert fast.finite()
        fast.update(make_batch(1, 2), np.array([np.nan, 0.0]))
        assert not fast.finite()


class TestLearner:
    def made(self, **settings: Any) -> Learner:
        config = learner_config(sac_config(batch_size=4), replay_capacity=10, **settings)
        return Learner(config, ("walk",), NetworkSizes(OBS, A, 0), 0)

    @pytest.mark.parametrize(
        ("backend", "precision", "kind", "store"),
        [
            ("fast", "float32", FastSac, torch.float32),
            ("fast", "bfloat16", FastSac, torch.bfloat16),
            ("plain", "bfloat16", Sac, None),
        ],
    )
    def test_backend_and_precision(
        self, backend: Any, precision: Any, kind: type, store: torch.dtype | None
    ) -> None:
        learner = self.made(backend=backend, precision=precision)
        assert [type(sac) for sac in learner._sacs] == [kind]
        assert learner.slow_because == ""
        if store is not None:
            assert learner._sacs[0].kernels.store is store

    def test_without_a_compiler_it_learns_slowly_and_says_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(kernels, "library", cache(kernel_library.library.__wrapped__))
        learner = self.made()
        assert [type(sac) for sac in learner._sacs] == [Sac]
        assert "no C compiler" in learner.slow_because

    @pytest.mark.parametrize("setting", [{"backend": "quick"}, {"precision": "float16"}])
    def test_unknown_settings(self, setting: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(setting))):
            learner_config(**setting)
