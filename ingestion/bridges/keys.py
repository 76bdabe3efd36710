"""The stream key of a message, by the mote that it names: peers of a zone meet in one partition."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from django.db import close_old_connections

from ingestion.patience import DATABASE_AWAY
from ingestion.wire import names
from sensors.fleet import Fleet

log = structlog.get_logger(__name__)
LOOK_S = 5.0


class Keys:
    """Knows the fleet, and looks every few seconds whether it has changed."""

    def __init__(
        self, fleet: Callable[[], Fleet], revision: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._revision, self._clock = fleet, revision, clock
        self._fleet: Fleet | None = None
        self._looked_at = -LOOK_S

    def __call__(self, message: bytes) -> bytes | None:
        fleet = self._known()
        said = names(message)
        if fleet is None or said is None or said.code is None:
            return None  # it will be put aside, from whatever partition
        mote = fleet.find(said.code, said.site)
        return (mote.group_key if mote else said.site or fleet.default_site).encode()

    def _known(self) -> Fleet | None:
        if self._clock() - self._looked_at >= LOOK_S:
            self._looked_at = self._clock()
            try:
                if self._fleet is None or self._revision() != self._fleet.revision:
                    self._fleet = self._read()
            except DATABASE_AWAY as error:  # what was known of the fleet does for a while
                log.warning("database_away", error=str(error))
                close_old_connections()
        return self._fleet
