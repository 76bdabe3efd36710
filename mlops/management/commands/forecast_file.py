"""manage.py forecast_file: says how a file of one's own goes on, and how good such forecasts of it are."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from django.core.management.base import BaseCommand, CommandError

from mlops.detect import CannotJudge, Request
from mlops.forecasting import CannotForecast
from mlops.forecasting.file import AUTO, Forecast, How, forecast_file
from mlops.forecasting.members import DEEP, DEFAULT, MEMBERS
from mlops.forecasting.report import page, verdict
from mlops.management.file_arguments import add_file_arguments, of_file, refuse_unwritable, rows, seconds


class Command(BaseCommand):
    help = "Forecasts a CSV or Parquet file: continues it, or (--rolling) forecasts its last part from its past alone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add_file_arguments(parser, "forecast")
        add("--step", type=seconds, metavar="5min", help="Forecast in this step (default: the usual interval)")
        add("--horizon", type=int, default=96, metavar="96", help="Steps ahead")
        add("--model", default=DEFAULT, choices=[*MEMBERS, *DEEP, AUTO], help="auto: the best on the validation part")
        add("--train-rows", type=rows, metavar="N", help="Steps to learn from (default: 6 in 10)")
        add("--validate-rows", type=rows, metavar="N", help="Steps to choose settings on (default: 2 in 10)")
        add("--test-rows", type=rows, metavar="N", help="Steps to be forecast, with --rolling (default: the rest)")
        add("--rolling", action="store_true", help="Forecast from every step of the test part by its past alone")
        add("--out", type=Path, metavar="PARQUET", help="Write the forecasts (.csv for CSV)")
        add("--html", type=Path, metavar="HTML", help="Write a report with charts, in one file to send on")

    def handle(self, *args: Any, **options: Any) -> None:
        refuse_unwritable((options["out"], options["html"]), read=options["file"])
        try:
            forecast = forecast_file(options["file"], Request(**of_file(options)), how(options))
            for line in (*forecast.words, *forecast.notes):
                self.stdout.write(line)
            self.rolling(forecast, options) if options["rolling"] else self.continued(forecast, options)
        except (CannotJudge, CannotForecast) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}") from None

    def continued(self, forecast: Forecast, options: dict[str, Any]) -> None:
        table, refused = forecast.continued()
        for name, why in refused.items():
            self.stderr.write(f"{name}: no forecast: {why}")
        if not len(table):
            raise CommandError("no series has a forecast")
        self.stdout.write(self.style.SUCCESS(verdict(forecast)))
        for name in table["series"].unique(maintain_order=True):
            rows = table.filter(series=name)
            for row in (rows.row(0, named=True), rows.row(-1, named=True)):
                self.stdout.write(
                    f"  {name}, {row['at']:%Y-%m-%d %H:%M:%S}: {row['q50']:.5g}, "
                    f"80 % between {row['q10']:.5g} and {row['q90']:.5g}"
                )
        self.write(iter([table]), options["out"])
        self.report(forecast, table, refused, options["html"])
        told = {"horizon": forecast.how.horizon, "series": table["series"].n_unique(), "refused": len(refused)}
        self.stdout.write(json.dumps({**told, "fit_s": round(forecast.fit_s, 3), "model": ", ".join(forecast.models)}))

    def rolling(self, forecast: Forecast, options: dict[str, Any]) -> None:
        self.write(forecast.rolled(), options["out"])
        self.stdout.write(self.style.SUCCESS(verdict(forecast)))
        if options["html"]:
            self.report(forecast, *forecast.continued(), options["html"])
        self.stdout.write(json.dumps(forecast.line))

    def write(self, tables: Iterator[pl.DataFrame], out: Path | None) -> None:
        """Series by series: a long test part need not lie in memory at once."""
        if out is None:
            for _ in tables:
                pass
            return
        if out.suffix.lower() == ".csv":
            with out.open("wb") as file:
                for k, table in enumerate(tables):
                    table.write_csv(file, include_header=k == 0)
        else:
            first = next(tables).to_arrow()
            with pq.ParquetWriter(out, first.schema) as writer:
                writer.write_table(first)
                for table in tables:
                    writer.write_table(table.to_arrow().cast(first.schema))
        self.stdout.write(f"{out} is written.")

    def report(self, forecast: Forecast, table: pl.DataFrame, refused: dict[str, str], html: Path | None) -> None:
        if html is not None:
            html.write_text(page(forecast, table, refused), encoding="utf-8")
            self.stdout.write(f"{html} is written.")


def how(options: dict[str, Any]) -> How:
    return How(
        options["horizon"], options["model"], options["train_rows"], options["validate_rows"], options["test_rows"],
        options["rolling"], options["step"],
    )  # fmt: skip
