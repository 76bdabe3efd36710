"""The voices of the engine, in the order of their place in `votes`, and in that in which they speak.

To add one, write a file here with the names of `Layer` and put it into LAYERS and IN_TURN:

NAME     what `votes`, events and cards call it.
MEMORY   what it remembers: `Field`s by name, for each mote or each mote and channel. All layers together have about
         1 KB a mote and channel. Arrays grow with the fleet, are saved with the stream's offset, and start blank.
TAIL     the least scale of the raw output's tail, in raw units; None where its table is drawn once and for all.
OWN_LIMITS whether its drawn table says what begins an event and what keeps one open, and a measured tail only how rare
         all between is: of a layer that goes on learning its own tails.
BY_HEART whether calibration must learn it anew without the days that it is calibrated on (costs a fit a fold).
IS_SETTLED whether at onset it has already waited for as long as an event needs: its events are noticed at once.
ANY_DAY  whether what it learns holds on a kind of day that history has not shown at that hour; a layer for which it
         does not makes no event then.
prior    arrays from the pack alone. "raw" and "surprise" (tables.line) are the table that turns raw into surprise until
         calibration has measured one; leave them out, and the layer is silent until then.
fit      arrays learnt from normal readings, over the prior's; {} where nothing is learnt.
step     looks at every row in order and answers `Said`, raw (rows, channels) or (rows, 1).

`step` does its work in a `@compiled` loop over rows, because no cut of the stream may show, to the bit: a row depends
on itself and on what its mote and others remembered of earlier rows, never on the batch (no BLAS, no vectorised sums
over rows). Its rules:
- slot < 0 is a late reading: touch no memory; say NaN if order matters.
- between steps (not is_step) judge, but do not advance memory; values are NaN where missing or not a measurement.
- never learn from what is `held`; score first, then learn.
- raw only has to grow with oddness: surprise comes from the tail that the engine measures on held-out normal readings.
- `model` and `memory` are your own arrays by name, C-contiguous, of the types you gave them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from mlops.detection.compiled import Array
from mlops.detection.history import Arrays, History
from mlops.detection.layers import forest, gate, jump, level, noise, peers, series, shift, spike, stuck
from mlops.detection.rows import Field, Rows, Said
from sensors.readings import Profile


class Layer(Protocol):
    @property
    def NAME(self) -> str: ...
    @property
    def MEMORY(self) -> Mapping[str, Field]: ...
    @property
    def TAIL(self) -> float | None: ...
    @property
    def OWN_LIMITS(self) -> bool: ...
    @property
    def BY_HEART(self) -> bool: ...
    @property
    def IS_SETTLED(self) -> bool: ...
    @property
    def ANY_DAY(self) -> bool: ...
    def prior(self, profile: Profile) -> Arrays: ...
    def fit(self, history: History) -> Arrays: ...
    def step(self, model: Mapping[str, Array], memory: Mapping[str, Array], rows: Rows) -> Said: ...


LAYERS: tuple[Layer, ...] = (gate, stuck, level, noise, jump, forest, series, shift, peers, spike)
# What was struck once does not tremble: noise and jump hear of it first.
IN_TURN: tuple[Layer, ...] = (gate, stuck, level, spike, noise, jump, forest, series, shift, peers)
VOTES = tuple(layer.NAME for layer in LAYERS)
VOTE_BITS = 5  # twelve layers fit into a signed 64-bit integer
VOTE_UNIT = 0.4


def decode_votes(votes: int) -> dict[str, float]:
    """What each layer said, in steps of 0.4; 12.4 stands for that and more.

    >>> said = decode_votes(30 | 11 << 10)
    >>> said["gate"], said["stuck"], said["level"]
    (12.0, 0.0, 4.4)
    """
    return {name: round((int(votes) >> (VOTE_BITS * place) & 31) * VOTE_UNIT, 1) for place, name in enumerate(VOTES)}
