"""Structured logs: one JSON object a line on standard error, ours and those of every library."""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from tasks.settings import Settings

#: A sign of one of them: most strings have none, and are looked at once.
_SUSPECT = re.compile(r"fk_[0-9a-f]+_|://|passw|^(?:DETAIL|CONTEXT):", re.IGNORECASE | re.MULTILINE)
#: A key of ours, and what is shown of it: its id.
_KEY = (re.compile(r"\b(fk_[0-9a-f]+)_[0-9a-f]+"), r"\1_***")
#: Who is let in by a URL, a libpq string or a key of ours, and the values that Postgres quotes from a row it refused.
_SECRETS = (
    _KEY,
    (re.compile(r"://\S*@"), "://***@"),
    (re.compile(r"\b(password|passwd)=\S+", re.IGNORECASE), r"\1=***"),
    (re.compile(r"^(DETAIL|CONTEXT):.*", re.MULTILINE), r"\1: ***"),
)


def configure(settings: Settings, *about: Processor) -> None:
    """Log from `log_level` up. Values are ids and figures; never keys, URLs or bodies. `about` adds what a process knows of the moment."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        *about,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        masked,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _take_in(level, [structlog.stdlib.add_logger_name, first_line, *shared])


def _take_in(level: int, chain: list[Processor]) -> None:
    """Whatever logs through the standard library, warnings among it, becomes lines of the same shape."""
    handler = logging.StreamHandler(sys.stderr)
    last: list[Processor] = [ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()]
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=chain, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    # Below INFO, libraries tell their arguments: bodies, statements, names.
    root.setLevel(max(level, logging.INFO))
    logging.captureWarnings(True)


def masked(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Without what an error of a library may quote: passwords and people's data."""
    for name, value in event.items():
        if isinstance(value, str) and _SUSPECT.search(value):
            for secret, shown in _SECRETS:
                value = secret.sub(shown, value)
            event[name] = value
    return event


def keyless(text: str) -> str:
    """The text with no more than the id of each key in it: for answers, which quote what was sent and end in other people's logs."""
    return _KEY[0].sub(_KEY[1], text)


def first_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Of a message that it cannot use, Celery tells the whole contents below the first line: an entity's name, or a stranger's data."""
    if event["logger"].startswith("celery."):
        event["event"] = event["event"].partition("\n")[0]
    return event
