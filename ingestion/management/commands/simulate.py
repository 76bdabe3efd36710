from __future__ import annotations

import math
import re
import signal
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ingestion.simulating.simulation import simulate_live, wall_clock
from ingestion.simulating.simulator import US, Simulator
from ingestion.streams import StreamClosed, stream
from sensors.installation import CannotInstall, refuse_bad_site
from sensors.models import Mote, Site
from sensors.packs import BadPack, Pack, read_pack

LEAST_INTERVAL_S = 0.001
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def whole(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise ArgumentTypeError(f"“{text}” is no whole number of at most 18 digits; expected one such as 5")
    return int(text)


def number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ArgumentTypeError(f"“{text}” is no number; expected one such as 0.5")
    return found


def duration_s(text: str) -> float:
    """Seconds of “90”, “10m”, “7d”."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not found or not float(found.group(1)):
        raise ArgumentTypeError(f"“{text}” is no duration; expected a number of seconds, or 10m, 6h, 30d")
    return float(found.group(1)) * UNITS_S[found.group(2) or "s"]


def stopper(stop: threading.Event) -> Callable[..., None]:
    """A signal handler. It may run while this very thread holds the event's lock, so another thread sets the event."""
    return lambda *_: threading.Thread(target=stop.set).start()


class Command(BaseCommand):
    help = "Sends simulated readings to the stream, with faults whose truth goes to the labels topic."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add(
            "--pack",
            default="indoor",
            metavar="P",
            help="A pack that comes with SIEIS, or a TOML file (default indoor)",
        )
        add("--motes", "--machines", type=whole, metavar="N", help="How many send (default: all of the pack's)")
        add(
            "--interval",
            type=number,
            metavar="S",
            help="Seconds between two readings of a mote (default: the pack's, live or for the past)",
        )
        add(
            "--anomaly-rate",
            type=number,
            metavar="R",
            help="Share of readings that are anomalous (default: the pack's)",
        )
        add("--seed", type=whole, default=1, metavar="K", help="The same seed gives the same readings (default 1)")
        add(
            "--speed",
            type=number,
            default=1.0,
            metavar="X",
            help="Times real time; above 1 the --duration before now is simulated, 0 goes as fast as it can",
        )
        add(
            "--duration",
            type=duration_s,
            metavar="D",
            help="Simulated time to cover: 90, 10m, 6h, 30d (default: endless)",
        )
        add("--stop-after", type=whole, metavar="N", help="Stop after so many readings")
        add("--site", metavar="S", help="The motes' site (default: the one that messages mean)")

    def handle(self, *args: object, **options: Any) -> None:
        is_past = options["speed"] > 1 or options["speed"] == 0
        simulator, site = self.simulator(options, is_past)
        stop = threading.Event()
        previous = {number: signal.signal(number, stopper(stop)) for number in (signal.SIGINT, signal.SIGTERM)}
        profile = self.pack.profile
        usual_s = profile.interval_s if is_past else self.pack.simulator.get("interval_s", profile.interval_s)
        interval_s = options["interval"] or usual_s
        start_us, end_us = self.range_us(options, is_past)
        self.stdout.write(f"{len(simulator.places)} motes of “{profile.code}” send every {interval_s:g} s …")
        self.warn_of_strangers(simulator, site, options)
        readings, labels = stream("readings"), stream("labels")
        try:
            sent = simulate_live(
                simulator=simulator,
                stream=readings,
                labels=labels,
                interval_s=interval_s,
                stop=stop,
                site=site,
                speed=options["speed"],
                start_us=start_us,
                end_us=end_us,
                stop_after=options["stop_after"],
                tell=self.stderr.write,
            )
        except StreamClosed as error:
            raise CommandError(str(error)) from None
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.stdout.write(f"{sent.words()} to “{readings.topic}”.")

    pack: Pack

    def simulator(self, options: dict[str, Any], is_past: bool) -> tuple[Simulator, str]:
        for name in ("motes", "interval", "stop_after"):
            if options[name] is not None and options[name] <= 0:
                raise CommandError(f"--{name.replace('_', '-')} is {options[name]:g}; expected a number above 0")
        if options["interval"] is not None and options["interval"] < LEAST_INTERVAL_S:
            raise CommandError(f"--interval is {options['interval']:g}; expected {LEAST_INTERVAL_S:g} or more")
        site = options["site"] or settings.SIEIS_DEFAULT_SITE
        known = Site.objects.filter(code=site).first()
        try:
            refuse_bad_site(site)
            self.pack = read_pack(options["pack"])
            simulator = Simulator.of(
                self.pack,
                site=site,
                time_zone=known.time_zone if known else settings.SIEIS_TIME_ZONE,
                seed=options["seed"],
                n_motes=options["motes"],
                anomaly_rate=options["anomaly_rate"],
                is_history=is_past,
                names_site=site != settings.SIEIS_DEFAULT_SITE,
            )
        except (BadPack, CannotInstall, ValueError) as error:
            raise CommandError(str(error)) from None
        if not len(simulator.places):
            raise CommandError(f"the pack “{options['pack']}” has no motes; say how many with --motes N")
        return simulator, site

    def warn_of_strangers(self, simulator: Simulator, site: str, options: dict[str, Any]) -> None:
        known = set(
            Mote.objects.filter(site__code=site, profile__code=self.pack.profile.code).values_list("code", flat=True)
        )
        n = len(set(simulator.fleet.codes) - known)
        if n:
            asked = "".join(f" --{name} {options[name]}" for name in ("site", "motes") if options[name])
            self.stderr.write(
                f"{n} of these motes are not registered: their readings are held until "
                f"`manage.py load_pack {options['pack']}{asked}` adds them."
            )

    def range_us(self, options: dict[str, Any], is_past: bool) -> tuple[int | None, int | None]:
        """Nothing is simulated in the future: what goes faster than time covers a stretch that ends now."""
        speed, duration = options["speed"], options["duration"]
        if speed < 0:
            raise CommandError(
                f"--speed is {speed:g}; expected 1 for real time, more for faster, 0 for as fast as it can"
            )
        if duration is None:
            if is_past:
                raise CommandError(f"--speed {speed:g} needs --duration: how much of the past to simulate, such as 30d")
            return None, None
        now_us, length_us = wall_clock(), int(duration * US)
        if is_past and length_us > now_us:
            raise CommandError(f"--duration reaches back {duration / UNITS_S['d']:,.0f} days, to before 1970")
        return (now_us - length_us, now_us) if is_past else (now_us, now_us + length_us)
