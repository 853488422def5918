"""Lists: how many, from where, and what a page looks like."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from webapp.schemas.fields import Digits, In, Out, Text


class PageQuery(In):
    """Every list takes these."""

    limit = Digits(1, 200, load_default=50, metadata={"description": "Rows of a page."})
    cursor = Text(low=1, high=1000, load_default=None, metadata={"description": "`next_cursor` of the page before."})


def page_of(row: type[Out]) -> type[Out]:
    """The schema of a page of these rows."""
    members: dict[str, fields.Field[Any]] = {
        "data": fields.List(fields.Nested(row)),
        "next_cursor": fields.String(allow_none=True, metadata={"description": "Null on the last page."}),
    }
    made = Out.from_dict(members, name=f"{row.__name__}Page")
    assert issubclass(made, Out)
    return made
