# SPDX-License-Identifier: MIT
"""Metrics and curves of a study: names, units, whether more is better; `metrics` computes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """A quantity that is measured.

    Attributes:
        label: for people, at the start of a column.
        unit: "1" for a share or a count.
        better: 1 more, -1 less, 0 neither.
        meaning: one sentence.
        form: how numbers of it are written.
    """

    label: str
    unit: str
    better: int
    meaning: str
    form: str = ".2f"

    @property
    def title(self) -> str:
        """Label with its unit, for an axis or a column."""
        return self.label if self.unit == "1" else f"{self.label} ({self.unit})"


METRICS: dict[str, Quantity] = {
    "return": Quantity(
        "return",
        "1/step",
        1,
        "Reward per step of roll-out in the last quarter of the run, exploration included; the "
        "mean over tasks. Per step, because the workspace's edge cuts roll-outs short; what a fall "
        "cuts off counts as steps without reward. Multipliers are not in it.",
    ),
    "eval_return": Quantity(
        "return when evaluated",
        "1/step",
        1,
        "Reward per step of deterministic roll-outs after the run, mean over tasks; what a fall "
        "cuts off counts as steps without reward.",
    ),
    "speed": Quantity(
        "speed",
        "m/s",
        1,
        "Mean over the walking tasks in deterministic roll-outs after the run, along the body's "
        "own axis (a curved walk counts in full); what a fall leaves of a roll-out counts as "
        "standing still.",
    ),
    "speed_forward": Quantity("speed forward", "m/s", 1, "`speed` of the task forward alone."),
    "speed_backward": Quantity("speed backward", "m/s", 1, "`speed` of the task backward alone."),
    "straight_speed": Quantity(
        "straight speed",
        "m/s",
        1,
        "As `speed`, but the net way along the heading of the roll-out's start: a circle is 0.",
    ),
    "turn_rate": Quantity(
        "turn rate",
        "rad/s",
        1,
        "Toward the task's side, mean over the turning tasks in deterministic roll-outs.",
    ),
    "eval_falls": Quantity(
        "falls when evaluated", "1", -1, "Share of deterministic roll-outs that end in a fall."
    ),
    "falls": Quantity(
        "falls",
        "1/min",
        -1,
        "Falls per robot minute of learning, in which standing up is included (a confound: "
        "frequent fallers spend less time walking).",
    ),
    "falls_moving": Quantity(
        "falls while moving", "1/min", -1, "Falls per robot minute in roll-outs."
    ),
    "exits": Quantity(
        "workspace exits", "1/min", -1, "Times the robot left the workspace, per robot minute."
    ),
    "outside": Quantity(
        "outside", "%", -1, "Share of roll-out steps outside the workspace.", ".1f"
    ),
    "interventions": Quantity(
        "interventions",
        "1/min",
        -1,
        "Times a person would have been needed, per robot minute: to carry the robot back where no "
        "scheduler brings it home, or because it could not stand up.",
    ),
    "beyond_pitch": Quantity(
        "beyond pitch", "%", -1, "Share of roll-out steps with more pitch than its limit.", ".1f"
    ),
    "beyond_roll": Quantity(
        "beyond roll", "%", -1, "Share of roll-out steps with more roll than its limit.", ".1f"
    ),
    "beyond": Quantity(
        "beyond a limit", "%", -1, "Share of roll-out steps beyond the pitch or roll limit.", ".1f"
    ),
    "jitter": Quantity(
        "torque jitter",
        "N m",
        -1,
        "Root mean square of the change of a motor's torque from one step to the next.",
    ),
    "heat": Quantity(
        "motor heat",
        "W",
        -1,
        "Mean electric loss in a motor's winding over roll-outs, from the logged torque.",
    ),
    "duty": Quantity(
        "duty cycle", "%", 1, "Share of the robot minutes that went into roll-outs.", ".0f"
    ),
    "minutes_to_walk": Quantity(
        "minutes to walk",
        "min",
        -1,
        "Robot minutes until the last five roll-outs of every task reach 0.3 m/s or 0.4 rad/s; a "
        "run that never does counts with its whole length, so this is a lower bound.",
        ".1f",
    ),
    "robot_minutes": Quantity(
        "robot minutes", "min", 0, "Moving, standing up and waiting together.", ".1f"
    ),
    "moving_minutes": Quantity("moving minutes", "min", 0, "Robot minutes in roll-outs.", ".1f"),
    "multiplier": Quantity(
        "largest λ",
        "1",
        0,
        "Mean of the largest multiplier over the last quarter of the run.",
    ),
    "wall_minutes": Quantity(
        "wall minutes", "min", 0, "Of the learning; it depends on what else the machine did.", ".1f"
    ),
    "cpu_minutes": Quantity(
        "processor minutes", "min", 0, "Of the learning's own process, all threads.", ".1f"
    ),
}

CURVES: dict[str, Quantity] = {
    "return": Quantity("return", "1/step", 1, "Reward per step of roll-out."),
    "speed": Quantity("speed", "m/s", 1, "Along the task, or rad/s of the turning tasks."),
    "falls": Quantity("falls so far", "1", -1, "Counted up."),
    "exits": Quantity("exits so far", "1", -1, "Out of the workspace, in roll-outs; counted up."),
    "multiplier": Quantity("largest λ", "1", 0, "The largest multiplier of the acting task."),
}
