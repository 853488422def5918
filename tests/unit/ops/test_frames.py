"""Files of series as people keep them, and what is told of those that cannot be read."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ops import files, frames
from ops.files import FrameError
from ops.frames import Reading
from webapp.schemas import fields

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = datetime(2026, 1, 1, 13, tzinfo=UTC)

#: What is in the file → the observations in it: (entity, channel, at, value).
READ = {
    "wide": ("device,timestamp,cpu,mem\na,2026-01-01T12:00:00Z,1,2\n", [("a", "cpu", NOON, 1), ("a", "mem", NOON, 2)]),
    "long": (
        "entity,at,channel,value\na,2026-01-01T12:00Z,cpu,1\na,2026-01-01T12:00Z,mem,2\n",
        [("a", "cpu", NOON, 1), ("a", "mem", NOON, 2)],
    ),
    "long, other words": ("device,time,metric,Value\na,2026-01-01T12:00Z,cpu,1\n", [("a", "cpu", NOON, 1)]),
    "a number named field is a channel": (
        "entity,at,field,value\na,2026-01-01T12:00Z,7,1\n",
        [("a", "field", NOON, 7), ("a", "value", NOON, 1)],
    ),
    "no entity column": ("at,cpu\n2026-01-01T12:00Z,1\n", [("pump", "cpu", NOON, 1)]),
    "odd column names": (' Device_ID , Timestamp ,"CPU, %"\na,2026-01-01T12:00Z,1\n', [("a", "CPU, %", NOON, 1)]),
    "dotted paths": ("entity,at,system.cpuUsage\na,2026-01-01T12:00Z,1\n", [("a", "system.cpuUsage", NOON, 1)]),
    "numbered entities": ("user_id,at,rhr\n7,2026-01-01T12:00Z,60\n", [("7", "rhr", NOON, 60)]),
    "an id that numbers the rows": (
        "id,at,x\n1,2026-01-01T12:00Z,5\n2,2026-01-01T13:00Z,6\n",
        [("pump", "x", NOON, 5), ("pump", "x", ONE, 6)],
    ),
    "an id that names devices": ("id,at,x\n1,2026-01-01T12:00Z,5\n1,2026-01-01T13:00Z,6\n", [("1", "x", NOON, 5), ("1", "x", ONE, 6)]),
    "an index written along": (",at,x\n0,2026-01-01T12:00Z,5\n", [("pump", "x", NOON, 5)]),
    "times in the index": (",x\n2026-01-01 12:00:00,5\n", [("pump", "x", NOON, 5)]),
    "semicolons": ("entity;at;x\na;2026-01-01T12:00Z;1.5\n", [("a", "x", NOON, 1.5)]),
    "tabs": ("entity\tat\tx\na\t2026-01-01T12:00Z\t1\n", [("a", "x", NOON, 1)]),
    "unix seconds": ("ts,x\n1767268800,1\n", [("pump", "x", NOON, 1)]),
    "unix milliseconds": ("ts,x\n1767268800000,1\n", [("pump", "x", NOON, 1)]),
    "unix microseconds": ("ts,x\n1767268800000000,1\n", [("pump", "x", NOON, 1)]),
    "fractions of seconds": ("ts,x\n1767268800.0,1\n", [("pump", "x", NOON, 1)]),
    "dates as numbers": ("date,x\n20260101,1\n", [("pump", "x", datetime(2026, 1, 1, tzinfo=UTC), 1)]),
    "naive times are UTC": ("at,x\n2026-01-01 12:00:00,1\n", [("pump", "x", NOON, 1)]),
    "offsets, also mixed": ("at,x\n2026-01-01T13:00:00+01:00,1\n2026-01-01T13:00:00Z,2\n", [("pump", "x", NOON, 1), ("pump", "x", ONE, 2)]),
    "days and moments mixed": (
        "at,x\n2026-01-01,1\n2026-01-01 12:00,2\n",
        [("pump", "x", datetime(2026, 1, 1, tzinfo=UTC), 1), ("pump", "x", NOON, 2)],
    ),
    "UTC in words": ("at,x\n2026-01-01 12:00:00 UTC,1\n", [("pump", "x", NOON, 1)]),
    "the day first": (
        "date,x\n01/02/2026,1\n31/01/2026,2\n",
        [("pump", "x", datetime(2026, 2, 1, tzinfo=UTC), 1), ("pump", "x", datetime(2026, 1, 31, tzinfo=UTC), 2)],
    ),
    "the month first": ("date,x\n01/31/2026,2\n", [("pump", "x", datetime(2026, 1, 31, tzinfo=UTC), 2)]),
    "the last of doubled rows stands": ("at,x\n2026-01-01T12:00Z,1\n2026-01-01T12:00Z,2\n", [("pump", "x", NOON, 2)]),
    "doubled rows fill each other": (
        "at,x,y\n2026-01-01T12:00Z,1,\n2026-01-01T12:00Z,,2\n",
        [("pump", "x", NOON, 1), ("pump", "y", NOON, 2)],
    ),
    "missing values are left out": ("at,x,y\n2026-01-01T12:00Z,1,\n2026-01-01T13:00Z,,NA\n", [("pump", "x", NOON, 1)]),
    "infinite is missing": ("at,x\n2026-01-01T12:00Z,1\n2026-01-01T13:00Z,inf\n", [("pump", "x", NOON, 1)]),
    "words and flags are no channels": ("at,x,firmware,ok\n2026-01-01T12:00Z,1,v7,True\n", [("pump", "x", NOON, 1)]),
    "a byte order mark": ("\ufeffat,x\n2026-01-01T12:00Z,1\n", [("pump", "x", NOON, 1)]),
}

#: What is in the file → what is told.
REFUSED = {
    "empty": ("", "pump.csv: it is empty"),
    "a header only": ("at,x\n", "it holds no rows"),
    "no times": ("day_of_week,x\n1,2\n", r"no column of times; name it with --time. There are: day_of_week, x\."),
    "words for times": ("at,x\nyesterday,2\n", "column 'at' does not hold times.*Write times like"),
    "an index for times": ("ts,x\n0,2\n1,2\n", "column 'ts' does not hold times: its numbers, up to 1, are too small for Unix times"),
    "flags for times": ("at,x\nTrue,2\n", "it holds true and false"),
    "no such day": ("at,x\n2026-02-30,2\n", "column 'at' does not hold times"),
    "day or month first": ("at,x\n01/02/2026,2\n", "in '01/02/2026' the day may come before the month or after it"),
    "a time missing": ("at,x\n2026-01-01,2\n,3\n", "1 rows have no time in column 'at'; fill or remove them"),
    "another age": ("at,x\n1066-10-14,2\n", "column 'at' leaves the years 1900 to 2199: 1066-10-14"),
    "an entity missing": ("device,at,x\na,2026-01-01,2\n,2026-01-01,3\n", "1 rows have nothing in column 'device'"),
    "an endless name": (f"device,at,x\n{'a' * 201},2026-01-01,2\n", "cannot be an entity's name: its length must be between 1 and 200"),
    "an endless channel": (f"at,{'x' * 201}\n2026-01-01,2\n", "cannot be a channel's name"),
    "no numbers": ("at,note\n2026-01-01,fine\n", r"no column of numbers to take for a channel. There are: note\."),
    "nothing but times": ("at\n2026-01-01\n", "There are: none"),
    "words for values": ("at,channel,value\n2026-01-01,cpu,high\n", "column 'value' does not hold numbers: .*'high'"),
    "no values": ("at,channel,value\n2026-01-01,cpu,\n", "it holds no values"),
    "ragged rows": ("at,x\n2026-01-01,2\n2026-01-02,2,3,4\n", "it cannot be read: .*line 3"),
}


def observed(frame: pd.DataFrame) -> list[tuple[str, str, datetime, float]]:
    return [(entity, row.channel, row.at, row.value) for entity, row in frames.rows(frame)]


def write(folder: Path, text: str, name: str = "pump.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("case", READ)
def test_what_a_file_holds(tmp_path: Path, case: str) -> None:
    text, expected = READ[case]
    assert observed(frames.read(write(tmp_path, text))) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_told(tmp_path: Path, case: str) -> None:
    text, told = REFUSED[case]
    with pytest.raises(FrameError, match=told):
        frames.read(write(tmp_path, text))


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "host,when,at,x\na,2026-01-01T12:00Z,7,1\n")
    assert observed(frames.read(path, Reading(entity="host", time="when"))) == [("a", "x", NOON, 1)]
    with pytest.raises(FrameError, match=r"no column 'whom'; name one with --entity. There are: host, when, at, x\."):
        frames.read(path, Reading(entity="whom", time="when"))
    with pytest.raises(FrameError, match="no column 'then'; name it with --time"):
        frames.read(path, Reading(time="then"))


def test_long_and_wide_say_the_same(tmp_path: Path) -> None:
    wide = pd.DataFrame({"entity": ["a", "a", "b"], "at": [NOON, ONE, NOON], "x": [1.0, 2.0, 3.0], "y": [4.0, None, 6.0]})
    wide.to_csv(tmp_path / "wide.csv", index=False)
    wide.melt(["entity", "at"], var_name="channel").to_csv(tmp_path / "long.csv", index=False)
    assert sorted(observed(frames.read(tmp_path / "long.csv"))) == sorted(observed(frames.read(tmp_path / "wide.csv")))


#: Columns as Parquet keeps them → the values of channel `x` in them.
PARQUET: dict[str, tuple[dict[str, Any], list[float]]] = {
    "float32": ({"x": pd.Series([1.5, 2.5], dtype="float32")}, [1.5, 2.5]),
    "nullable whole numbers": ({"x": pd.Series([1, None], dtype="Int64")}, [1]),
    "decimals": ({"x": [Decimal("1.5"), None]}, [1.5]),
    "beside flags and words": ({"x": [1.0, 2.0], "ok": [True, False], "note": ["a", "b"]}, [1, 2]),
}


@pytest.mark.parametrize("case", PARQUET)
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_parquet(tmp_path: Path, case: str, zone: str | None) -> None:
    columns, values = PARQUET[case]
    at = pd.DatetimeIndex([NOON, ONE]).tz_convert(zone)
    pd.DataFrame({"series": ["a", "a"], "timestamp": at, **columns}).to_parquet(tmp_path / "pump.parquet")
    frame = frames.read(tmp_path / "pump.parquet")
    assert frames.channels(frame) == ["x"]
    assert observed(frame) == [("a", "x", at, value) for at, value in zip((NOON, ONE), values, strict=False)]


@pytest.mark.parametrize("name", [None, "timestamp"])
def test_parquet_with_times_in_its_index(tmp_path: Path, name: str | None) -> None:
    pd.DataFrame({"x": [1.0]}, index=pd.DatetimeIndex([NOON], name=name)).to_parquet(tmp_path / "pump.parquet")
    assert observed(frames.read(tmp_path / "pump.parquet")) == [("pump", "x", NOON, 1)]


def test_packed_csv_is_unpacked_and_its_entity_named_without_the_endings(tmp_path: Path) -> None:
    (tmp_path / "host.a.csv.gz").write_bytes(gzip.compress(b"at;x\n2026-01-01T12:00Z;1\n", mtime=0))
    assert observed(frames.read(tmp_path / "host.a.csv.gz")) == [("host.a", "x", NOON, 1)]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.parquet", b"PAR1 and then nothing of the kind", "a.parquet: it cannot be read"),
        ("a.csv", b"\xff\xfe\x00\x01\x80", "a.csv: it"),
        ("a.csv.gz", b"not packed at all", "a.csv.gz: it cannot be read"),
        ("a.csv.gz", gzip.compress(b"at,x\n2026-01-01,1\n" * 999, mtime=0)[:-20], "a.csv.gz: it cannot be read"),
        ("a.xlsx", b"PK", r"a.xlsx: its kind is not known; known are .csv"),
        ("series", b"at,x\n", "its kind is not known"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FrameError, match=told):
        frames.read(tmp_path / name)


@pytest.mark.parametrize("name", ["", "a", "a" * 200, "a" * 201, "tab\there", "del\x7f", "c1\x85", "half\ud800", "Ünï/çode ☃", " "])
def test_names_are_judged_as_the_api_does(name: str) -> None:
    assert (frames.name_fault(name) is None) == (fields.name_fault(name) is None)


def test_every_series_at_hand_reads(tmp_path: Path) -> None:
    """The real ones where FLEETCAST_TEST_DATA names their folder, else one of the same shape."""
    root = os.environ.get("FLEETCAST_TEST_DATA")
    files = sorted(Path(root).glob("*/series.parquet")) if root else []
    if not files:
        at = pd.date_range(NOON, periods=500, freq="h").as_unit("ms")
        made = pd.DataFrame({"series": "a/b", "timestamp": at, "value": pd.Series(range(500), dtype="float32"), "is_test": 0})
        made.to_parquet(tmp_path / "series.parquet")
        files = [tmp_path / "series.parquet"]
    for file in files:
        frame, raw = frames.read(file), pd.read_parquet(file)
        assert frames.channels(frame), file
        assert set(frame["entity"]) == set(raw["series"])
        assert frame["at"].min() == raw["timestamp"].min()
        assert 0 <= len(raw) - len(frame) <= 0.01 * len(raw), "only doubled moments are merged"


@pytest.mark.parametrize("name", READ)
def test_a_file_read_in_pieces_says_the_same(tmp_path: Path, name: str) -> None:
    text, expected = READ[name]
    assert [found for piece in frames.pieces(write(tmp_path, text)) for found in observed(piece)] == expected


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "csv.zst", "parquet"])
def test_long_files_come_in_pieces_of_bounded_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(files, "PIECE", 100)
    at = pd.date_range("2026-01-01", periods=250, freq="h", tz="UTC")
    whole = pd.DataFrame({"device": ["a"] * 120 + ["b"] * 130, "at": at, "cpu": range(250), "mem": [None] * 249 + [1.5], "note": "x"})
    path = tmp_path / f"fleet.{suffix}"
    whole.to_parquet(path, index=False) if suffix == "parquet" else whole.to_csv(path, index=False)
    found = list(frames.pieces(path))
    assert [len(piece) for piece in found] == [100, 100, 50]
    assert all(frames.channels(piece) == ["cpu", "mem"] for piece in found)
    assert pd.concat(found, ignore_index=True).equals(frames.read(path))
    assert files.length(path) == (250 if suffix == "parquet" else None)


def test_a_channel_that_stops_being_numbers_is_told_and_dates_that_need_all_of_them_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PIECE", 2)
    with pytest.raises(FrameError, match="'x' does not hold numbers"):
        list(frames.pieces(write(tmp_path, "at,x\n2026-01-01,1\n2026-01-02,2\n2026-01-03,much\n")))
    dates = "date,x\n01/02/2026,1\n02/02/2026,2\n31/01/2026,3\n"
    [piece] = frames.pieces(write(tmp_path, dates))
    assert [at.day for _, _, at, _ in observed(piece)] == [1, 2, 31]


def test_columns_are_mapped_and_files_name_entities(tmp_path: Path) -> None:
    wide = write(tmp_path, "device,at,CPU %,mem\na,2026-01-01T12:00Z,1,2\n")
    assert observed(frames.read(wide, Reading(channels={"CPU %": "cpu"}))) == [("a", "cpu", NOON, 1)]
    assert observed(frames.read(wide, Reading(channels={"mem": "mem"}, by_file=True))) == [("pump", "mem", NOON, 2)]
    with pytest.raises(FrameError, match="no column 'disk' to map"):
        frames.read(wide, Reading(channels={"disk": "disk"}))
    with pytest.raises(FrameError, match="does not hold numbers"):
        frames.read(wide, Reading(channels={"device": "d"}, by_file=True))
    long = write(tmp_path, "entity,at,channel,value\na,2026-01-01T12:00Z,CPU,1\na,2026-01-01T12:00Z,MEM,2\n")
    assert observed(frames.read(long, Reading(channels={"MEM": "mem"}))) == [("a", "mem", NOON, 2)]
