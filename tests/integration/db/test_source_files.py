"""Files as a source: CSV and Parquet of one folder, and names that must not lead out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from db.errors import SourceUnreadable
from db.observations import Coverage
from db.sources.catalogue import read
from db.sources.configs import FilesConfig
from db.sources.files import FilesSource
from db.sources.source import Limits, Whom, milliseconds

START = datetime(2026, 1, 1, 22, tzinfo=UTC)
HOURS = [START + timedelta(hours=n) for n in range(4)]
MS = [milliseconds(at) for at in HOURS]
FRAME = pd.DataFrame({"time": HOURS, "p_dc": [0.0, 1000.0, None, 3000.0], "t1": [None, 1.0, 2.0, None], "t2": [9.0, 9.0, None, 9.0]})
CHANNELS = """
[sources.lake.channels]
P = { field = "p_dc", scale = 0.001 }
Temp = ["t1", "t2", "t3"]
U = "u_dc"
"""


def source(path: str, more: str = "", limits: Limits | None = None) -> FilesSource:
    config = read(f"[sources.lake]\nkind = 'files'\npath = '{path}'\nat = 'time'\ntenants = ['*']\n{more}{CHANNELS}")["lake"]
    assert isinstance(config, FilesConfig)
    return FilesSource(config, limits or Limits(1_000, 5.0))


def lay(folder: Path, suffix: str, name: str = "roof", frame: pd.DataFrame = FRAME) -> str:
    if suffix == "csv":
        frame.to_csv(folder / f"{name}.csv", index=False)
    else:
        frame.to_parquet(folder / f"{name}.parquet")
    return f"{folder}/{{entity}}.{suffix}"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_for_each_entity(tmp_path: Path, suffix: str) -> None:
    there = source(lay(tmp_path, suffix))
    found = there.fetch(Whom("roof"), ["P", "Temp", "U", "unknown"])
    assert (list(found["P"][0]), list(found["P"][1])) == ([MS[0], MS[1], MS[3]], [0.0, 1.0, 3.0])
    assert list(found["Temp"][1]) == [9.0, 1.0, 2.0, 9.0], "of several fields the first that is there"
    assert (len(found["U"][0]), len(found["unknown"][0])) == (0, 0)
    assert list(there.fetch(Whom("roof"), ["P"], since=HOURS[1], until=HOURS[3])["P"][0]) == [MS[1]]
    assert list(there.fetch(Whom("roof"), ["P"], last_rows=2)["P"][0]) == [MS[1], MS[3]]
    assert there.coverage(Whom("roof")) == {"P": Coverage(3, 2, HOURS[0], HOURS[3]), "Temp": Coverage(4, 2, HOURS[0], HOURS[3])}
    assert there.coverage(Whom("roof"), ["P"], HOURS[2]) == {"P": Coverage(1, 1, HOURS[3], HOURS[3])}
    assert there.entities("", 10) == ["roof"]


def test_rows_come_in_any_order_and_leave_in_one(tmp_path: Path) -> None:
    there = source(lay(tmp_path, "parquet", frame=FRAME.iloc[::-1]))
    assert list(there.fetch(Whom("roof"), ["P"])["P"][0]) == [MS[0], MS[1], MS[3]]


@pytest.mark.parametrize("time", ["epoch_s", "epoch_ms", "date", "yyyymmdd"])
def test_times_in_other_forms(tmp_path: Path, time: str) -> None:
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(4)]
    written = {
        "epoch_s": [int(at.timestamp()) for at in days],
        "epoch_ms": [milliseconds(at) for at in days],
        "date": [at.date() for at in days],
        "yyyymmdd": [int(at.strftime("%Y%m%d")) for at in days],
    }
    there = source(lay(tmp_path, "parquet", frame=FRAME.assign(time=written[time])), f'time = "{time}"\n')
    assert list(there.fetch(Whom("roof"), ["Temp"])["Temp"][0]) == [milliseconds(at) for at in days]


@pytest.mark.parametrize("name", ["../secret", "..", "a/b", "%2e%2e/secret", "*", "[r]oof"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    lay(tmp_path, "csv", "secret")
    path = lay(tmp_path / "in", "csv")
    assert source(path).coverage(Whom(name)) == {}
    assert len(source(path).coverage(Whom("roof"))) == 2


def test_a_name_with_a_slash_has_a_file_of_its_own(tmp_path: Path) -> None:
    path = lay(tmp_path, "csv", "site%2Froof 1%252".replace(" ", "%20"))
    assert source(path).entities("", 10) == ["site/roof 1%2"]
    assert source(path).coverage(Whom("site/roof 1%2"))


def test_more_rows_than_one_reading_may_bring_and_what_is_no_table(tmp_path: Path) -> None:
    path = lay(tmp_path, "parquet")
    with pytest.raises(SourceUnreadable, match="more than 3 rows"):
        source(path, limits=Limits(3, 5.0)).fetch(Whom("roof"), ["P"])
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(SourceUnreadable, match="ArrowInvalid"):
        source(path).fetch(Whom("torn"), ["P"])
    lay(tmp_path, "parquet", "words", FRAME.assign(p_dc="many"))
    with pytest.raises(SourceUnreadable):
        source(path).fetch(Whom("words"), ["P"])


def test_a_storage_whose_library_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="needs a library that is not here"):
        source("gs://bucket/{entity}.csv").fetch(Whom("roof"), ["P"])
