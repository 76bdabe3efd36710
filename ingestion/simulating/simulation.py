"""Running the simulator: history in chunks, live at its own pace, the truth told beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import structlog

from ingestion.simulating.simulator import US, Simulator, fault_message, messages
from ingestion.streams import Stream, StreamUnavailable
from sensors.readings import micros

MAX_READINGS = 20_000  # in one append
MAX_BEHIND_US = 600 * US  # a laptop that slept longer does not make up for it
LEAST_WAIT_S = 0.05  # faster than time, instants are gathered: an append costs the same for one as for a thousand
FIRST_WAIT_S, LAST_WAIT_S = 0.5, 30.0
log = structlog.get_logger(__name__)


def wall_clock() -> int:
    return time.time_ns() // 1000


@dataclass(slots=True)
class Sent:
    """What a run brought to its stream."""

    readings: int = 0
    faults: int = 0
    until_us: int = 0

    def words(self) -> str:
        return f"{self.readings:,} readings and {self.faults:,} injected faults sent"


# ---- history ------------------------------------------------------------------------------------------------


def history_chunks(
    simulator: Simulator, start: datetime, end: datetime, interval_s: float | None = None, *, chunk: int = MAX_READINGS
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Messages and keys of start <= at < end in order of time, about `chunk` of them at once."""
    interval_s = interval_s or simulator.profile.interval_s
    place, last = micros(start), micros(end)
    stride = _stride_us(simulator, interval_s, chunk)
    while place < last:
        upto = min(place + stride, last)
        values, keys = messages(simulator.produce(place, upto, interval_s))
        if values:
            yield values, keys
        place = upto


def tell_truth(simulator: Simulator, from_us: int, upto_us: int, *, labels: Stream, site: str) -> int:
    """Tells every fault that touches a stretch of history at the profile's own interval; how many there were."""
    faults = simulator.faults(from_us, upto_us, simulator.profile.interval_s)
    told = [fault_message(fault, site=site) for fault in faults]
    labels.append(told, [None] * len(told))
    return len(told)


def _stride_us(simulator: Simulator, interval_s: float, n: int) -> int:
    return round(interval_s * US) * max(1, n // max(1, len(simulator.places)))


# ---- live ---------------------------------------------------------------------------------------------------


def simulate_live(
    *,
    simulator: Simulator,
    stream: Stream,
    labels: Stream | None = None,
    interval_s: float,
    stop: threading.Event,
    site: str = "",
    clock: Callable[[], int] = wall_clock,
    speed: float = 1.0,
    start_us: int | None = None,
    end_us: int | None = None,
    stop_after: int | None = None,
    tell: Callable[[str], None] = log.warning,
) -> Sent:
    """Sends what the sensors report as time passes, `speed` times as fast, until told to stop or at the end.

    A stream that is away is waited for: the readings in hand are sent when it is back. speed 0 does not wait at all.
    """
    began_us = clock()
    first_us = began_us if start_us is None else start_us
    run = _Run(simulator, stream, labels, interval_s, stop, site, stop_after, tell, first_us, Sent(until_us=first_us))
    if not run.prepare():
        return run.sent
    while not stop.is_set() and not run.is_enough:
        now_us = _simulated_now(first_us, clock() - began_us, speed, end_us)
        if speed == 1.0:
            run.skip_what_was_slept_through(now_us)
        next_us = run.next_instant_us
        if end_us is not None and next_us >= end_us:
            break
        if next_us > now_us:
            stop.wait(max((next_us - now_us) / US / speed, LEAST_WAIT_S if speed > 1.0 else 0.0))
        elif not run.send_until(now_us + 1 if end_us is None else min(now_us + 1, end_us)):
            break
    return run.sent


def _simulated_now(first_us: int, passed_us: int, speed: float, end_us: int | None) -> int:
    if speed == 0.0 and end_us is not None:
        return end_us
    now_us = first_us + int(passed_us * (speed or 1.0))
    return now_us if end_us is None else min(now_us, end_us)


@dataclass(slots=True)
class _Run:
    """A live simulation on its way."""

    simulator: Simulator
    stream: Stream
    labels: Stream | None
    interval_s: float
    stop: threading.Event
    site: str
    stop_after: int | None
    tell: Callable[[str], None]
    first_us: int
    sent: Sent

    def prepare(self) -> bool:
        streams = [stream for stream in (self.stream, self.labels) if stream is not None]
        return all(patiently(each.ensure, stop=self.stop, topic=each.topic, tell=self.tell) for each in streams)

    @property
    def is_enough(self) -> bool:
        return self.stop_after is not None and self.sent.readings >= self.stop_after

    @property
    def next_instant_us(self) -> int:
        step = round(self.interval_s * US)
        return -(-self.sent.until_us // step) * step

    def skip_what_was_slept_through(self, now_us: int) -> None:
        behind_us = now_us - self.sent.until_us
        if behind_us > MAX_BEHIND_US:
            self.tell(f"{behind_us / US:,.0f} s were slept through; the simulated sensors made no readings then")
            self.sent.until_us = self.first_us = now_us  # as at the start: what is under way is told

    def send_until(self, upto_us: int) -> bool:
        """Sends what was reported since the last time; False where it was told to stop before that was possible."""
        from_us = self.sent.until_us
        upto_us = min(upto_us, from_us + _stride_us(self.simulator, self.interval_s, MAX_READINGS))
        readings = self.simulator.produce(from_us, upto_us, self.interval_s)
        left = len(readings) if self.stop_after is None else self.stop_after - self.sent.readings
        if left < len(readings):
            readings = readings.take(np.arange(len(readings)) < left)
            upto_us = int(readings.at.max()) + 1
        # The truth first: a fault that nobody was told of could not be made up for.
        if not self._tell_truth(from_us, upto_us):
            return False
        values, keys = messages(readings)
        if values and not self._append(self.stream, values, keys):
            return False
        self.sent.readings += len(values)
        self.sent.until_us = upto_us
        return True

    def _tell_truth(self, from_us: int, upto_us: int) -> bool:
        """Each fault once, as it begins; at the start also those that are under way."""
        touching = self.simulator.faults(from_us, upto_us, self.interval_s)
        begun = [fault for fault in touching if fault.starts_us >= from_us or from_us == self.first_us]
        told = [fault_message(fault, site=self.site) for fault in begun]
        if told and self.labels is not None and not self._append(self.labels, told, [None] * len(told)):
            return False
        self.sent.faults += len(begun)
        return True

    def _append(self, stream: Stream, values: Sequence[bytes], keys: Sequence[bytes | None]) -> bool:
        return patiently(lambda: stream.append(values, keys), stop=self.stop, topic=stream.topic, tell=self.tell)


def patiently(
    deed: Callable[[], None],
    *,
    stop: threading.Event,
    topic: str,
    tell: Callable[[str], None] = log.warning,
) -> bool:
    """Does something to a stream, waiting while the stream is away; False if told to stop meanwhile."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            deed()
            return True
        except StreamUnavailable as error:
            if stop.is_set():
                tell(f"The stream “{topic}” stayed away until the end: {error}")
                return False
            tell(f"The stream “{topic}” cannot be reached: {error}. Trying again in {wait_s:g} s")
            stop.wait(wait_s)
            wait_s = min(2.0 * wait_s, LAST_WAIT_S)
