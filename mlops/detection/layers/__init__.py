"""The voices of the engine, in the order of their bytes in `votes`.

A layer is a file with a NAME and two verbs that return arrays by the name of a field of `kernels.Model`:
`prior(profile)` from the pack alone, `fit(history)` from normal readings (only what it learnt; the prior fills the
rest). What it does to a reading stands in `kernels.advance`, since numba needs one file. A new layer is a file here, a
line in LAYERS and its lines in the kernel.
"""

from __future__ import annotations

from typing import Protocol

from mlops.detection.history import Arrays, History
from mlops.detection.layers import forest, gate, jump, level, stuck
from sensors.readings import Profile


class Layer(Protocol):
    NAME: str

    def prior(self, profile: Profile) -> Arrays: ...
    def fit(self, history: History) -> Arrays: ...


LAYERS: tuple[Layer, ...] = (gate, stuck, level, jump, forest)
VOTES = tuple(layer.NAME for layer in LAYERS)


def decode_votes(votes: int) -> dict[str, float]:
    """What each layer said, to a tenth; 25.5 stands for that and more.

    >>> decode_votes(12 * 10 | 43 << 16)
    {'gate': 12.0, 'stuck': 0.0, 'level': 4.3, 'jump': 0.0, 'forest': 0.0}
    """
    return {name: (int(votes) >> (8 * place) & 255) / 10.0 for place, name in enumerate(VOTES)}
