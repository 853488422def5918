"""The test bench's host: gives rivals a virtual environment of their own, puts questions to them, marks and remembers their answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.question import Question

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv-rivals"
RESULTS = ROOT / ".bench-results"
REQUIREMENTS = ROOT / "bench" / "rivals" / "requirements.txt"
#: Rival -> the library whose version decides its answers.
LIBRARY: Mapping[str, str] = {
    "autoets": "statsforecast",
    "autotheta": "statsforecast",
    "textbook": "torch",
    "darts": "darts",
    "neuralforecast": "neuralforecast",
}
#: Those that train a network.
NETWORKS = ("textbook", "darts", "neuralforecast")
#: Everybody gets one core.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a rival's forecasts were worth, and what learning to make them cost."""

    rival: str
    version: str
    #: Of what was asked, so that an answer to other rows or terms is not taken for this one.
    question: str
    mase: float
    #: Of the training alone, on one core.
    seconds: float
    cpu_seconds: float


def answer(rival: str, questions: Sequence[Question], *, fresh: bool = False) -> dict[str, Answer]:
    """Answers by series: those remembered, and the others asked for now. `fresh` asks again for all.

    Raises RuntimeError with the end of its log where the rival gives up.
    """
    version = versions()[LIBRARY[rival]]
    known = {} if fresh else {q.series: found for q in questions if (found := _remembered(rival, version, q))}
    missing = [q for q in questions if q.series not in known]
    if not missing:
        return known
    _install()
    for question, found in _asked(rival, version, missing):
        file = _file(rival, version, question)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(found), indent=1) + "\n")
        known[question.series] = found
        told = f"{rival} {question.set}/{question.series}: MASE {found.mase:.3f}, {found.cpu_seconds:.1f} CPU s"
        print(told, file=sys.stderr, flush=True)
    return known


def versions() -> dict[str, str]:
    """Library -> version, as pinned."""
    lines = (line.partition("==") for line in REQUIREMENTS.read_text().splitlines() if "==" in line)
    return {name: version for name, _, version in lines}


def _file(rival: str, version: str, question: Question) -> Path:
    return RESULTS / question.set / question.series / f"{rival}-{version}.json"


def _remembered(rival: str, version: str, question: Question) -> Answer | None:
    file = _file(rival, version, question)
    if not file.is_file():
        return None
    found = Answer(**json.loads(file.read_text()))
    return found if found.question == question.digest() else None


def _install() -> None:
    """Make the environment where there is none with the pinned versions."""
    done = VENV / "installed.txt"
    if done.is_file() and done.read_text() == REQUIREMENTS.read_text():
        return
    print("Installing the rivals into .venv-rivals (some five minutes) …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run([str(_python()), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)], check=True)
    done.write_text(REQUIREMENTS.read_text())


def _python() -> Path:
    return VENV / "bin" / "python"


def _asked(rival: str, version: str, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
    """Each answer as soon as it is there: a benchmark that is stopped keeps what it has."""
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, (RESULTS / f"{rival}.log").open("w") as log:
        for number, question in enumerate(questions):
            question.hand_over(Path(folder) / f"{number}.npz")
        command = [str(_python()), "-m", "bench.rivals.runner", rival, folder]
        # From the folder, for libraries leave their logs where they run.
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=folder) as run:
            assert run.stdout is not None
            for line in run.stdout:
                if line.startswith("answered "):
                    number = int(line.split()[1])
                    yield questions[number], _marked(rival, version, questions[number], Path(folder) / f"{number}.answer.npz")
        if run.returncode:
            raise RuntimeError(f"{rival} gave up; the end of {log.name}:\n" + "\n".join(Path(log.name).read_text().splitlines()[-15:]))


def _marked(rival: str, version: str, question: Question, file: Path) -> Answer:
    with np.load(file, allow_pickle=False) as found:
        seconds, cpu_seconds = float(found["seconds"]), float(found["cpu_seconds"])
        return Answer(rival, version, question.digest(), question.mase(found["said"]), seconds, cpu_seconds)
