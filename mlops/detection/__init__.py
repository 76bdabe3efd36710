"""The detection engine: learns what is normal, judges a stream, tells events. Pure.

>>> from mlops.detection import Engine, fallback
"""

from mlops.detection.engine import Engine, FittedEngine, Judgement, fallback
from mlops.detection.layers import VOTES, decode_votes
from mlops.detection.metrics import held_out, tail_rates
from mlops.detection.state import EngineState, UnknownSchema
from mlops.detection.words import words

__all__ = [
    "VOTES",
    "Engine",
    "EngineState",
    "FittedEngine",
    "Judgement",
    "UnknownSchema",
    "decode_votes",
    "fallback",
    "held_out",
    "tail_rates",
    "words",
]
