# SPDX-License-Identifier: MIT
"""Names, units and meanings of a study's metrics and curves; `ablation.metrics` computes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """Description of a metric or curve.

    Attributes:
        label: name on axes and in table headers.
        unit: unit; "1" for a share or a count.
        better: 1 if more is better, -1 if less is better, 0 if neither is.
        meaning: definition, in complete sentences.
        form: format specification of its values.
    """

    label: str
    unit: str
    better: int
    meaning: str
    form: str = ".2f"

    @property
    def title(self) -> str:
        """Label with the unit, for an axis or a table header."""
        return self.label if self.unit == "1" else f"{self.label} ({self.unit})"


METRICS: dict[str, Quantity] = {
    "return": Quantity(
        "return",
        "1/step",
        1,
        "Reward per roll-out step in the last quarter of the run, with exploration, averaged over "
        "tasks. It is per step because roll-outs end early at the edge of the workspace. The steps "
        "that a fall cuts off count as steps without reward. Multipliers are not included.",
    ),
    "eval_return": Quantity(
        "return when evaluated",
        "1/step",
        1,
        "Reward per step of deterministic roll-outs after the run, averaged over tasks; the steps "
        "that a fall cuts off count as steps without reward.",
    ),
    "speed": Quantity(
        "speed",
        "m/s",
        1,
        "Speed along the body's own axis (a curved walk counts in full) in deterministic roll-outs "
        "after the run, averaged over the walking tasks; the time that a fall cuts off counts as "
        "standing still.",
    ),
    "speed_forward": Quantity("speed forward", "m/s", 1, "`speed` of the task forward alone."),
    "speed_backward": Quantity("speed backward", "m/s", 1, "`speed` of the task backward alone."),
    "straight_speed": Quantity(
        "straight speed",
        "m/s",
        1,
        "As `speed`, but computed from the net displacement along the initial heading of the "
        "roll-out: walking a full circle gives 0.",
    ),
    "turn_rate": Quantity(
        "turn rate",
        "rad/s",
        1,
        "Turn rate toward the task's side in deterministic roll-outs, averaged over the turning "
        "tasks.",
    ),
    "eval_falls": Quantity(
        "falls when evaluated", "1", -1, "Share of deterministic roll-outs that end in a fall."
    ),
    "falls": Quantity(
        "falls",
        "1/min",
        -1,
        "Falls per robot minute of learning. Robot minutes include standing up, which is a "
        "confound: robots that fall often spend less time walking.",
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
        "Times that a person would have been needed, per robot minute: to carry the robot back "
        "when there is no scheduler, or because it could not stand up.",
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
    "duty": Quantity("duty cycle", "%", 1, "Share of the robot minutes spent in roll-outs.", ".0f"),
    "minutes_to_walk": Quantity(
        "minutes to walk",
        "min",
        -1,
        "Robot minutes until the last five roll-outs of every task average 0.3 m/s or 0.4 rad/s. A "
        "run that never does counts with its planned length, so this is a lower bound.",
        ".1f",
    ),
    "robot_minutes": Quantity(
        "robot minutes", "min", 0, "Time spent moving, standing up and waiting.", ".1f"
    ),
    "moving_minutes": Quantity("moving minutes", "min", 0, "Robot minutes in roll-outs.", ".1f"),
    "multiplier": Quantity(
        "largest λ",
        "1",
        0,
        "Mean of the largest multiplier over the last quarter of the run.",
    ),
    "wall_minutes": Quantity(
        "wall minutes", "min", 0, "Wall time of learning; depends on the machine's load.", ".1f"
    ),
    "cpu_minutes": Quantity(
        "processor minutes", "min", 0, "Processor time of the learning process.", ".1f"
    ),
}

CURVES: dict[str, Quantity] = {
    "return": Quantity("return", "1/step", 1, "Reward per roll-out step."),
    "speed": Quantity("speed", "m/s", 1, "Speed along the task; for turns the turn rate in rad/s."),
    "falls": Quantity("falls so far", "1", -1, "Cumulative number of falls."),
    "exits": Quantity("exits so far", "1", -1, "Cumulative number of exits from the workspace."),
    "multiplier": Quantity("largest λ", "1", 0, "Largest multiplier of the acting task."),
}
