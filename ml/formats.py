"""Formats: how what one release wrote is read by another, older or newer.

What is missing takes its default, what is unknown is passed over. A release that adds a field whose neglect would change what is done
raises the format, and a reader of an older release lets it be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ml.errors import NewerRelease


def known(kind: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of the fields of the dataclass `kind`. The others are of a newer release, which says that nothing depends on them."""
    return {field.name: stored[field.name] for field in fields(kind) if field.name in stored}


def require_readable(what: str, found: int, newest: int) -> None:
    """Raises NewerRelease for a format above the newest that this release reads."""
    if found > newest:
        raise NewerRelease(what, found, newest)
