# SPDX-License-Identifier: MIT
"""Study files: the question, the variants, the metrics; loads and checks them.

    configs/ablations/<name>.yaml, or any path  ->  Study  ->  plan(): a `Job` per variant and seed

A study is checked completely before a run starts: unknown keys and names, values out of range,
variants that are equal, and keys that no run uses are errors (`ConfigError`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from walkhome.robot.ablation.metric_names import CURVES, METRICS
from walkhome.robot.config.messages import explain, nearest
from walkhome.robot.config.resolve import (
    ConfigError,
    leaves,
    parse_override,
    resolve_config,
    with_terrain,
)
from walkhome.robot.config.schema import Config
from walkhome.robot.config.sections import Name, Section
from walkhome.robot.config.strict_yaml import YamlError, load_yaml

Overrides = dict[str, Any]
# YAML has lists only; strict models take a tuple for a tuple.
Names = Annotated[tuple[str, ...], Field(strict=False)]
Pair = Annotated[tuple[str, str], Field(strict=False)]
Pairs = Annotated[tuple[Pair, ...], Field(strict=False)]


class Evaluation(Section):
    """Settings of the deterministic roll-outs after each run; see `robot eval`.

    Attributes:
        episodes: roll-outs per task and terrain.
        seconds: length of a roll-out, s.
        terrains: terrains besides the run's own.
    """

    episodes: Annotated[int, Field(ge=1, le=1000)] = 5
    seconds: Annotated[float, Field(ge=0.5, le=3600.0)] = 10.0
    terrains: Names = ()


class StudyFile(Section):
    """Schema of a study file.

    Attributes:
        question: the question that the study answers.
        notes: remarks for the report.
        base: configuration keys of all variants.
        variants: configuration keys of each variant; None changes nothing.
        reference: variant that the others are compared with; None: the first one.
        pairs: pairs of variants to compare, instead of the reference with each other variant.
        compare: metrics that are compared.
        metrics: further metrics to show; if this and `compare` are empty, all are shown.
        curves: curves to draw.
        maps: variants whose workspace is drawn.
        first_seed: seed of the first run of each variant.
        seeds: number of runs per variant.
        minutes: length of a run, robot minutes.
        evaluate: roll-outs after each run.
    """

    question: Annotated[str, Field(min_length=1, max_length=500)]
    notes: str = ""
    base: Annotated[Overrides, Field(default_factory=dict)]
    variants: Annotated[dict[Name, Overrides | None], Field(min_length=1)]
    reference: str | None = None
    pairs: Pairs = ()
    compare: Names = ()
    metrics: Names = ()
    curves: Names = ()
    maps: Names = ()
    first_seed: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    minutes: Annotated[float, Field(gt=0.0, le=100_000.0)] = 8.0
    evaluate: Evaluation = Evaluation()


@dataclass(frozen=True)
class Study:
    """A study whose keys, names and values have been checked.

    Attributes:
        name: name of the study, the stem of its file's name.
        source: path of the study file, for messages and the report.
        file: contents of the study file, with the command line's seeds and minutes.
        configs: configuration per variant; the seed is that of no particular run.
        overrides: "key=value" settings of the command line.
    """

    name: str
    source: str
    file: StudyFile
    configs: dict[str, Config]
    overrides: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Variant that the others are compared with; by default the first one."""
        return self.file.reference or next(iter(self.configs))

    @property
    def compared_pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs of variants to compare: the file's `pairs`, else the reference with each other."""
        others = (name for name in self.configs if name != self.reference)
        return self.file.pairs or tuple((self.reference, name) for name in others)

    @property
    def n_comparisons(self) -> int:
        """Number of simultaneous comparisons, for the Bonferroni correction."""
        return len(self.file.compare) * len(self.compared_pairs)

    def changed(self) -> dict[str, dict[str, Any]]:
        """Return per variant the values by dotted key that differ from `robot learn`'s defaults."""
        default = dict(leaves(resolve_config().config.model_dump(mode="json")))
        out = {}
        for name, config in self.configs.items():
            values = dict(leaves(config.model_dump(mode="json")))
            out[name] = {key: value for key, value in values.items() if value != default[key]}
        return out


@dataclass(frozen=True)
class Job:
    """One run of a study: a variant with one seed.

    Attributes:
        variant: name of the variant.
        seed: random seed of the run.
        config: complete configuration, with the seed.
        evaluation: roll-outs after the run.
    """

    variant: str
    seed: int
    config: Config
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """Name of the run in messages and file names."""
        return f"{self.variant}-s{self.seed}"

    @property
    def folder(self) -> str:
        """Path of its run folder, relative to the study's folder."""
        return f"runs/{self.variant}/s{self.seed}"


def plan(study: Study, seeds: Iterable[int] | None = None) -> list[Job]:
    """Return all runs of a study, ordered by seed, so that each seed is completed for all variants.

    Args:
        study: the study.
        seeds: seeds to run; None: those of the study file.
    """
    numbers = seeds_of(study) if seeds is None else seeds
    return [
        Job(name, seed, _with_seed(config, seed), study.file.evaluate)
        for seed in numbers
        for name, config in study.configs.items()
    ]


def seeds_of(study: Study) -> range:
    """Return the seeds of a study as its file and the command line set them."""
    return range(study.file.first_seed, study.file.first_seed + study.file.seeds)


def _with_seed(config: Config, seed: int) -> Config:
    return config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})})


def shipped() -> list[str]:
    """Return the names of the studies in configs/ablations, in alphabetical order."""
    folder = files("walkhome.configs").joinpath("ablations")
    return sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_study(
    name: str,
    seeds: int | None = None,
    minutes: float | None = None,
    overrides: Sequence[str] = (),
    claims: bool = True,
) -> Study:
    """Load a study by name or path and apply the command line's changes.

    Args:
        name: name of a shipped study, or path of a YAML file.
        seeds: number of seeds per variant; None: the file's.
        minutes: robot minutes per run; None: the file's.
        overrides: "key=value" settings of every variant; they take precedence over the file.
        claims: compare variants; needs at least two seeds.

    Raises:
        ConfigError: there is no such study, or the study or a variant of it is invalid.
    """
    text, source, folder = _read(name)
    try:
        value = load_yaml(text, source)
    except YamlError as error:
        raise ConfigError(str(error)) from None
    file = _checked(value, source)
    asked = {"seeds": seeds, "minutes": minutes}
    file = file.model_copy(update={k: v for k, v in asked.items() if v is not None})
    _check_names(file, source)
    if not claims:
        file = file.model_copy(update={"compare": ()})
    elif file.seeds < 2 and file.compare:
        raise ConfigError(
            f"{source}: one seed carries no claim: use at least 5 seeds, or --no-claims"
        )
    over = [f"run.minutes={file.minutes!r}", *overrides]
    configs = {}
    for variant, own in file.variants.items():
        layers = [
            (file.base, f"{source}: base", folder),
            (own or {}, f"{source}: variants.{variant}", folder),
        ]
        configs[variant] = resolve_config(layers=layers, overrides=over).config
    study = Study(Path(name).stem, source, file, configs, tuple(overrides))
    _check_keys(study, overrides)
    for terrain in file.evaluate.terrains:
        for config in configs.values():
            with_terrain(config, terrain)
    return study


def _read(name: str) -> tuple[bytes, str, Path]:
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        try:
            return path.read_bytes(), str(path), path.parent
        except OSError as error:
            raise ConfigError(f"{path}: {(error.strerror or 'unreadable').lower()}") from None
    if name not in shipped():
        near = nearest(name, shipped())
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(
            f"unknown study {name!r}: it is one of {', '.join(shipped())}, or the path of a YAML "
            f"file{hint}"
        )
    data = (files("walkhome.configs") / "ablations" / f"{name}.yaml").read_bytes()
    return data, f"configs/ablations/{name}.yaml", Path()


def _checked(value: Any, source: str) -> StudyFile:
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: not a mapping; a study has `question:` and `variants:`")
    try:
        return StudyFile.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{source}: {explain(error, StudyFile)}") from None


def _check_names(file: StudyFile, source: str) -> None:
    named: dict[str, tuple[Sequence[str], Iterable[str]]] = {
        "metrics": (file.metrics, METRICS),
        "compare": (file.compare, METRICS),
        "curves": (file.curves, CURVES),
        "maps": (file.maps, file.variants),
        "reference": ((file.reference,) if file.reference else (), file.variants),
        "pairs": ([name for pair in file.pairs for name in pair], file.variants),
    }
    for key, (names, known) in named.items():
        for name in names:
            if name not in known:
                near = nearest(name, known)
                hint = f"; did you mean {near!r}?" if near else ""
                raise ConfigError(
                    f"{source}: {key}: unknown name {name!r}; use one of {', '.join(known)}{hint}"
                )
    for number, (first, second) in enumerate(file.pairs):
        if first == second or {first, second} in [set(pair) for pair in file.pairs[:number]]:
            raise ConfigError(
                f"{source}: pairs: {first!r} and {second!r}: a pair needs two different variants, "
                "and each pair may be listed once"
            )
    for name in file.compare:
        if METRICS[name].better == 0:
            raise ConfigError(
                f"{source}: compare: for {name!r} neither more nor less is better; list it under "
                "metrics"
            )


# Conditional keys: a study may not set a key that its configuration ignores.
_USED_WHEN: dict[str, Callable[[Config], bool]] = {
    **dict.fromkeys(
        ("constraint.kp", "constraint.ki", "constraint.kd", "constraint.growth"),
        lambda config: config.constraint.kind == "pid",
    ),
    "constraint.after_fall": lambda config: config.constraint.kind != "off",
    "constraint.learning_rate": lambda config: config.constraint.kind == "dual",
    "constraint.lambda_fixed": lambda config: config.constraint.kind == "fixed",
    **dict.fromkeys(
        ("constraint.lambda_initial", "constraint.lambda_min", "constraint.lambda_max"),
        lambda config: config.constraint.kind in ("pid", "dual"),
    ),
    "control.action_filter.order": lambda c: c.control.action_filter.cutoff_hz is not None,
    "learning.precision": lambda config: (
        config.learning.backend == "fast" and config.learning.device == "cpu"
    ),
    "learning.relabel": lambda config: len(config.tasks) > 1,
    "learning.shared_network": lambda config: len(config.tasks) > 1,
    "reward.turn_penalty": lambda config: bool({"forward", "backward"} & set(config.tasks)),
    **dict.fromkeys(
        ("reward.side_penalty", "reward.angular_scale"),
        lambda config: bool({"left", "right"} & set(config.tasks)),
    ),
    **dict.fromkeys(
        ("stand_up.max_attempts", "stand_up.pause_s"),
        lambda config: config.ablation.reset == "scripted",
    ),
    "workspace.centre_radius_m": lambda config: config.ablation.scheduler,
    **dict.fromkeys(
        ("terrain.stiffness_n_m", "terrain.damping_n_s_m"),
        lambda config: config.terrain.kind == "soft",
    ),
    **dict.fromkeys(
        ("terrain.slot_width_m", "terrain.slot_depth_m"),
        lambda config: config.terrain.kind == "slots",
    ),
}
_ITS_OWN = {"run.seed": "--seeds", "run.minutes": "minutes"}


def _check_keys(study: Study, overrides: Sequence[str]) -> None:
    """Raise ConfigError for keys that change nothing, and for variants that are the same."""
    source, variants = study.source, study.file.variants
    own = {name: set(_dotted(values or {})) for name, values in variants.items()}
    given = {key for text in overrides for key in _dotted(dict([parse_override(text)]))}
    everywhere = set.intersection(*own.values())
    for key in [*_dotted(study.file.base), *(key for keys in own.values() for key in keys), *given]:
        if key in _ITS_OWN:
            raise ConfigError(f"{source}: the study sets {key}: use {_ITS_OWN[key]!r} instead")
    for key in _dotted(study.file.base):
        if key in everywhere:
            raise ConfigError(
                f"{source}: base.{key}: every variant sets it, so no run uses it; take it out"
            )
        _check_used(key, study.configs, f"{source}: base.{key}")
    for name, keys in own.items():
        for key in keys:
            _check_used(key, {name: study.configs[name]}, f"{source}: variants.{name}: {key}")
            if key in given:
                raise ConfigError(
                    f"--set {key}: it would replace the value of variant {name!r}; leave it out"
                )
    for key in given:
        _check_used(key, study.configs, f"--set {key}")
    seen: dict[Config, str] = {}
    for name, config in study.configs.items():
        if config in seen:
            raise ConfigError(f"{source}: variants {seen[config]!r} and {name!r} are the same")
        seen[config] = name


def _check_used(key: str, configs: Mapping[str, Config], where: str) -> None:
    used = _USED_WHEN.get(key)
    if used is not None and not any(used(config) for config in configs.values()):
        raise ConfigError(f"{where}: no run uses it with these other settings; take it out")


def _dotted(values: Mapping[str, Any]) -> list[str]:
    return [key for key, _ in leaves(values)]
