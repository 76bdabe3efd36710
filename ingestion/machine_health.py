"""How healthy a machine is: 100 points less what its stage, its channels, its model and its data take. Pure.

sensors/wear.py says where each channel's second and third stage begin. static/js/lib/machine-health.js counts alike for
readings that come live; tests/js/machine-health.json holds both to the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sensors.readings import Floats, Ints
from sensors.wear import DEGRADING, FAILING, Limits, severities

# So weighed that a failing machine is always below 50, a degrading one between 60 and 90, a healthy one above.
STAGE_LOST = np.array([0.0, 10.0, 50.0])
CHANNELS_WORTH, SURPRISE_WORTH, DATA_WORTH = 40.0, 5.0, 5.0
FULL = 100.0


@dataclass(frozen=True, slots=True)
class Part:
    """What takes points, how many of how many, and why in words."""

    code: str
    label: str
    lost: float
    most: float
    why: str


@dataclass(frozen=True, slots=True)
class Health:
    """`stage` and `score` are None where no channel can be trusted, and then nothing is known."""

    stage: int | None
    score: float | None
    parts: tuple[Part, ...]
    stages: tuple[int | None, ...]  # of each channel


def scores(severity: Floats, model_score: Floats) -> tuple[Floats, Ints]:
    """Score and stage of each row; NaN and -1 where no channel is known. NaN for a model that did not judge."""
    is_known = ~np.isnan(severity)
    known = np.where(is_known, severity, 0.0)
    stage = np.ceil(known.max(axis=1, initial=0.0)).astype(np.int64)
    n = max(severity.shape[1], 1)
    lost = (
        STAGE_LOST[stage]
        + CHANNELS_WORTH / n * (known / 2.0).sum(axis=1)
        + SURPRISE_WORTH * np.nan_to_num(model_score)
        + DATA_WORTH * (1.0 - is_known.sum(axis=1) / n)
    )
    is_told = is_known.any(axis=1)
    return np.where(is_told, FULL - lost, np.nan), np.where(is_told, stage, -1)


def health(
    limits: Sequence[Limits], values: Sequence[float | None], model_score: float | None, *, names: Sequence[str]
) -> Health:
    """Of one reading. A channel that is missing or not to be trusted comes as None; `names` are those of the stages."""
    severity = severities(limits, np.array([[np.nan if value is None else value for value in values]], dtype=float))
    total, stage = scores(severity, np.array([np.nan if model_score is None else model_score]))
    each = tuple(None if one != one else int(np.ceil(one)) for one in severity[0].tolist())
    if stage[0] < 0:
        return Health(None, None, (), each)
    worth = CHANNELS_WORTH / len(limits)
    unknown = [one.channel.label for one, level in zip(limits, each, strict=True) if level is None]
    found = int(stage[0])
    parts = (
        Part("stage", "Stage", float(STAGE_LOST[found]), float(STAGE_LOST[-1]), names[found]),
        *(
            Part(one.channel.code, one.channel.label, worth * _or_zero(worn) / 2.0, worth, _why(one, value, names))
            for one, value, worn in zip(limits, values, severity[0].tolist(), strict=True)
        ),
        Part(
            "surprise", "Model", SURPRISE_WORTH * (model_score or 0.0), SURPRISE_WORTH,
            "no model judged it" if model_score is None else f"score {model_score:.2f}",
        ),
        Part(
            "data", "Data", DATA_WORTH * len(unknown) / len(limits), DATA_WORTH,
            f"not to be trusted: {', '.join(unknown)}" if unknown else "all channels can be trusted",
        ),
    )  # fmt: skip
    return Health(found, float(total[0]), parts, each)


def _or_zero(severity: float) -> float:
    return 0.0 if severity != severity else severity


def _why(one: Limits, value: float | None, names: Sequence[str]) -> str:
    """
    >>> from sensors.readings import Channel
    >>> vibration = Channel("vibration", "Vibration", "mm/s", (0.0, 50.0), (0.5, 1.5), 0.01, 5.0, 120.0)
    >>> _why(Limits(vibration, (1.5, 2.5, 4.5), None), 2.0, ("normal", "degrading", "failing"))
    'above 1.5 mm/s, where degrading begins'
    """
    if value is None:
        return "not to be trusted"
    unit = f" {one.channel.unit}" if one.channel.unit else ""
    for stage in (FAILING, DEGRADING):
        if one.high and value > one.high[stage - 1]:
            return f"above {one.high[stage - 1]:g}{unit}, where {names[stage]} begins"
        if one.low and value < one.low[stage - 1]:
            return f"below {one.low[stage - 1]:g}{unit}, where {names[stage]} begins"
    return "where a healthy machine's is"
