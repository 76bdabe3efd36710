"""A mote's scores come out again without its neighbours; what those said must be what their vote says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlops.detection import VOTES, fallback
from mlops.detection.layers import VOTE_BITS, VOTE_UNIT
from mlops.evidence.rescoring import rescore
from sensors.readings import Batch
from tests import builders

PLACE, SAID = 7, 1.1
VOTE = round(SAID / VOTE_UNIT)


@pytest.fixture
def engine():
    return fallback(builders.profile())


@pytest.fixture
def stored(engine) -> Batch:
    """Twenty readings as the engine has judged them, at one of which the neighbours were the loudest."""
    values = 21 + 0.1 * np.random.default_rng(1).standard_normal((20, len(engine.profile.channels)))
    _, judged, _ = engine.step(engine.start(), builders.batch(engine.profile, values))
    surprise, votes = judged.surprise.copy(), judged.votes.copy()
    surprise[PLACE] = SAID
    votes[PLACE] |= VOTE << VOTE_BITS * VOTES.index("peers")
    return replace(judged, surprise=surprise, votes=votes)


def test_where_the_neighbours_were_the_loudest_their_vote_vouches_for_the_score(engine, stored):
    again = rescore(b"", stored, lambda number: engine)

    assert again.is_same
    assert np.flatnonzero(again.by_neighbours).tolist() == [PLACE]


@pytest.mark.parametrize("said", [0.0, 0.5, 3.0])
def test_a_score_that_is_not_what_the_neighbours_voted_differs(engine, stored, said):
    forged = stored.surprise.copy()
    forged[PLACE] = said

    assert not rescore(b"", replace(stored, surprise=forged), lambda number: engine).is_same


def test_a_vote_of_another_layer_cannot_hide_behind_the_neighbours(engine, stored):
    votes = stored.votes.copy()
    votes[PLACE] ^= 1 << VOTE_BITS * VOTES.index("level")

    assert not rescore(b"", replace(stored, votes=votes), lambda number: engine).is_same
