"""How long a dead process waits, and how one that was left behind is known again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops import children
from ops.children import Backoff, Notebook
from ops.processes import PROC, command_line, wait_until

on_linux = pytest.mark.skipif(not PROC.is_dir(), reason="looks where a process stands, through Linux's /proc")


def test_a_process_that_dies_at_once_waits_ever_longer_up_to_half_a_minute() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_life_begins_it_anew() -> None:
    backoff = Backoff()
    assert [backoff.after(lived) for lived in (0.5, 59, 61, 3, 600)] == [1, 2, 1, 2, 1]


@contextmanager
def sleeper(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these words on its command line, standing in the folder."""
    command = [sys.executable, "-c", "import sys, time; print(flush=True); time.sleep(60)", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def leave(folder: Path, **pids: int) -> None:
    children.write_private(children._notebook_file(folder), f'{{"keeper": 1, "embedded": true, "children": {pids}}}'.replace("'", '"'))


@on_linux
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("web", ("ops.cli", "web")),
        ("web", ("gunicorn", "webapp.wsgi:app")),
        ("train", ("celery", "worker", "--hostname", "train@%h")),
        ("dispatcher", ("ops.cli", "dispatcher")),
    ],
)
def test_a_process_left_behind_is_known_by_its_words_and_its_place(tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    with sleeper(tmp_path, *words) as left:
        leave(tmp_path, **{name: left.pid})
        assert children.orphans(tmp_path) == {name: left.pid}
        assert children.end_orphans(tmp_path) == [name]
        assert wait_until(lambda: not command_line(left.pid), 5)
        assert children.notebook(tmp_path) is None


@on_linux
@pytest.mark.parametrize(("words", "elsewhere"), [(("ops.cli", "web"), True), (("someone", "elses"), False)])
def test_a_number_that_passed_to_somebody_else_is_left_alone(tmp_path: Path, words: tuple[str, ...], elsewhere: bool) -> None:
    (tmp_path / "other").mkdir()
    with sleeper(tmp_path / "other" if elsewhere else tmp_path, *words) as stranger:
        leave(tmp_path, web=stranger.pid)
        assert children.end_orphans(tmp_path) == []
        assert stranger.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keeper": 1}'])
def test_a_notebook_that_is_none_names_nobody(tmp_path: Path, text: str) -> None:
    children._notebook_file(tmp_path).write_text(text)
    assert children.orphans(tmp_path) == {}


def test_the_notebook_is_private_and_read_back(tmp_path: Path) -> None:
    children.Children(tmp_path, print, embedded=True)
    assert children.notebook(tmp_path) == Notebook(os.getpid(), True, {})
    assert children._notebook_file(tmp_path).stat().st_mode & 0o077 == 0
