"""manage.py forecast: says how motes go on, by the versions that serve them."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from mlops.forecasting.intervals import NAMES
from mlops.forecasting.members import DEEP, MEMBERS
from mlops.forecasts.serving import Forecast, Refusal, forecasts_of
from mlops.forecasts.spoken import as_json
from mlops.management.file_arguments import seconds
from sensors.fleet import Fleet, MoteRef
from sensors.registry import current_fleet
from sensors.stores import StoreUnavailable

SHOWN = 12  # steps of each forecast; --json has all


class Command(BaseCommand):
    help = "Forecasts one mote or all, from each one's last reading on, by the forecast versions that serve."

    def add_arguments(self, parser: ArgumentParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--mote", metavar="M", help="This mote, named as site/code or code")
        who.add_argument("--all", action="store_true", help="Every mote")
        parser.add_argument("--channel", metavar="C", help="This channel only")
        parser.add_argument(
            "--horizon", type=seconds, metavar="24h", help="How far ahead (default: as far as it looks)"
        )
        parser.add_argument(
            "--model", choices=[*MEMBERS, *DEEP], default="", help="Instead of what was chosen for each"
        )
        parser.add_argument("--json", action="store_true", help="All steps and quantiles as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        fleet = current_fleet()
        motes = list(fleet.motes) if options["all"] else [found(fleet, options["mote"])]
        if not motes:
            raise CommandError("There is no mote yet; load a pack first: manage.py load_pack indoor")
        channels = [options["channel"]] if options["channel"] else []
        horizon = timedelta(seconds=options["horizon"]) if options["horizon"] else None
        try:
            told = forecasts_of(motes, channels, horizon, member=options["model"])
        except StoreUnavailable as away:
            raise CommandError(f"The recent readings cannot be asked for: {away}") from away
        said = [one for one in told if isinstance(one, Forecast)]
        if options["json"]:
            self.stdout.write(json.dumps([as_json(one) for one in told], ensure_ascii=False))
        elif len(said) == 1:
            self.show(steps(said[0]))
        elif said:
            self.show(summary(said))
        refused = [one for one in told if isinstance(one, Refusal)]
        for reason in dict.fromkeys(one.reason for one in refused):
            self.stderr.write(reason)
        if not said:
            raise CommandError("No series has a forecast.")

    def show(self, table: Table) -> None:
        Console(file=self.stdout, width=120).print(table)  # type: ignore[arg-type]


def found(fleet: Fleet, name: str) -> MoteRef:
    site, _, code = name.rpartition("/")
    mote = fleet.find(code, site or None)
    if mote is None:
        raise CommandError(f"There is no mote “{name}”; name it as site/code, such as main/7, or forecast --all.")
    return mote


def steps(forecast: Forecast) -> Table:
    """One forecast, step by step, thinned out to what a screen holds."""
    table = Table(title=title(forecast))
    for head in ("UTC", "mean", *NAMES):
        table.add_column(head, justify="left" if head == "UTC" else "right")
    every = max(len(forecast.at) // SHOWN, 1)
    for step in range(every - 1, len(forecast.at), every):
        values = (forecast.mean[step], *forecast.quantiles[step])
        table.add_row(f"{forecast.at[step]:%Y-%m-%d %H:%M:%S}", *(f"{value:.4g}" for value in values))
    return table


def title(forecast: Forecast) -> str:
    stale = f", {forecast.age_s / 3600:.1f} h ago" if forecast.is_stale else ""
    return (
        f"{forecast.name}, {forecast.channel.label} in {forecast.unit}, after the reading of "
        f"{forecast.last_reading_at:%Y-%m-%d %H:%M:%S} UTC{stale}; by {forecast.member} of {forecast.model_version}"
    )


def summary(said: list[Forecast]) -> Table:
    """A line each: where it will be at the end of the horizon."""
    table = Table(title=f"{len(said)} forecasts by {', '.join(dict.fromkeys(one.model_version for one in said))}")
    for head in ("mote", "channel", "model", "last reading (UTC)", "until", "mean", "80 % between"):
        table.add_column(head)
    for one in said:
        low, high = one.quantiles[-1][1], one.quantiles[-1][3]
        table.add_row(
            one.name, one.channel.code, one.member, f"{one.last_reading_at:%m-%d %H:%M:%S}",
            f"{one.at[-1]:%m-%d %H:%M:%S}", f"{one.mean[-1]:.4g} {one.unit}", f"{low:.4g} and {high:.4g}",
        )  # fmt: skip
    return table
