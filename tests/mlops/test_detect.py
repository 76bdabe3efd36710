"""manage.py detect: a file of one's own, judged with no set-up, by what it says of its own past alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.detect import CannotJudge, Judged, Request, judge_file
from mlops.detect.report import page
from sensors.packs import read_pack
from sensors.readings import score, severity

START = datetime(2026, 3, 2, tzinfo=UTC).replace(tzinfo=None)  # as files mostly have it
N, FAULT = 1000, 700


def table(seed: int = 2, n: int = N, **more: Any) -> pl.DataFrame:
    """A steady pressure and a temperature that is 20 too high for 30 minutes."""
    rng = np.random.default_rng(seed)
    temperature = (20.0 + rng.standard_normal(n)).round(2)
    temperature[FAULT : FAULT + 30] += 20.0
    columns = {
        "time": [START + timedelta(minutes=k) for k in range(n)],
        "temperature [°C]": temperature,
        "pressure": (1000.0 + rng.standard_normal(n)).round(2),
    }
    return pl.DataFrame({**columns, **more})


def written(path: Path, rows: pl.DataFrame, **how: Any) -> Path:
    if path.suffix == ".parquet":
        rows.write_parquet(path)
    else:
        rows.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S", **how)
    return path


def judge(tmp_path: Path, rows: pl.DataFrame, **ask: Any) -> Judged:
    return judge_file(written(tmp_path / "a.csv", rows), Request(**ask))


def said(*arguments: object) -> str:
    out = StringIO()
    call_command("detect", *map(str, arguments), stdout=out)
    return out.getvalue()


# ---- what it finds ------------------------------------------------------------------------------------------


def test_a_fault_is_one_event_with_its_rows_its_channel_and_words(tmp_path: Path) -> None:
    judged = judge(tmp_path, table())

    later = [found for found in judged.events if not found.is_training]
    assert len(later) == 1
    (found,) = later
    assert FAULT + 1 <= found.first_row <= FAULT + 3
    assert found.change.peak_channel == "temperature [°C]"
    assert found.change.contributions["temperature [°C]"] > 0.8
    assert found.words.startswith("temperature 39.38 °C, expected 1")


def test_ten_files_without_a_fault_have_two_events_at_most(tmp_path: Path) -> None:
    calm = [table(seed).drop("temperature [°C]") for seed in range(10)]

    assert sum(len(judge(tmp_path, rows).events) for rows in calm) <= 2


def short(kind: str, seed: int) -> pl.DataFrame:
    """400 rows, of which the first 60 are learnt from; what is odd begins at row 301."""
    values = np.random.default_rng(seed).standard_normal(400)
    if kind == "constant":
        values[:] = 0.0
    if kind == "seasonal":
        values = 0.3 * values + 3.0 * np.sin(np.arange(400) * 2.0 * np.pi / 24.0)
    return pl.DataFrame({"time": [START + timedelta(minutes=k) for k in range(400)], "level": values})


def odd(rows: pl.DataFrame, by: float, n: int) -> pl.DataFrame:
    values = rows["level"].to_numpy().copy()
    values[300 : 300 + n] += by
    return rows.with_columns(level=pl.Series(values))


@pytest.mark.parametrize(
    ("kind", "by", "n"), [("noise", 10.0, 1), ("noise", 8.0, 100), ("constant", 1.0, 1), ("seasonal", 10.0, 1)]
)
def test_sixty_rows_are_enough_to_find_a_spike_and_a_step_in_a_short_file(
    tmp_path: Path, kind: str, by: float, n: int
) -> None:
    for seed in range(6):
        judged = judge(tmp_path, odd(short(kind, seed), by, n))

        assert any(301 <= found.first_row <= 306 for found in judged.events)
        assert len(judged.events) <= 2


def test_sixty_short_files_in_which_nothing_happens_have_six_events_at_most(tmp_path: Path) -> None:
    calm = [judge(tmp_path, short(kind, seed)) for kind in ("noise", "constant", "seasonal") for seed in range(20)]

    assert sum(len(judged.events) for judged in calm) <= 6


@settings(max_examples=8, deadline=None)
@given(n=st.integers(FAULT, N - 1), seed=st.integers(0, 2))
def test_what_comes_later_changes_no_row(n: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path, rows = tmp_path_factory.mktemp("detect"), table(seed)

    whole = judge(tmp_path, rows, train_rows=200).scored()
    begun = judge(tmp_path, rows[:n], train_rows=200).scored()

    assert whole[:n].equals(begun)


def test_one_file_is_judged_the_same_as_csv_and_as_parquet(tmp_path: Path) -> None:
    as_csv = judge_file(written(tmp_path / "a.csv", table()), Request()).scored()
    as_parquet = judge_file(written(tmp_path / "a.parquet", table()), Request()).scored()

    said_of = ("surprise", "score", "is_anomaly", "event_id")
    assert as_csv.select(said_of).equals(as_parquet.select(said_of))


def test_a_decimal_comma_and_a_semicolon_are_recognised(tmp_path: Path) -> None:
    plain = judge(tmp_path, table()).scored()
    german = table().with_columns(
        pl.col("time").dt.strftime("%d.%m.%Y %H:%M"),
        pl.col(pl.Float64).cast(pl.String).str.replace(".", ",", literal=True),
    )

    path = written(tmp_path / "b.csv", german, separator=";")

    assert judge_file(path, Request()).scored()["score"].equals(plain["score"])


def test_a_mote_that_appears_late_is_judged_by_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n = 6000
    rows = pl.DataFrame(
        {
            "at": [START + timedelta(minutes=k) for k in range(n)] * 3,
            "mote": np.repeat(["a", "b", "late"], n),
            "temperature": (20.0 + rng.standard_normal(3 * n)).round(1),
        }
    ).filter((pl.col("mote") != "late") | (pl.col("at") >= START + timedelta(minutes=5500)))
    is_hot = (pl.col("mote") == "late") & pl.col("at").is_between(*(START + timedelta(minutes=k) for k in (5501, 5520)))
    rows = rows.with_columns(pl.when(is_hot).then(80.0).otherwise("temperature").alias("temperature"))
    rows = rows.sample(fraction=1.0, shuffle=True, seed=1)

    judged = judge(tmp_path, rows, by="mote", train_until=(START + timedelta(minutes=5400)).replace(tzinfo=UTC))

    odd = judged.scored().filter("is_anomaly")
    assert {found.series for found in judged.events if not found.is_training} == {"late"}
    assert odd["temperature"].str.to_decimal().max() == 80
    assert any("1 series first appear after the training part" in note for note in judged.notes)


def test_a_profile_judges_by_its_pack_where_nothing_was_learnt(tmp_path: Path) -> None:
    rows = table().rename({"temperature [°C]": "Temp"}).drop("pressure")

    judged = judge(tmp_path, rows, profile=read_pack("indoor").profile, train_rows=0)

    assert any(found.first_row in range(FAULT + 1, FAULT + 4) for found in judged.events)
    assert any("humidity, light, voltage" in note for note in judged.notes)


# ---- what it writes -----------------------------------------------------------------------------------------


def test_the_rows_come_back_as_they_were_with_what_was_said_of_each(tmp_path: Path) -> None:
    path, out = written(tmp_path / "a.csv", table(note="fine")), tmp_path / "o.csv"

    words = said(path, "--out", out)

    before, after = pl.read_csv(path), pl.read_csv(out)
    assert after[before.columns].equals(before)
    assert after.columns[before.width :] == [
        "surprise", "score", "is_anomaly", "severity", "event_id", "temperature [°C]_contribution",
        "pressure_contribution",
    ]  # fmt: skip
    assert after["score"].is_between(0.0, 1.0).all()
    assert after["severity"].to_list() == [severity(value) for value in after["score"].to_list()]
    onset = Request and judge_file(path, Request()).profile.onset
    assert np.allclose(score(after["surprise"].to_numpy(), onset), after["score"].to_numpy(), atol=2e-4)
    assert (after.filter("is_anomaly")["event_id"].is_not_null()).all()
    assert "no numbers, so left out: note" in words
    assert "1 event" in words


def test_events_are_json_and_the_report_is_one_file_that_needs_no_other(tmp_path: Path) -> None:
    path = written(tmp_path / "a <b>.csv", table())
    events, html = tmp_path / "e.json", tmp_path / "r.html"

    said(path, "--events", events, "--html", html)

    told = json.loads(events.read_text())
    assert told["rows"] == N
    assert told["events"][0]["started_at"].startswith("2026-03-02T11:4")
    assert told["events"][0]["peak"]["channel"] == "temperature [°C]"
    text = html.read_text()
    assert "a &lt;b&gt;.csv" in text
    assert "a <b>.csv" not in text
    assert text.count("<svg") == 2
    assert not any(mark in text for mark in ("http:", "https:", "src=", "<script", "@import", "url("))


def test_the_report_breaks_its_lines_over_gaps(tmp_path: Path) -> None:
    rows = table().filter((pl.int_range(pl.len()) < 300) | (pl.int_range(pl.len()) > 500))

    judged = judge(tmp_path, rows)

    trace = page(judged).split('class="trace" d="')[1].split('"')[0]
    assert trace.count("M") == 2
    assert any("1 gaps of more than 20 steps" in note for note in judged.notes)


def test_a_column_that_is_already_called_score_stays(tmp_path: Path) -> None:
    scored = judge(tmp_path, table(score="mine"), values=("pressure",)).scored()

    assert set(scored["score"]) == {"mine"}
    assert "score_judged" in scored.columns


# ---- what it makes of odd files -----------------------------------------------------------------------------


def test_cells_that_are_no_numbers_and_empty_ones_are_reported_and_not_judged(tmp_path: Path) -> None:
    rows = table().with_columns(pl.col("pressure").cast(pl.String))
    broken = rows["pressure"].to_list()
    broken[5], broken[6] = "broken", ""
    rows = rows.with_columns(pl.Series("pressure", broken))

    judged = judge(tmp_path, rows)

    assert any("“pressure”: 1 cells are no numbers, such as “broken”" in note for note in judged.notes)
    assert any("“pressure”: 1 cells are empty" in note for note in judged.notes)
    assert judged.scored()["score"].null_count() == 0


def test_a_row_without_a_time_is_kept_and_not_judged(tmp_path: Path) -> None:
    rows = table().with_columns(pl.col("time").dt.strftime("%Y-%m-%d %H:%M:%S"))
    times = rows["time"].to_list()
    times[10] = "yesterday"

    scored = judge(tmp_path, rows.with_columns(pl.Series("time", times))).scored()

    assert len(scored) == N
    assert scored["score"].null_count() == 1
    assert scored["score"][10] is None


def test_a_constant_channel_is_said_to_be_and_its_first_change_is_news(tmp_path: Path) -> None:
    valve = np.zeros(N)
    valve[800:820] = 1.0

    judged = judge(tmp_path, table(valve=valve), values=("valve",))

    assert any("“valve” is constant in the training part" in note for note in judged.notes)
    assert [found.first_row for found in judged.events] == [801]


def test_a_label_and_a_row_counter_are_no_channels_unless_asked_for(tmp_path: Path) -> None:
    rows = table(anomaly=[0.0] * N, row=list(range(N)))

    judged = judge(tmp_path, rows)
    asked = judge(tmp_path, rows, values=("anomaly", "pressure"))

    assert judged.readings.names == ("temperature [°C]", "pressure")
    assert asked.readings.names == ("anomaly", "pressure")


def test_rows_without_times_are_so_far_apart_as_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", table().drop("time"))
    events = tmp_path / "e.json"

    said(path, "--interval", "1min", "--start", "2026-03-02T00:00Z", "--events", events)

    assert json.loads(events.read_text())["events"][0]["started_at"].startswith("2026-03-02T11:4")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--time", "when"), "--time names “when”, but the file has the columns time, temperature [°C], pressure"),
        (("--values", "presure"), "--values names “presure”, but the file has the columns time, temperature"),
        (("--by", "mote"), "--by names “mote”, but the file has the columns"),
        (("--train-rows", "5"), "the first 5 rows are 5 of 1,000 rows to learn from; expected at least 20"),
        (("--train-rows", "1000"), "nothing is left to judge"),
        (("--train-until", "2020-01-01"), "before 2020-01-01 00:00:00 are 0 of 1,000 rows"),
        (("--time", "pressure", "--values", "time"), "no cell of time is a number"),
        (("--interval", "soon"), "“soon” is no interval; expected such as 1s"),
        (("--train-fraction", "2"), "“2” is no share"),
        (("--start", "2026-01-01"), "say --interval too"),
        (("--profile", "kitchen"), "kitchen"),
    ],
)
def test_what_is_asked_wrongly_is_answered_with_what_is_there(tmp_path: Path, arguments: Any, words: str) -> None:
    path = written(tmp_path / "a.csv", table())

    with pytest.raises(CommandError) as refusal:
        said(path, *arguments)

    assert words in str(refusal.value)


def test_a_file_with_too_many_columns_says_how_to_choose(tmp_path: Path) -> None:
    rows = table(**{f"c{k}": [1.5] * N for k in range(40)})

    with pytest.raises(CannotJudge, match="at most 31 are judged together: name them with --values"):
        judge(tmp_path, rows)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none\.csv cannot be read"):
        said(tmp_path / "none.csv")
