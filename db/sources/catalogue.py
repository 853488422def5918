"""The operator's sources: the tables of a TOML file, read into configs. Strict: what is not known is refused, with the fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from db.errors import CatalogueInvalid
from db.sources.configs import BUILT_IN, KINDS, Config, refuse, require
from db.sources.source import Channel

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: A field of a config whose value may lie in a file: `url_file` beside `url`.
_BESIDE = "_file"


def read(content: str) -> Mapping[str, Config]:
    """The sources of a file of tables `[sources.<name>]`. Raises CatalogueInvalid naming the table, the field and the fix."""
    try:
        told = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueInvalid("the file", f"is no TOML: {error}") from None
    beside = sorted(told.keys() - {"sources"})
    if beside or not isinstance(told.get("sources", {}), dict):
        raise CatalogueInvalid(beside[0] if beside else "sources", "the file holds tables named [sources.<name>] and nothing else")
    return {name: _config(name, table) for name, table in told.get("sources", {}).items()}


def _config(name: str, table: Any) -> Config:
    if name == BUILT_IN or not _NAME.fullmatch(name):
        refuse(name, f"a name has small letters, digits, - and _, and {BUILT_IN} is taken")
    if not isinstance(table, dict):
        refuse(name, "must be a table")
    made = KINDS.get(str(table.get("kind")))
    if made is None:
        refuse(f"{name}.kind", f"{table.get('kind')!r} is none of {', '.join(KINDS)}")
    return made(name=name, **_fields(name, made, _with_files(name, made, {k: v for k, v in table.items() if k != "kind"})))


def _with_files(name: str, made: type[Config], table: Mapping[str, Any]) -> dict[str, Any]:
    """Secrets whose `…_file` names a file, read from there."""
    found = dict(table)
    for secret in (each.name for each in fields(made) if each.metadata.get("secret")):
        file = found.pop(secret + _BESIDE, None)
        if file is None:
            continue
        if secret in found:
            refuse(f"{name}.{secret}", f"is given twice: leave out {secret} or {secret}{_BESIDE}")
        try:
            found[secret] = Path(file).read_text().strip()
        except (OSError, TypeError, UnicodeDecodeError):
            refuse(f"{name}.{secret}{_BESIDE}", "must name a text file that this user can read")
    return found


def _fields(name: str, made: type[Config], table: Mapping[str, Any]) -> dict[str, Any]:
    known = {each.name: each for each in fields(made) if each.name != "name"}
    for unknown in sorted(table.keys() - known.keys()):
        refuse(f"{name}.{unknown}", f"unknown; known: {', '.join(known)}")
    for missing in (each.name for each in known.values() if each.default is each.default_factory is MISSING and each.name not in table):
        refuse(f"{name}.{missing}", _WHERE_MISSING.get(missing, "is missing"))
    return {key: _READERS[str(known[key].type)](f"{name}.{key}", value) for key, value in table.items()}


_WHERE_MISSING: Mapping[str, str] = {
    "tenants": 'is missing: name the tenants that may read it, or write ["*"]',
    "channels": "is missing: name each channel and the field that holds it",
}


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        refuse(where, "must be text")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        refuse(where, "must be a finite number")
    return float(value)


def _seconds(where: str, value: Any) -> float:
    seconds = _number(where, value)
    if seconds < 0:
        refuse(where, "must be 0 or more")
    return seconds


def _texts(where: str, value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
        refuse(where, "must be a text, or a list of them")
    return tuple(found)


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        refuse(where, "must be a table")
    return value


def _channels(where: str, value: Any) -> Mapping[str, Channel]:
    """A list of names that are the same there, or a table of `<channel> = <field>`, `[<field>, …]`, `{field = …, scale = …}`."""
    table = dict.fromkeys(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value
    if not isinstance(table, dict) or not table:
        refuse(where, "must be a list of names, or a table with a field for each channel")
    return {name: _channel(f"{where}.{name}", name if told is None else told) for name, told in table.items()}


def _channel(where: str, told: Any) -> Channel:
    if not isinstance(told, dict):
        return Channel(_texts(where, told))
    unknown = sorted(told.keys() - {"field", "scale", "offset"})
    if unknown or "field" not in told:
        refuse(where, f"{unknown[0] if unknown else 'field'}: a channel has a field, and may have scale and offset")
    scale = _number(f"{where}.scale", told.get("scale", 1.0))
    require(where, "scale", scale, scale != 0, "must not be 0")
    return Channel(_texts(f"{where}.field", told["field"]), scale, _number(f"{where}.offset", told.get("offset", 0.0)))


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "str": _text,
    "float": _seconds,
    "tuple[str, ...]": _texts,
    "Mapping[str, Channel]": _channels,
    "Mapping[str, Any]": _table,
}
