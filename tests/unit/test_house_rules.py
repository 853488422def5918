"""What no file of the house may do: read or write pickles, or run text as code. The linter knows the rules; here they bite."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES = "S102,S301,S302,S307,S506,TID251"
ROOMS = ("webapp", "tasks", "ml", "db", "ops", "bench", "tests", "alembic", ".ci")

#: Lines that make a rule speak, and the rule.
BAD = {
    "import pickle": "TID251",
    "from pickle import loads as read": "TID251",
    "import _pickle": "TID251",
    "import cloudpickle": "TID251",
    "import dill": "TID251",
    "import joblib": "TID251",
    "import marshal": "TID251",
    "import shelve": "TID251",
    "import torch as t; t.load('x')": "TID251",
    "import torch as t; t.load('x', weights_only=True)": "TID251",
    "import torch as t; t.save({}, 'x')": "TID251",
    "from torch import load": "TID251",
    "from torch.serialization import load as read": "TID251",
    "import torch as t; t.jit.load('x')": "TID251",
    "import torch as t; t.export.load('x')": "TID251",
    "import torch as t; t.hub.load('x', 'y')": "TID251",
    "import pandas as pd; pd.read_pickle('x')": "TID251",
    "import pandas as pd; pd.read_pickle('y')": "S301",
    "import marshal; marshal.loads(b'')": "S302",
    "import yaml; yaml.load('x', Loader=yaml.SafeLoader)": "TID251",
    "import yaml; yaml.load('x', Loader=yaml.Loader)": "S506",
    "import yaml; yaml.unsafe_load('x')": "TID251",
    "eval('1')": "S307",
    "import builtins; builtins.eval('1')": "S307",
    "exec('1')": "S102",
    "import builtins; builtins.exec('1')": "S102",
}
GOOD = (
    "import yaml; yaml.safe_load('x')",
    "import safetensors.torch; safetensors.torch.load(b'')",
    "import json; json.loads('1')",
    "import torch; torch.nn.Linear(1, 1).eval()",
    "import ast; ast.literal_eval('1')",
)

#: Who may, and why: every line that a rule speaks of and a `noqa` silences.
ALLOWED = {
    ("ops/convert.py", "`pickle` is banned"): "the name of the error that a bad file raises",
    ("ops/convert.py", "`torch.load` is banned"): "the one reader of a .pth, which its caller has said to trust with --trust-pickle",
    ("tests/unit/ops/test_convert.py", "`pickle` is banned"): "the attack that `convert` is to outlive",
    ("tests/unit/ops/test_convert.py", "`torch.save` is banned"): "the .pth that `convert` is to read",
}


def ruff(*words: str, given: str | None = None) -> list[dict[str, Any]]:
    """What the linter says with the project's own settings."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", *words]
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_each_rule_bites_in_each_room(room: str) -> None:
    """By the settings as they stand, those for single folders among them."""
    found = ruff("--stdin-filename", f"{room}/sample.py", "-", given="\n".join([*BAD, *GOOD]))
    told = {(complaint["location"]["row"], complaint["code"]) for complaint in found if complaint["code"] in RULES.split(",")}
    wanted = {(row, rule) for row, rule in enumerate(BAD.values(), start=1)}
    assert wanted <= told, [list(BAD)[row - 1] for row, _ in wanted - told]
    assert max(row for row, _ in told) <= len(BAD), "what is harmless is let be"


def test_nobody_is_excused_but_those_who_are_named() -> None:
    found = ruff("--ignore-noqa", "--select", RULES, *ROOMS)
    told = {(Path(each["filename"]).relative_to(ROOT).as_posix(), each["message"].partition(":")[0]) for each in found}
    assert told == set(ALLOWED)


def trusts(word: ast.keyword) -> bool:
    return word.arg == "weights_only" or (word.arg == "allow_pickle" and ast.unparse(word.value) != "False")


def keywords(code: str) -> list[str | None]:
    """Arguments that say how far a reader trusts a file; no rule of the linter's knows them."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [word.arg for call in calls for word in call.keywords if trusts(word)]


def test_how_far_a_file_is_trusted_is_said_in_one_place() -> None:
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    assert {file.relative_to(ROOT).as_posix(): keywords(file.read_text()) for file in files if keywords(file.read_text())} == {
        "ops/convert.py": ["weights_only"]
    }


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("read(file, weights_only=True)", ["weights_only"]),
        ("np.load(file, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(file, allow_pickle=trusted)", ["allow_pickle"]),
        ("np.load(file, allow_pickle=False)", []),
        ("np.load(file)", []),
    ],
)
def test_such_an_argument_is_seen(code: str, told: list[str]) -> None:
    assert keywords(code) == told
