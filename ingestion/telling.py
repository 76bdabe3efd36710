"""What is told on the live channel: of small batches each at once, of large ones no more than leaves the path its time.

A page shows each mote's newest reading. While the path catches up, those of a large fleet would take it longer to tell
than to judge, so they wait for each other, and the newest of each mote is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alerts.models import Alert
from ingestion.patience import Announces
from sensors.fleet import Fleet
from sensors.live import newest_rows
from sensors.readings import Batch, concat

RARELY = 20  # times as long as the last telling took, at least, until the next while more is at hand
FEW = 1_000  # readings; more than these wait for their time although no more is at hand at this moment


class Telling:
    """Tells alerts at once and readings in their time; `catch_up` tells those that wait whatever it takes."""

    def __init__(self, channel: Announces | None, clock: Callable[[], float]) -> None:
        self.channel, self.clock = channel, clock
        self._waiting: dict[str, Batch] = {}  # by profile
        self._next_at = 0.0

    def tell(self, batches: Sequence[Batch], alerts: Sequence[Alert], fleet: Fleet, *, is_more_at_hand: bool) -> None:
        if self.channel is None:
            return
        for batch in batches:
            self._add(batch)
        is_few = sum(map(len, self._waiting.values())) <= FEW
        if (is_few and not is_more_at_hand) or self.clock() >= self._next_at:
            self.catch_up(fleet)
        for alert in alerts:
            self.channel.announce_alert(alert)

    def catch_up(self, fleet: Fleet) -> None:
        if self.channel is None or not self._waiting:
            return
        began = self.clock()
        waiting, self._waiting = self._waiting, {}
        for batch in waiting.values():
            self.channel.announce_readings(batch, fleet)
        self._next_at = self.clock() + RARELY * (self.clock() - began)

    def _add(self, batch: Batch) -> None:
        if (before := self._waiting.get(batch.profile.code)) is not None:
            both = concat([before, batch])
            batch = both.take(newest_rows(both))
        self._waiting[batch.profile.code] = batch
