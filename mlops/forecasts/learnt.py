"""What a forecast version of the registry holds: what each channel was learnt by, and which member speaks for a mote.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mlops.classifying import Profiled
from mlops.forecasting import CannotForecast, Fitted


def series_name(mote: str, channel: str) -> str:
    """What a panel calls a channel of a mote, which is named as site/code."""
    return f"{mote}/{channel}"


@dataclass(frozen=True, slots=True)
class FittedForecasts:
    """One version: by channel what was fitted, by member; and by series the member that did best where it was held out.

    `horizon` steps of `step_s` seconds at most. Rows of a panel are whole steps since 1970.
    """

    profile: Profiled
    features: tuple[str, ...]
    parameters: dict[str, Any]
    step_s: float
    horizon: int
    fits: Mapping[str, Mapping[str, Fitted]]
    chosen: Mapping[str, str]
    number: int = 0

    own_onset = None  # a forecast knows no surprise
    calibration: Any = ()
    left_out: Mapping[str, str] = field(default_factory=dict)  # by series, why it has no forecast

    def __setstate__(self, state: list[Any]) -> None:
        """What an earlier release has pickled names none that was left out."""
        for one, value in zip(fields(self), [*state, {}], strict=False):
            object.__setattr__(self, one.name, value)

    def numbered(self, number: int) -> FittedForecasts:
        return replace(self, number=number)

    @property
    def needs(self) -> int:
        """Steps before now that a forecast and its record look back on, beside what is remembered."""
        members = [fitted.member for fits in self.fits.values() for fitted in fits.values()]
        return max((one.needs for one in members), default=0) + 2 * self.horizon

    def fitted_for(self, mote: str, channel: str, member: str = "") -> Fitted:
        """What forecasts a channel of a mote: the member that was chosen for it, or the one asked for."""
        fits = self.fits.get(channel)
        if fits is None:
            raise CannotForecast(f"it has not learnt channel “{channel}”; it knows {', '.join(self.fits)}")
        chosen = self.chosen.get(series_name(mote, channel))
        if chosen is None:
            why = self.left_out.get(series_name(mote, channel), "the mote was not there")
            raise CannotForecast(f"when the version was made, {why}. Train again, or wait for the week's training")
        if member and member not in fits:
            raise CannotForecast(
                f"the version has not learnt by “{member}”; it has {', '.join(fits)}. Train with --model {member}"
            )
        return fits[member or chosen]
