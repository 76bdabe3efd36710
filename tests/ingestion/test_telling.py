"""What the live channel is told while the path catches up, and when it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ingestion.telling import FEW, RARELY, Telling
from sensors.fleet import Fleet
from sensors.readings import Batch
from tests import builders

FLEET = Fleet(revision=1, motes=(), profiles={}, default_site="main")
INDOOR = builders.profile(builders.channel("temperature"))


class Channel:
    """Keeps what it is told; each telling takes as long as it says."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s, self.now, self.told = takes_s, 0.0, []

    def clock(self) -> float:
        return self.now

    def announce_readings(self, batch: Batch, fleet: Fleet) -> None:
        self.now += self.takes_s
        self.told.append(sorted(zip(batch.mote.tolist(), batch.values[:, 0].tolist(), strict=True)))

    def announce_alert(self, alert: Any) -> None:
        self.told.append(alert)


def said(value: float, *, mote: int, at: int) -> Batch:
    return builders.batch(INDOOR, [(value,)], mote=mote, start_us=at)


def test_while_the_path_catches_up_each_motes_newest_reading_waits_its_turn_and_none_is_told_twice():
    channel = Channel(takes_s=1.0)
    telling = Telling(channel, channel.clock)

    telling.tell([said(20.0, mote=1, at=0)], [], FLEET, is_more_at_hand=True)
    telling.tell([said(21.0, mote=1, at=1), said(30.0, mote=2, at=1)], ["an alert"], FLEET, is_more_at_hand=True)
    telling.tell([said(22.0, mote=1, at=2)], [], FLEET, is_more_at_hand=True)
    in_between = list(channel.told)
    channel.now += RARELY
    telling.tell([said(23.0, mote=1, at=3)], [], FLEET, is_more_at_hand=True)
    telling.catch_up(FLEET)

    assert in_between == [[(1, 20.0)], "an alert"]
    assert channel.told[2:] == [[(1, 23.0), (2, 30.0)]]


def test_a_small_batch_is_told_at_once_with_what_waited():
    channel = Channel(takes_s=1.0)
    telling = Telling(channel, channel.clock)
    for at in range(2):
        telling.tell([said(20.0 + at, mote=1, at=at)], [], FLEET, is_more_at_hand=True)

    telling.tell([said(30.0, mote=2, at=2)], [], FLEET, is_more_at_hand=False)
    telling.tell([said(31.0, mote=2, at=3)], [], FLEET, is_more_at_hand=False)

    assert channel.told == [[(1, 20.0)], [(1, 21.0), (2, 30.0)], [(2, 31.0)]]


def test_a_large_fleets_newest_readings_wait_their_turn_although_nothing_more_is_at_hand():
    channel = Channel(takes_s=1.0)
    telling = Telling(channel, channel.clock)
    many = builders.batch(INDOOR, [(20.0 + mote,) for mote in range(FEW + 1)])
    many = replace(many, mote=np.arange(FEW + 1))
    for _ in range(2):
        telling.tell([many], [], FLEET, is_more_at_hand=True)

    telling.tell([], [], FLEET, is_more_at_hand=False)
    n_at_once = len(channel.told)
    channel.now += RARELY
    telling.tell([], [], FLEET, is_more_at_hand=False)

    assert n_at_once == 1
    assert [len(told) for told in channel.told] == [FEW + 1, FEW + 1]
