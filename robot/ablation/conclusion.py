# SPDX-License-Identifier: MIT
"""Generates the conclusion of a study as a sentence.

A difference is stated only if its interval excludes zero, every run of both variants has a value,
and there are at least `MIN_PAIRS` seeds; the sentence names what is left open and why.
"""

from __future__ import annotations

import math

from walkhome.robot.ablation.metric_names import METRICS
from walkhome.robot.ablation.results import Results
from walkhome.robot.ablation.statistics import MIN_PAIRS, Difference


def conclude(results: Results) -> str:
    """Return the conclusion of a study as one sentence of plain text."""
    study = results.study
    if not study.file.compare or not study.compared_pairs:
        return "Nothing was compared, so there is no claim."
    seeds = {run.job.seed for run in results.runs}
    if len(seeds) < MIN_PAIRS:
        return (
            f"No claim: n = {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}; a claim needs "
            f"at least {MIN_PAIRS}."
        )
    incomplete = [name for name in study.configs if results.n_without_result(name)]
    always = set.intersection(*map(set, study.compared_pairs)) & set(incomplete)
    if always:
        return f"No claim: {_missing(results, min(always))}."
    carried, open_ones, without = [], 0, []
    for (first, second, metric), found in results.comparisons.items():
        if first in incomplete or second in incomplete:
            continue
        if not results.has_every_value(first, second, metric):
            without.append(f"{METRICS[metric].label} of {first} and {second}")
        elif found.sign:
            carried.append(_claim(first, second, metric, found))
        else:
            open_ones += 1
    parts = []
    if carried:
        parts.append(_listed(carried))
    if open_ones:
        total = open_ones + len(carried)
        ending = "" if total == 1 else "s"
        parts.append(f"no difference is shown in {open_ones} of {total} comparison{ending}")
    if without:
        parts.append(f"nothing is claimed about {_listed(without)}: not every run has it")
    parts += _unclaimed(results, incomplete)
    return f"Over n = {len(seeds)} seeds, {'; '.join(parts)}."


def _claim(first: str, second: str, metric: str, found: Difference) -> str:
    quantity = METRICS[metric]
    ends = (found.mean, found.low, found.high)
    # Enough digits to distinguish the end nearest to zero from zero, without an exponent.
    digits = max(0, 1 - math.floor(math.log10(max(1e-9, min(abs(end) for end in ends)))))
    mean, low, high = (f"{end:+.{min(digits, 4)}f}" for end in ends)
    unit = "" if quantity.unit == "1" else f" {quantity.unit}"
    way = "higher" if found.sign > 0 else "lower"
    return (
        f"{first} has {way} {quantity.label} than {second} "
        f"({mean}{unit}, {found.confidence * 100:.4g} % interval {low} to {high}, n = {found.n})"
    )


def _unclaimed(results: Results, incomplete: list[str]) -> list[str]:
    """Name the variants with missing results; those without any result share one phrase."""
    without = [
        name for name in incomplete if results.n_without_result(name) == len(results.runs_of(name))
    ]
    parts = [
        f"nothing is claimed about {name}: {_missing(results, name)}"
        for name in incomplete
        if name not in without
    ]
    if len(without) == 1:
        parts.append(f"nothing is claimed about {without[0]}: none of its runs has a result")
    elif without:
        parts.append(
            f"nothing is claimed about {_listed(without)}: none of their runs has a result"
        )
    return parts


def _missing(results: Results, variant: str) -> str:
    missing = results.n_without_result(variant)
    has = "has" if missing == 1 else "have"
    return f"{missing} of {len(results.runs_of(variant))} runs of {variant} {has} no result"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
