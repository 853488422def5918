"""Whoever logs, and however: one JSON object a line, without what is nobody's business."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

BEGIN = """
import logging, sys, warnings, structlog
from tasks import logs
from tasks.environment import load
logs.configure(load({"LOG_LEVEL": sys.argv[1]}), lambda _logger, _method, event: event | {"about": "now"})
log, library = structlog.get_logger(), logging.getLogger("some.library")
def fail(text):
    raise ValueError(text)
"""


def told(program: str, level: str = "INFO") -> list[dict[str, Any]]:
    """What a process of its own writes: the configuration is the whole process's."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, level], capture_output=True, text=True, encoding="utf-8", check=True, timeout=60
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def caught(call: str) -> str:
    return f"try: fail('what is wrong')\nexcept ValueError: {call}"


@pytest.mark.parametrize(
    ("program", "event", "level", "logger"),
    [
        ("log.info('request', status=200)", "request", "info", None),
        ("library.info('%s is %d', 'this', 1)", "this is 1", "info", "some.library"),
        ("logging.warning('at the root')", "at the root", "warning", "root"),
        ("library.error('two\\nlines, é')", "two\nlines, é", "error", "some.library"),
        (caught("log.exception('failed')"), "failed", "error", None),
        (caught("library.exception('failed')"), "failed", "error", "some.library"),
        ("log.error('refused', exc_info=ValueError('what is wrong'))", "refused", "error", None),
    ],
)
def test_a_line_is_one_object(program: str, event: str, level: str, logger: str | None) -> None:
    [line] = told(program)
    assert (line["event"], line["level"], line.get("logger"), line["about"]) == (event, level, logger, "now")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(line["timestamp"])).total_seconds()) < 60
    if "wrong" in program or "fail(" in program:
        assert line["exception"].endswith("ValueError: what is wrong")
    assert not {"exc_info", "_record", "_from_structlog"} & set(line)


def test_warnings_are_lines() -> None:
    [line] = told("warnings.warn('soon gone', UserWarning)")
    assert "UserWarning: soon gone" in line["event"]
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")


@pytest.mark.parametrize(
    ("level", "events"), [("DEBUG", ["a", "b", "c", "B", "C"]), ("INFO", ["b", "c", "B", "C"]), ("WARNING", ["c", "C"]), ("ERROR", [])]
)
def test_the_level_holds_for_all_and_libraries_tell_no_arguments(level: str, events: list[str]) -> None:
    said = "log.debug('a'); log.info('b'); log.warning('c'); library.debug('A'); library.info('B'); library.warning('C')"
    assert [line["event"] for line in told(said, level)] == events


def test_configured_twice_it_still_says_everything_once() -> None:
    assert len(told("logs.configure(load({}))\nlibrary.info('once')\nlog.info('once')")) == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no way to redis://:hunter2@h:1/0 today", "no way to redis://***@h:1/0 today"),
        ("postgresql+psycopg://u:hun@ter2@h/d", "postgresql+psycopg://***@h/d"),
        ("missing = after host=h password=hunter2 user=u", "missing = after host=h password=*** user=u"),
        ("key fk_0123456789ab_hunter2".replace("hunter2", "ab" * 32), "key fk_0123456789ab_***"),
        ("duplicate key\nDETAIL:  Key (name)=(hunter2) already exists.\nLINE 1", "duplicate key\nDETAIL: ***\nLINE 1"),
        ("http://127.0.0.1:8000 is no secret", "http://127.0.0.1:8000 is no secret"),
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str, shown: str) -> None:
    said = f"text = {text!r}\nlog.info(text, error=text)\nlibrary.info(text)\ntry: fail(text)\nexcept ValueError: library.exception('x')"
    ours, theirs, failed = told(said)
    assert (ours["event"], ours["error"], theirs["event"]) == (shown, shown, shown)
    assert failed["exception"].endswith(f"ValueError: {shown}")


def test_celery_does_not_quote_the_message_it_cannot_use() -> None:
    said = r"logging.getLogger('celery.worker.consumer').error('Unregistered task of type %r.\n\nThe full contents: %s', 'x', 'body')"
    assert [line["event"] for line in told(said)] == ["Unregistered task of type 'x'."]
