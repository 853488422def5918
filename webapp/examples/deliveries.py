"""A person is made known, observations come in, and are asked for again."""

from __future__ import annotations

from typing import Any

from webapp.examples.cast import USER
from webapp.examples.example import Example, page
from webapp.examples.histories import FORTY_DAYS

CHANNELS = [
    {"name": "asleep_min", "unit": "min", "direction": "higher", "lower_bound": None, "upper_bound": None},
    {"name": "rhr", "unit": "bpm", "direction": "lower", "lower_bound": 30.0, "upper_bound": 220.0},
]
PERSON = {
    "entity": "user-42",
    "kind": "user",
    "attributes": {"country": "AT", "watch": "v3"},
    "data_rev": 3,
    "created_at": "2026-10-11T06:01:12.382852Z",
}


def taken(values: int, delivery: int) -> dict[str, Any]:
    """The answer to a delivery all of which is new; they are counted."""
    return {"entity": "user-42", "accepted": values, "replaced": 0, "rejected": 0, "errors": [], "data_rev": delivery}


ROWS = [{"channel": "rhr", "at": "2026-10-11T06:00:00Z", "value": 57.0}, {"channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58.0}]

CHAPTER: tuple[Example, ...] = (
    Example(
        "put_entity",
        "A person, with what is known of two channels",
        USER,
        body={
            "kind": "user",
            "attributes": {"country": "AT", "watch": "v3"},
            "channels": [
                {"name": "rhr", "unit": "bpm", "direction": "lower", "lower_bound": 30, "upper_bound": 220},
                {"name": "asleep_min", "unit": "min", "direction": "higher"},
            ],
        },
        answer=PERSON | {"data_rev": 0, "channels": CHANNELS},
    ),
    Example(
        "post_observations",
        "Two values of one morning, as a phone sends them",
        USER,
        body={
            "observations": [
                {"channel": "rhr", "at": "2026-10-11T06:00:00Z", "value": 57},
                {"channel": "asleep_min", "at": "2026-10-11T06:00:00Z", "value": 431},
            ]
        },
        answer=taken(2, 1),
    ),
    Example("post_observations", "Forty days of a history, as CSV", USER, body=FORTY_DAYS, media_type="text/csv", answer=taken(80, 2)),
    Example(
        "post_observations",
        "A line for each row; the second one is wide",
        USER,
        body='{"channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58}\n{"at": "2026-10-12T06:00:00Z", "asleep_min": 405}\n',
        media_type="application/x-ndjson",
        answer=taken(2, 3),
    ),
    Example("get_entity", "What is known of a person", USER, answer=PERSON | {"channels": CHANNELS}),
    Example("list_entities", "People", query={"kind": "user", "limit": 2}, answer=page(PERSON)),
    Example(
        "list_observations",
        "One channel over two days",
        USER,
        {"channel": "rhr", "from": "2026-10-11T00:00:00Z", "to": "2026-10-13T00:00:00Z"},
        answer=page(*ROWS),
    ),
    Example(
        "list_observations",
        "The same as CSV",
        USER,
        {"channel": "rhr", "from": "2026-10-11T00:00:00Z"},
        {"Accept": "text/csv"},
        answer="at,channel,value\n2026-10-11T06:00:00Z,rhr,57.0\n2026-10-12T06:00:00Z,rhr,58.0\n",
        answer_type="text/csv",
    ),
    Example(
        "list_observations",
        "The same as lines of JSON",
        USER,
        {"channel": "rhr", "from": "2026-10-12T00:00:00Z"},
        {"Accept": "application/x-ndjson"},
        answer='{"channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58.0}\n',
        answer_type="application/x-ndjson",
    ),
)
