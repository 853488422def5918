"""An operator's recipes: the tables of a TOML file laid over the presets. Imports no numeric library."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from ml.errors import SpecInvalid
from ml.readiness import Need
from ml.recipes import Gate, Recipe, recipe
from ml.spec import ModelSpec

#: What a table may say besides `extends`; `needs` and `gate` are tables themselves.
_FIELDS = {field.name for field in fields(Recipe)} - {"name"}


def with_file(presets: Mapping[str, Recipe], content: str) -> Mapping[str, Recipe]:
    """The presets with those of the file: `[recipes.<name>]` changes the preset of that name, or makes a new one that `extends` another.

    Raises SpecInvalid naming the table, the field and the fix.
    """
    found = dict(presets)
    for name, told in _tables(content).items():
        if not isinstance(told, dict):
            raise SpecInvalid(f"recipes.{name}", told, "must be a table")
        found[name] = _made(name, dict(told), found)
    return found


def _tables(content: str) -> Mapping[str, Any]:
    try:
        read = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise SpecInvalid("recipes", "the file", f"is no TOML: {error}") from None
    beside = sorted(read.keys() - {"recipes"})
    if beside or not isinstance(read.get("recipes", {}), dict):
        raise SpecInvalid(beside[0] if beside else "recipes", "the file", "holds tables named [recipes.<name>] and nothing else")
    recipes: Mapping[str, Any] = read.get("recipes", {})
    return recipes


def _made(name: str, told: dict[str, Any], known: Mapping[str, Recipe]) -> Recipe:
    parent = told.pop("extends", name)
    if parent not in known:
        names = ", ".join(sorted(known))
        raise SpecInvalid(f"recipes.{name}.extends", parent, f"a new recipe names the one it extends; known: {names}")
    unknown = sorted(told.keys() - _FIELDS)
    if unknown:
        raise SpecInvalid(f"recipes.{name}.{unknown[0]}", told[unknown[0]], f"unknown field; known: {', '.join(sorted(_FIELDS))}")
    made = replace(recipe(parent, known), name=name, **_typed(name, told, recipe(parent, known)))
    _require_sound(made)
    return made


def _typed(name: str, told: Mapping[str, Any], parent: Recipe) -> dict[str, Any]:
    """The fields in their own types; `spec` and `gate` say only what differs from the parent's."""
    typed = dict(told)
    try:
        for field in ("targets", "covariates"):
            if field in typed:
                typed[field] = tuple(map(str, typed[field]))
        if "spec" in typed:
            typed["spec"] = {**parent.spec, **typed["spec"]}
        if "gate" in typed:
            typed["gate"] = replace(parent.gate, **typed["gate"])
        if "needs" in typed:
            typed["needs"] = tuple(Need(**{**need, "group": tuple(need.get("group", ()))}) for need in typed["needs"])
        if "floor" in typed or "targets" in typed:
            typed["floor"] = _floor(typed.get("floor", False))
    except (TypeError, ValueError) as error:
        raise SpecInvalid(f"recipes.{name}", dict(told), f"cannot be understood: {error}") from None
    return typed


def _floor(told: Any) -> Any:
    """What the parent's targets cannot be, others may: naming targets leaves its floor behind, as `false` does, for TOML knows no null."""
    if told is False:
        return None
    return float(told) if type(told) is int else told


def _require_sound(made: Recipe) -> None:
    """Every value is of its type and within its bounds: found when a process starts, and not by the first client."""
    try:
        ModelSpec(targets=made.targets[:1] or ("any",)).override(made.spec)
    except (SpecInvalid, TypeError) as error:
        field = f".{error.field}" if isinstance(error, SpecInvalid) else ""
        raise SpecInvalid(f"recipes.{made.name}.spec{field}", made.spec, str(error)) from None
    hours = made.look_back_hours
    if hours is not None and (isinstance(hours, bool) or not isinstance(hours, (int, float)) or hours < 1):
        raise SpecInvalid(f"recipes.{made.name}.look_back_hours", hours, "must be a number of hours, at least 1")
    floor = made.floor
    if floor is not None and (isinstance(floor, bool) or not isinstance(floor, (int, float)) or not math.isfinite(floor)):
        raise SpecInvalid(f"recipes.{made.name}.floor", floor, "must be a number, or false where there is none")
    for field, kind in (("title", str), ("joint", bool), ("available", (str, type(None))), ("gate", Gate)):
        if not isinstance(getattr(made, field), kind):
            raise SpecInvalid(f"recipes.{made.name}.{field}", getattr(made, field), "is of the wrong type")
    for need in made.needs:
        if need.of not in ("target", "covariates") or need.measure not in ("rows", "days", "coverage"):
            raise SpecInvalid(f"recipes.{made.name}.needs", need, "of: target or covariates; measure: rows, days or coverage")
