"""The demo: once as a newcomer runs it, and its acts on files of all kinds against a house that stands already."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from rich.console import Console

import ops.house
from ops import acts, frames
from ops import plan as planning
from tests.acceptance.conftest import SCALED, command
from tests.support.client import Api, House

#: The first bytes of every PNG.
PNG = b"\x89PNG"
SMALL = {"window": 12, "epochs": 3, "hidden_size": 8, "num_layers": 1}


def test_the_weather_from_nothing_to_a_drawn_forecast(tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    shown = command("demo", "--once", "--output", str(tmp_path / "drawings"), timeout=600, **SCALED, COLUMNS="80", TMPDIR=str(place))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert list(place.glob("fleetcast*")) == [], "gone without a trace"

    said = shown.stdout
    for airport in ("EWR", "JFK", "LGA"):
        assert re.search(rf"{airport}: 17,\d\d\d observations, 2013-01-01 to 2013-12-30", said)
        assert re.search(rf"{airport}\b.* succeeded", said)
        assert re.search(rf"{airport} +1\.0\.0 +(blend|last value|seasonal) +\d", said), said
        assert (tmp_path / "drawings" / f"{airport}-temperature.png").read_bytes().startswith(PNG)
    assert len(re.findall(r"^ *2013-12-31 \d\d:00 +\S+ +\S+ +\S+ *$", said, re.MULTILINE)) == 12
    assert re.search(r"Dashboard http://127\.0\.0\.1:\d+/ ", said)
    assert re.search(r"http://127\.0\.0\.1:\d+/docs", said)
    assert "Flower    http://127.0.0.1" in said
    assert said.count("curl -s") == 4


def test_the_log_that_a_failed_demo_quotes_is_there(tmp_path: Path) -> None:
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1"}
    failed = command("demo", "--once", "--output", str(tmp_path / "drawings"), **nowhere, COLUMNS="80", TMPDIR=str(tmp_path))
    assert failed.returncode != 0
    [log] = re.findall(r"The end of (\S+up\.log)", failed.stderr)
    assert "Redis does not answer" in Path(log).read_text()
    assert f"is kept in {Path(log).parent}." in failed.stdout


def show(house: House, frame: pd.DataFrame, output: Path) -> str:
    """What the acts of the demo say, played in the house that stands."""
    plan = planning.make_plan(frame)
    screen = io.StringIO()
    playing = acts.Show(Console(file=screen, width=80), ops.house.House(**vars(house)), replace(plan, spec=SMALL), output)
    try:
        playing.run()
    except click.ClickException as error:
        screen.write(f"Error: {error.message}")
    return screen.getvalue()


@pytest.mark.parametrize(("entity", "served", "error"), [("JFK", "blend", 0.45678), ("a/name/longer/than/most", "persistence", 123456.7)])
def test_the_heads_of_the_versions_are_whole_on_80_columns(entity: str, served: str, error: float) -> None:
    screen = io.StringIO()
    scores = {"test": {"mae": error, "skill": -0.123, "coverage": 0.912}}
    result = {"version": "1.0.0", "served_by": served, "metrics": dict.fromkeys(acts.KINDS, scores)}
    plan = planning.make_plan(waves(300, entity))
    acts.Show(Console(file=screen, width=80), ops.house.House(*[""] * 9, {}), plan, Path())._versions({entity: {"result": result}})
    said = screen.getvalue()
    assert re.search(r"entity +version +serves +blend +network +value +seasonal +skill +inside", said), said
    assert re.search(r" 1\.0\.0 +(blend|last value) .* -0\.12 +91%$", said, re.MULTILINE), said
    assert all(len(line) <= 80 for line in said.splitlines())


def waves(rows: int, *entities: str, step: str = "h") -> pd.DataFrame:
    at = pd.date_range("2026-01-01", periods=rows, freq=step, tz="UTC")
    level = [20 + 5 * math.sin(2 * math.pi * n / 24) + math.cos(12.9 * n) for n in range(rows)]
    return pd.concat([pd.DataFrame({"entity": name, "at": at, "flow": level}) for name in entities], ignore_index=True)


def test_a_small_file_with_odd_names_is_shown(house: House, tmp_path: Path) -> None:
    waves(300, "tank/1 north", "it's 2").rename(columns={"flow": "flow/min, l"}).to_csv(tmp_path / "tanks.csv", index=False)
    said = show(house, frames.read(tmp_path / "tanks.csv"), tmp_path)
    assert "tank/1 north: 300 observations" in said
    assert re.search(r"it's 2: by (blend|last value|seasonal) 1\.0\.0: \S+ \(\S+ to \S+\) at 2026-01-1", said), said
    assert "Error" not in said
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == ["it_s_2-flow_min_l.png", "tank_1_north-flow_min_l.png"]


def test_a_series_that_cannot_be_trained_is_told_and_the_others_are_shown(house: House, tmp_path: Path) -> None:
    said = show(house, pd.concat([waves(300, "enough"), waves(20, "too-few")]), tmp_path)
    assert re.search(r"^too-few: refused, .*rows", said, re.MULTILINE), said
    assert re.search(r"enough: flow by (blend|last value|seasonal) 1\.0\.0", said)
    assert "Error" not in said


def test_nothing_trainable_is_a_failure_with_its_reason(house: House, tmp_path: Path) -> None:
    said = show(house, waves(20, "few-1", "few-2"), tmp_path)
    assert len(re.findall(r"^few-\d: refused, ", said, re.MULTILINE)) == 2
    assert said.endswith("Error: None of these series could be trained; why is said above.")


def test_the_printed_lines_work_as_they_are_printed(house: House, api: Api) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    plan = replace(planning.make_plan(waves(300, "by/hand it's")), spec=SMALL)
    rows = list(frames.rows(plan.frame))
    api.send("by/hand it's", {"flow": [(row.at.isoformat(), row.value) for _, row in rows]})
    lines = planning.curl_lines(ops.house.House(**vars(house)), plan, "by/hand it's")
    done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, timeout=90, check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("}\n")
    assert "}{" not in done.stdout, "each answer ends its line"
    trained, predicted, models = _answers(done.stdout)
    assert (trained["state"], predicted["state"]) == ("succeeded", "succeeded")
    assert len(predicted["result"]["forecast"]["points"]) == 12
    assert [model["name"] for model in models["data"]] == ["flow"]


def _answers(said: str) -> list[dict[str, object]]:
    """Several JSON documents, one after the other."""
    found, rest = [], said.strip()
    while rest:
        answer, end = json.JSONDecoder().raw_decode(rest)
        found.append(answer)
        rest = rest[end:].strip()
    return found


def _at_hand() -> list[Any]:
    """Every real series."""
    files = sorted(Path(os.environ.get("FLEETCAST_TEST_DATA") or "/nowhere").glob("*/series.parquet"))
    return [pytest.param(file, id=file.parent.name) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("data", _at_hand())
def test_every_series_at_hand_is_shown(house: House, tmp_path: Path, data: Path) -> None:
    """Minutes: with the recipe's own network and as many epochs as it asks for."""
    began = time.monotonic()
    acts.Show(Console(file=io.StringIO()), ops.house.House(**vars(house)), planning.make_plan(frames.read(data)), tmp_path).run()
    assert time.monotonic() - began < 240
    assert list(tmp_path.glob("*.png"))
