"""docs/job-lifecycle.md against the program: no change of state without its arrow, and no invariant that is not told."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from db import ledger
from db.models import TERMINAL, TRANSITIONS, Base, transition_trigger
from ops import cli, lifecycle
from ops.lifecycle import NOWHERE, WAYS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "job-lifecycle.md").read_text()
#: The statements by which a job leaves a state, and is taken up; and what writes a job down.
MOVERS = {"move", "shift", "_take"}
BIRTHS = {"place", "submit", "submit_batch"}


def between(mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_change_of_state_is_told_and_none_that_is_refused() -> None:
    assert {step for step in WAYS if step[0] != NOWHERE} == TRANSITIONS


@pytest.mark.parametrize("step", WAYS, ids=lambda step: "-".join(step))
def test_each_says_who_when_and_how(step: tuple[str, str]) -> None:
    assert WAYS[step]
    for way in WAYS[step]:
        assert all((way.by, way.doing, way.when))
        assert set(way.calls) <= set(ledger.__all__)
        assert way.calls or "item" in way.by


def calls(function: ast.FunctionDef) -> set[str]:
    return {node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_no_function_that_moves_a_job_is_left_out() -> None:
    """Whatever the ledger offers that comes, by its own functions, to the statements by which a job is moved."""
    parsed = [ast.parse(file.read_text()) for file in (ROOT / "db" / "ledger").glob("*.py")]
    bodies = {each.name: calls(each) for module in parsed for each in module.body if isinstance(each, ast.FunctionDef)}
    reaching = set(MOVERS)
    while more := {name for name, called in bodies.items() if called & reaching} - reaching:
        reaching |= more
    moving = reaching & set(ledger.__all__)
    assert {"succeed", "reap", "crashed", "claim", "cancel"} <= moving, "the search finds what it is to find"
    assert moving | BIRTHS <= {call for ways in WAYS.values() for way in ways for call in way.calls}


def test_the_page_shows_what_the_command_prints() -> None:
    assert CliRunner().invoke(cli.main, ["lifecycle", "--markdown"]).output.strip() == between("lifecycle"), (
        "run `fleetcast lifecycle --markdown`"
    )


def test_on_a_terminal_every_way_is_a_line_of_words() -> None:
    told = CliRunner().invoke(cli.main, ["lifecycle"]).output
    assert "-->" not in told
    assert "<br/>" not in told
    assert "queued → running\n    worker claims it, due and free: it is due, " in told
    assert len(told.splitlines()) == len(WAYS) + sum(map(len, WAYS.values()))


def test_the_drawing_is_one_that_mermaid_reads() -> None:
    """A state, an arrow, a state and a label without what would end it early."""
    first, *arrows = lifecycle.diagram().splitlines()
    assert first == "stateDiagram-v2"
    assert len(arrows) == len(WAYS) + len(TERMINAL)
    for arrow in arrows:
        assert re.fullmatch(r"    (\[\*\]|[a-z]+) --> (\[\*\]|[a-z]+)(: [^:;#{}\[\]]+)?", arrow), arrow


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in between("invariants").splitlines()[2:]]


def test_every_invariant_that_is_counted_is_told_once() -> None:
    assert sorted(name.strip("`") for _, _, name in rows() if name) == sorted(ledger.INVARIANTS)


def test_what_is_said_to_keep_an_invariant_is_there() -> None:
    tables = Base.metadata.tables.values()
    kept = {str(each.name) for table in tables for group in (table.indexes, table.constraints) for each in group}
    known = kept | {"job_transition", "RECONCILE_S"} | set(ledger.__all__)
    assert "job_transition" in transition_trigger()[1]
    named = {name for _, by, _ in rows() for name in re.findall(r"`(\w+)`", by)}
    assert named <= known, named - known


def test_every_index_and_check_that_keeps_the_ledger_is_told() -> None:
    """Those that are named by hand: an index of the ledger that is unique, and a check of it or of its versions."""
    tables = [Base.metadata.tables[name] for name in ("jobs", "versions")]
    unique = {str(index.name) for table in tables for index in table.indexes if index.unique}
    checks = {str(each.name) for table in tables for each in table.constraints if str(each.name).startswith("ck_")}
    assert unique
    assert checks
    told = between("invariants")
    assert not [name for name in unique | checks if f"`{name}`" not in told]
