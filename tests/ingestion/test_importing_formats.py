"""Files as people and programs write them: whatever the format, the same rows come out. Nothing here needs Django."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.importing import report
from ingestion.importing.columns import BadMap, match, parse_map
from ingestion.importing.rows import How, Rows, join
from sensors.packs import read_pack
from sensors.readings import micros
from sensors.tables import files
from sensors.tables.files import BadFile

INDOOR, SMOKE = read_pack("indoor").profile, read_pack("smoke").profile
BERLIN = "Europe/Berlin"
START = datetime(2024, 6, 1, tzinfo=UTC)
# What each way of writing a time keeps of it.
TIMES: dict[str, Any] = {
    "iso with an offset": lambda at: at.astimezone(ZoneInfo(BERLIN)).isoformat(),
    "iso in UTC": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    "iso": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%Y-%m-%dT%H:%M:%S}",
    "plain": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%Y-%m-%d %H:%M:%S.%f}",
    "plain minutes": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%Y-%m-%d %H:%M}",
    "dotted": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%d.%m.%Y %H:%M}",
    "dotted seconds": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%d.%m.%Y %H:%M:%S}",
    "dmy": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%d/%m/%Y %H:%M:%S}",
    "mdy": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%m/%d/%Y %H:%M}",
    "mdy with am and pm": lambda at: f"{at.astimezone(ZoneInfo(BERLIN)):%m/%d/%Y %I:%M:%S %p}",
    "seconds": lambda at: str(micros(at) // 1_000_000),
    "fractional seconds": lambda at: f"{micros(at) / 1e6:.6f}",
    "milliseconds": lambda at: str(micros(at) // 1000),
    "microseconds": lambda at: str(micros(at)),
}


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def rows_of(path: Path, profile: Any = INDOOR, **how: Any) -> Rows:
    return join([files.read(path)], profile, How(**{"zone": BERLIN, **how}))


def figure(value: float, digits: int, decimal: str, thousands: str) -> str:
    text = f"{value:,.{digits}f}".replace(",", "\0").replace(".", decimal)
    return text.replace("\0", thousands)


# ---- any format ---------------------------------------------------------------------------------------------


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["1", "7", "north wall", "MACHINE_001"]),
            st.integers(0, 60 * 24 * 28).map(lambda minutes: START + timedelta(minutes=minutes)),
            st.floats(-2_000_000, 2_000_000).map(lambda value: round(value, 3)),
            st.none() | st.floats(0, 100).map(lambda value: round(value, 3)),
        ),
        min_size=1,
        max_size=30,
    ),
    separator=st.sampled_from(sorted(files.SEPARATORS)),
    marks=st.sampled_from([(".", ""), (".", ","), (".", " "), (".", "'"), (",", ""), (",", "."), (",", "\u202f")]),
    time=st.sampled_from(sorted(TIMES)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_a_table_written_in_any_format_is_read_back_as_it_was(
    tmp_path_factory, rows, separator, marks, time, encoding, newline, quoting
):
    if encoding == "latin-1" and "\u202f" in marks:
        marks = (",", "\xa0")
    out = io.StringIO()
    table = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=newline)
    table.writerow(["Zeit", "Gerät", "Temperature [°C]", "hum"])
    for mote, at, temperature, humidity in rows:
        cells = ["" if value is None else figure(value, 3, *marks) for value in (temperature, humidity)]
        table.writerow([TIMES[time](at), mote, *cells])
    path = written(tmp_path_factory.mktemp("any") / "any.csv", out.getvalue(), encoding)
    mapping = {"at": "Zeit", "mote": "Gerät"}

    found = rows_of(path, mapping=mapping)
    if found.doubts:  # the data do not decide: then whoever knows does
        order = "mdy" if time.startswith("mdy") else "dmy"
        found = rows_of(path, mapping=mapping, decimal=marks[0], date_order=order)

    expected = sorted(rows, key=lambda row: row[1])
    assert found.table.select("mote", "at", "temperature", "humidity").rows() == [
        (mote, micros(at), temperature, humidity) for mote, at, temperature, humidity in expected
    ]
    assert found.table.select(pl.col("^.* said$").is_not_null().any()).row(0) == (False,) * 3


def test_parquet_keeps_its_types_and_whole_floats_name_motes(tmp_path):
    at = datetime(2024, 6, 1, 12, 0, 0, 250, tzinfo=ZoneInfo(BERLIN))
    table = pl.DataFrame({"moteid": [7.0], "ts": [at.replace(tzinfo=None)], "temperature": [21.5], "humidity": [40]})
    table.write_parquet(tmp_path / "a.parquet")

    found = rows_of(tmp_path / "a.parquet")

    assert found.table["mote"].to_list() == ["7"]
    assert found.table["at"].to_list() == [micros(at)]
    assert found.table.select("temperature", "humidity").row(0) == (21.5, 40.0)


def test_parquet_columns_that_are_no_cells_are_said_as_text(tmp_path):
    path = tmp_path / "a.parquet"
    table = {
        "mote": pl.Series(["7"], dtype=pl.Categorical),
        "at": pl.Series([START.isoformat()], dtype=pl.Categorical),
        "temp": pl.Series(["21.5"], dtype=pl.Categorical),
        "humidity": [[1.0]],
        "light": [timedelta(1)],
    }
    pl.DataFrame(table).write_parquet(path)

    found = rows_of(path).table

    assert found.select("mote", "at", "temperature").row(0) == ("7", micros(START), 21.5)
    assert found.select("humidity said", "light said").row(0) == ("[1.0]", "1 day, 0:00:00")


def test_a_file_without_a_header_is_mapped_by_number(tmp_path):
    path = written(tmp_path / "a.csv", "2024-06-01 12:00,7,21.5\n2024-06-01 12:01,7,21.6\n")

    found = rows_of(path, mapping={"at": "1", "mote": "2", "temperature": "3"})

    assert found.table["temperature"].to_list() == [21.5, 21.6]
    assert "without a header" in found.words[0]


def test_date_and_time_may_stand_in_two_columns(tmp_path):
    path = written(tmp_path / "a.csv", "Date;Time;mote;temp\n28.02.2024;13:45;7;21,5\n")

    found = rows_of(path, mapping={"at": "Date+Time"})

    assert found.table["at"].to_list() == [micros(datetime(2024, 2, 28, 12, 45, tzinfo=UTC))]


def test_several_files_of_different_formats_become_one_table_in_order_of_time(tmp_path):
    written(tmp_path / "a.csv", "at;mote;temp\n2024-06-01T12:01Z;7;21,5\n")
    written(tmp_path / "b.tsv", "mote\tat\thum\n7\t2024-06-01T12:00Z\t40.5\n")

    found = join([files.read(path) for path in files.find([tmp_path])], INDOOR, How("UTC"))

    assert found.table.select("temperature", "humidity").rows() == [(None, 40.5), (21.5, None)]


# ---- what the data leave open -------------------------------------------------------------------------------


def dates(tmp_path: Path, *texts: str) -> Rows:
    return rows_of(written(tmp_path / "a.csv", "at,mote,temp\n" + "".join(f"{text},7,21.5\n" for text in texts)))


def test_a_day_above_twelve_decides_which_comes_first(tmp_path):
    assert dates(tmp_path, "02/03/2024 10:00", "28/03/2024 10:00").table["at"].to_list() == [
        micros(datetime(2024, 3, day, 9, tzinfo=UTC)) for day in (2, 28)
    ]
    assert dates(tmp_path, "02/03/2024 10:00", "02/28/2024 10:00").table["at"].to_list() == [
        micros(datetime(2024, 2, day, 9, tzinfo=UTC)) for day in (3, 28)
    ]


def test_days_that_follow_each_other_decide_which_comes_first(tmp_path):
    found = dates(tmp_path, *(f"02/{day:02d}/2024 10:00" for day in range(1, 13)))

    assert found.doubts == ()
    assert found.table["at"].to_list()[-1] == micros(datetime(2024, 2, 12, 9, tzinfo=UTC))


def test_a_date_that_the_data_leave_open_is_said(tmp_path):
    [doubt] = dates(tmp_path, "02/03/2024 10:00").doubts

    assert doubt.startswith("“02/03/2024” may be day/month/year or month/day/year: say --date-order")


def test_one_value_decides_the_decimal_mark_of_the_whole_file(tmp_path):
    path = written(tmp_path / "a.csv", 'at;mote;light;temp\n2024-06-01;7;1,234;21.500\n2024-06-02;7;"1,234,567";21\n')

    assert rows_of(path).table["light"].to_list() == [1234.0, 1234567.0]


def test_a_number_that_the_data_leave_open_is_said(tmp_path):
    path = written(tmp_path / "a.csv", "at;mote;light\n2024-06-01;7;1,234\n")

    assert rows_of(path).doubts == ("“1,234” may be 1.234 or 1234: say --decimal , or --decimal .",)
    assert rows_of(path, decimal=",").table["light"].to_list() == [1.234]


def test_what_is_no_number_stays_beside_as_the_text_it_was(tmp_path):
    cells = ["21.5", "NaN", "inf", "warm", "1_000", "1e999", "", "NA", "null", "-", "0x10", "1.2.3", "1,5"]
    lines = "".join(f"2024-06-01 12:{i:02d};7;{cell}\n" for i, cell in enumerate(cells))

    found = rows_of(written(tmp_path / "a.csv", f"at;mote;temp\n{lines}"), decimal=".")

    assert found.table["temperature"].drop_nulls().to_list() == [21.5]
    unreadable = ["NaN", "inf", "warm", "1_000", "1e999", "0x10", "1.2.3", "1,5"]
    assert found.table["temperature said"].drop_nulls().to_list() == unreadable


def test_what_is_no_time_stays_beside_as_the_text_it_was(tmp_path):
    texts = ["2024-02-30 12:00", "yesterday", "31.06.2024 12:00", "2024-06-01 25:00", "13/13/2024 10:00"]

    found = dates(tmp_path, *texts, "")

    assert found.table["at"].null_count() == 6
    assert found.table["at said"].to_list() == [*texts, None]


# ---- clocks that change -------------------------------------------------------------------------------------


def test_the_hour_that_is_passed_twice_is_told_apart_by_each_motes_own_order(tmp_path):
    clock = ["01:59", "02:10", "02:40", "02:10", "02:40", "03:10"]  # of Berlin, 27 October 2024
    lines = "".join(f"2024-10-27 {each},{mote},21.5\n" for mote in "78" for each in clock)

    found = rows_of(written(tmp_path / "a.csv", f"at,mote,temp\n{lines}"))

    first = micros(datetime(2024, 10, 26, 23, 59, tzinfo=UTC))
    minutes = [(at - first) // 60_000_000 for at in found.table.filter(mote="7")["at"].to_list()]
    assert minutes == [0, 11, 41, 71, 101, 131]
    assert (found.n_first, found.n_second, found.n_never) == (4, 4, 0)


def test_who_speaks_once_an_hour_speaks_twice_in_the_hour_that_is_passed_twice(tmp_path):
    clock = ["01:00", "02:00", "02:00", "03:00"]
    lines = "".join(f"2024-10-27 {each},7,21.5\n" for each in clock)

    found = rows_of(written(tmp_path / "a.csv", f"at,mote,temp\n{lines}"))

    first = micros(datetime(2024, 10, 26, 23, tzinfo=UTC))
    assert [(at - first) // 3_600_000_000 for at in found.table["at"].to_list()] == [0, 1, 2, 3]
    assert (found.n_first, found.n_second) == (1, 1)


@pytest.mark.parametrize(
    ("zone", "day", "fixed"),
    [
        ("Europe/Berlin", "2024-03-31 02:30", "Etc/GMT-1"),
        ("America/Los_Angeles", "2024-03-10 02:30", "Etc/GMT+8"),
        ("Europe/London", "2024-03-31 01:30", "Etc/GMT+0"),
    ],
)
def test_a_logger_without_summer_time_is_told_the_fixed_offset_of_its_zone(tmp_path, zone, day, fixed):
    file = written(tmp_path / "a.csv", f"at,mote,temp\n2024-02-01 12:00,7,21.5\n{day},7,21.5\n")

    lines = "\n".join(report.times(rows_of(file, zone=zone), zone, site_zone=zone))

    assert f"such as --times-in {fixed}" in lines
    assert ZoneInfo(fixed).utcoffset(START) == ZoneInfo(zone).utcoffset(datetime(2024, 1, 1, tzinfo=UTC))


def test_a_time_that_never_was_is_none_and_counted(tmp_path):
    found = rows_of(written(tmp_path / "a.csv", "at,mote,temp\n2024-03-31 02:30,7,21.5\n2024-03-31 03:30,7,21.5\n"))

    assert found.n_never == 1
    assert found.table["at said"].drop_nulls().to_list() == ["2024-03-31 02:30 never was in Europe/Berlin"]


def test_times_with_and_without_offsets_may_stand_in_one_column(tmp_path):
    texts = ["2024-06-01 12:00", "2024-06-01T12:00+05:30", "2024-06-01 12:00:00 -0800", "2024-06-01T10:01:00Z"]

    found = dates(tmp_path, *texts)

    hours = [datetime.fromtimestamp(at / 1e6, UTC).hour for at in found.table["at"].to_list()]
    assert sorted(hours) == [6, 10, 10, 20]
    assert found.kinds == {"with an offset": 3, "without an offset": 1}


# ---- files that are not as they should be -------------------------------------------------------------------


def test_lines_that_do_not_fit_are_kept_aside_and_take_no_other_along(tmp_path):
    lines = ["at,mote,temp", "2024-06-01 12:00,7,21.5", "2024-06-01 12:01,7,21.5,spare", '"2024-06-01"" 12:02,7', "",
             "2024-06-01 12:03,7,22"]  # fmt: skip

    source = files.read(written(tmp_path / "a.csv", "\n".join(lines)))

    assert source.misfits == (b"2024-06-01 12:01,7,21.5,spare",)
    assert source.n_rows == 4
    assert source.n_empty == 1
    assert source.table["temp"].to_list()[0::2] == ["21.5", "22"]


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path):
    rows = "".join(f"2024-06-01 12:{i % 60:02d},7,21.5\n" for i in range(100))

    source = files.read(written(tmp_path / "a.csv", f'at,mote,temp\n2024-06-01 11:00,"7,21.5\n{rows}'))

    assert source.n_rows == 101


def test_a_field_in_quotes_may_hold_the_separator_and_a_line_break(tmp_path):
    source = files.read(written(tmp_path / "a.csv", 'at,mote,note,temp\n2024-06-01,7,"moved,\nagain",21.5\n'))

    assert source.table.rows() == [("2024-06-01", "7", "moved,\nagain", "21.5")]


def test_lines_that_a_stray_quote_would_join_stay_lines(tmp_path):
    source = files.read(written(tmp_path / "a.csv", 'at;mote;temp\n2024-06-01;"7;21\n2024-06-02;8";22\n'))

    assert source.n_rows == 2


def test_what_stands_before_the_header_is_left_out_and_said(tmp_path):
    text = "sep=;\n# Logger 4711\nStation north\n\nat;mote;temp;\n2024-06-01;7;21,5;\n"

    source = files.read(written(tmp_path / "a.csv", text))

    assert source.table.select("at", "mote", "temp").rows() == [("2024-06-01", "7", "21,5")]
    assert "4 lines before the header left out" in source.words
    one_line = files.read(written(tmp_path / "b.csv", "Logger 4711\nat;mote;temp\n2024-06-01;7;21,5\n"))
    assert "1 line before the header left out" in one_line.words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"at,mote,temp\n", r"has a header \(at, mote, temp\) and no row below it"),
        (b"nothing here\nbut prose\n", "has one column only"),
        (b"\x00\x01\x02" * 9, "is neither text nor Parquet"),
        (b"PAR1 and no more", "begins as Parquet does, but cannot be read"),
        (b"\x1f\x8b\x08", "is compressed"),
        (b"PK\x03\x04", "is a zip archive or an Excel workbook"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)

    with pytest.raises(BadFile, match=words):
        files.read(tmp_path / "a.csv")


def test_a_file_that_is_not_there_and_a_folder_without_files_are_said(tmp_path):
    with pytest.raises(BadFile, match="cannot be read: No such file"):
        files.read(tmp_path / "none.csv")
    with pytest.raises(BadFile, match="has no file that ends in"):
        files.find([tmp_path])


@given(lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters='"\r\n\0'))))
def test_whatever_the_lines_are_each_is_a_row_a_misfit_or_empty(tmp_path_factory, lines):
    fine = "2024-06-01;7;21\n" * (len(lines) + 1)  # whoever is in the minority does not choose the separator
    text = "at;mote;temp\n" + fine + "".join(f"{line}\n" for line in lines)
    path = written(tmp_path_factory.mktemp("odd") / "odd.csv", text)

    source = files.read(path)
    found = join([source], INDOOR, How(BERLIN))

    assert source.n_rows + source.n_empty == 1 + 2 * len(lines)
    assert len(found) == source.n_rows


# ---- which column is what -----------------------------------------------------------------------------------


def matched(*names: str, profile: Any = INDOOR, has_mote: bool = False, **mapping: str) -> Any:
    return match(names, mapping, profile, has_mote=has_mote, file="a.csv")


def test_columns_are_found_by_code_alias_and_label_whatever_the_case_and_the_unit():
    found = matched("Sensor_ID", "TIMESTAMP", "Temp (°F)", "Humidity[%]", "Battery voltage [V]", "epoch")

    assert (found.mote, found.at, found.unused) == ("Sensor_ID", ("TIMESTAMP",), ("epoch",))
    assert found.channels == {"temperature": "Temp (°F)", "humidity": "Humidity[%]", "voltage": "Battery voltage [V]"}


def test_the_names_of_the_public_smoke_set_are_known():
    names = ["UTC", "Temperature[C]", "Humidity[%]", "TVOC[ppb]", "eCO2[ppm]", "Raw H2", "Raw Ethanol", "Pressure[hPa]",
             "PM1.0", "PM2.5", "NC0.5", "NC1.0", "NC2.5", "CNT", "Fire Alarm"]  # fmt: skip

    found = matched(*names, profile=SMOKE, has_mote=True)

    assert len(found.channels) == 12
    assert found.at == ("UTC",)
    assert found.unused == ("CNT", "Fire Alarm")


def test_what_the_caller_says_goes_before_what_a_name_suggests():
    found = matched("ts", "time", "mote", "temp", "outside, shaded", at="time", temperature="outside, shaded")

    assert found.at == ("time",)
    assert found.channels == {"temperature": "outside, shaded"}
    assert found.unused == ("ts", "temp")


@pytest.mark.parametrize(
    ("names", "mapping", "words"),
    [
        (("ts", "id", "temp"), {"mote": "moteid"}, "no column “moteid”: a.csv has the columns ts, id, temp"),
        (("ts", "mote", "temp"), {"warmth": "temp"}, "“warmth” is none of mote, at, temperature, humidity"),
        (("when", "mote", "temp"), {}, "no column says when a reading was measured: a.csv has the columns when"),
        (("ts", "where", "temp"), {}, "no column names the mote: a.csv has the columns ts, where, temp"),
        (("ts", "mote", "co2"), {}, r"no column is a channel of indoor \(temperature, humidity, light, voltage"),
        (("ts", "mote", "temp"), {"at": "day+ts"}, "no column “day”"),
    ],
)
def test_a_column_that_is_not_there_is_answered_with_those_that_are(names, mapping, words):
    with pytest.raises(BadMap, match=words):
        matched(*names, **mapping)


@pytest.mark.parametrize("piece", ["mote", "=ts", "at=", "at=a,at=b"])
def test_a_map_that_says_nothing_is_refused(piece):
    with pytest.raises(BadMap, match="--map"):
        parse_map([piece])


def test_a_derived_channel_is_not_read_from_a_file():
    from sensors.readings import Formula

    first = replace(INDOOR.channels[0], formula=Formula("ratio", ("humidity", "light")))

    found = matched("ts", "mote", "temp", "hum", profile=replace(INDOOR, channels=(first, *INDOOR.channels[1:])))

    assert "temperature" not in found.channels
    assert found.unused == ("temp",)
