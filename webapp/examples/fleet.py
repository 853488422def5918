"""Another person, and deliveries of a gateway that speaks for several."""

from __future__ import annotations

from webapp.examples.cast import OTHER_USER
from webapp.examples.deliveries import taken
from webapp.examples.example import Example
from webapp.examples.histories import WITH_DAYS_OFF

CHAPTER: tuple[Example, ...] = (
    Example(
        "post_observations",
        "Another person: forty days, and which days are off, the coming week included",
        OTHER_USER,
        body=WITH_DAYS_OFF,
        media_type="text/csv",
        answer=taken(87, 1) | {"entity": "user-43"},
    ),
    Example(
        "post_fleet_observations",
        "The last morning of two people, sent again by their gateway",
        body={
            "rows": [
                {"entity": "user-42", "at": "2026-10-12T06:00:00Z", "rhr": 58, "asleep_min": 405},
                {"entity": "user-43", "at": "2026-10-10T06:00:00Z", "rhr": 64},
            ]
        },
        answer={"entities": 2, "accepted": 3, "replaced": 3, "rejected": 0, "errors": []},
    ),
    Example(
        "post_fleet_observations",
        "A line for each row",
        body='{"entity": "user-42", "channel": "rhr", "at": "2026-10-12T06:00:00Z", "value": 58}\n',
        media_type="application/x-ndjson",
        answer={"entities": 1, "accepted": 1, "replaced": 1, "rejected": 0, "errors": []},
    ),
    Example(
        "post_fleet_observations",
        "The same as CSV, with a row that cannot be taken",
        body="entity,at,rhr\nuser-42,2026-10-12T06:00:00Z,58\nuser-43,2026-10-10T06:00:00Z,high\n",
        media_type="text/csv",
        answer={
            "entities": 1,
            "accepted": 1,
            "replaced": 1,
            "rejected": 1,
            "errors": [{"pointer": "/line/3/rhr", "code": "wrong_type", "detail": "Not a valid number."}],
        },
    ),
)
