"""How good are the alarms? On the Numenta Anomaly Benchmark, and on labelled servers of many metrics.

    python -m bench.anomaly [--processes 2]

FLEETCAST_TEST_DATA names the folder that holds `nab` and `asd_dev`. Every detector is the product's default; no file has its own terms.
On NAB one works as the service would: first fitted when the rows that are never scored have passed, on past rows only, and fitted
again whenever its rows have grown by a quarter; the rows between are judged as they come.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench import asd
from bench.nab import PROFILES, File, corpus_score, read
from ml.anomaly.detector import Detector, scored
from ml.anomaly.spec import LEAST_ROWS, DetectorSpec
from ml.anomaly.watch import alarms, onsets, score_rows, train_detector
from ml.errors import UnusableData
from ml.series import Bools, Floats, RawChannels, moment

SPEC = DetectorSpec(channels=("value",))
#: The rows of a detector grow by this factor before the next one is fitted.
GROWTH = 1.25
#: Thresholds tried for the leaderboard's protocol: rarities of one in ten to one in a million.
THRESHOLDS = scored(np.linspace(1.0, 6.0, 101))


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One file of NAB as the service would have watched it. N rows."""

    #: (N,) 0 where none was given: before the first fit, or a second row of one cell
    scores: Floats
    #: (N,) the product's alarms
    called: Bools


def main() -> None:
    options = _options()
    folder = Path(os.environ["FLEETCAST_TEST_DATA"])
    files = read(folder / "nab")
    with ProcessPoolExecutor(options.processes) as pool:
        _print_nab(files, dict(zip((file.name for file in files), pool.map(watch, files), strict=True)))
        _print_servers(list(pool.map(asd.judge, asd.read(folder / "asd_dev"))))


def watch(file: File) -> Watched:
    """Judge the rows of a file in the order they came, with detectors that knew only earlier ones."""
    found = Watched(np.zeros(len(file.times)), np.zeros(len(file.times), dtype=np.bool_))
    for first, last in pairwise(_refits(len(file.times), max(file.probation, LEAST_ROWS))):
        try:
            detector = train_detector(file.name, _raw(file, 0, first), SPEC)
        except UnusableData:  # a flat line so far: nothing to call unusual
            continue
        _judge(detector, file, first, last, found)
    return found


def _refits(rows: int, first: int) -> list[int]:
    found = [first]
    while found[-1] * GROWTH < rows:
        found.append(round(found[-1] * GROWTH))
    return [*found, rows]


def _raw(file: File, first: int, last: int) -> RawChannels:
    return {"value": (file.times[first:last], file.values[first:last])}


def _judge(detector: Detector, file: File, first: int, last: int, found: Watched) -> None:
    """Scores and alarms of the raw rows from `first` up to `last`, the first row of each grid cell."""
    quiet = file.times[first] - detector.spec.quiet * detector.step
    rows = score_rows(detector, _raw(file, max(0, first - detector.reach), last), start=moment(quiet))
    cells = (file.times[first:last] - rows.times[0] + detector.step // 2) // detector.step
    cells, places = np.unique(np.clip(cells.astype(np.int64), 0, len(rows.times) - 1), return_index=True)
    found.scores[first + places] = np.nan_to_num(rows.scores[cells])
    found.called[first + places] = alarms(rows.scores, detector)[cells]


def _print_nab(files: Sequence[File], watched: dict[str, Watched]) -> None:
    called = {name: each.called for name, each in watched.items()}
    print("NAB · the default spec for every file, no labels (what it looks at was chosen while working on this corpus)")
    print(f"{'':24}" + "".join(f"{name:>20}" for name in PROFILES) + f"{'windows':>9}{'found':>7}{'false':>7}")
    for group, members in _groups(files):
        print(f"{group:24}" + _cells(members, called) + _counts(members, called), flush=True)
    print("NAB · the leaderboard's protocol: one threshold for the corpus, chosen with the labels, a profile at a time")
    for name, profile in PROFILES.items():
        tried = [(corpus_score(files, _thresholded(watched, float(level)), profile), float(level)) for level in THRESHOLDS]
        print(f"{name:24}{max(tried)[0]:8.1f} at a score of {max(tried)[1]:.3f}", flush=True)


def _groups(files: Sequence[File]) -> Iterator[tuple[str, list[File]]]:
    yield "all", list(files)
    for group in sorted({file.group for file in files}):
        yield group, [file for file in files if file.group == group]


def _cells(files: Sequence[File], called: dict[str, Bools]) -> str:
    if not any(file.windows for file in files):
        return f"{'-':>20}" * len(PROFILES)
    return "".join(f"{corpus_score(files, called, profile):20.1f}" for profile in PROFILES.values())


def _counts(files: Sequence[File], called: dict[str, Bools]) -> str:
    """Windows, windows found, false alarms."""
    windows = sum(len(file.windows) for file in files)
    found = sum(len(set(file.window_of[called[file.name] & file.scored]) - {-1}) for file in files)
    false = sum(int((called[file.name] & file.scored & (file.window_of < 0)).sum()) for file in files)
    return f"{windows:9}{found:7}{false:7}"


def _thresholded(watched: dict[str, Watched], level: float) -> dict[str, Bools]:
    return {name: onsets(each.scores, level, SPEC.quiet) for name, each in watched.items()}


def _print_servers(judged: Sequence[asd.Judged]) -> None:
    print("ASD · the default spec; of the last fifteen days")
    print(
        f"{'':8}{'F1':>8}{'best F1':>9}{'PR-AUC':>8}{'segments':>10}{'found':>7}{'false':>7}{'at 1/day':>10}{'first channel a cause':>23}"
    )
    for one in judged:
        named = f"{one.right} of {one.alarms}, {one.by_chance:.1f} by chance"
        cells = f"{one.f1:8.3f}{one.best_f1:9.3f}{one.pr_auc:8.3f}{one.segments:10}{one.found:7}{one.false:7}{one.at_budget:10}"
        print(f"{one.name:8}{cells}{named:>23}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    main()
