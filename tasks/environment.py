"""The one room that reads the environment: the settings of this process, and what a child of it is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tasks.settings import Settings, SettingsError, networks


class FromFile(str):
    """A secret, and the file that it was read from. As text it is like any other."""

    file: str


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process. Raises SettingsError naming the variable, the value and the fix."""
    given = _with_secrets(os.environ if environ is None else environ)
    return Settings(**{f.name: _read(f.name, f.type, f.metadata, given) for f in fields(Settings) if _variable(f.name, f.metadata, given)})


def environment(settings: Settings) -> dict[str, str]:
    """The environment that makes a child process load the same settings. What came from a file is named, and stays there."""
    told = {f.name.upper(): getattr(settings, f.name) for f in fields(Settings)}
    return dict((f"{name}_FILE", value.file) if isinstance(value, FromFile) else (name, str(value)) for name, value in told.items())


def withdraw(variable: str) -> None:
    """Take a variable that a library set for its children out of the environment, so that they do as we say."""
    os.environ.pop(variable, None)


def inherited() -> dict[str, str]:
    """What a child process needs of ours besides the settings: where programs and temporary files are."""
    return {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
        if name in os.environ
    }


def _with_secrets(environ: Mapping[str, str]) -> Mapping[str, str]:
    """With each secret whose `…_FILE` names a file read from there: whoever may inspect a container sees its environment."""
    named = {f.name.upper(): environ.get(f"{f.name.upper()}_FILE", "") for f in fields(Settings) if f.metadata["secret"]}
    return {**environ, **{name: _secret(name, file) for name, file in named.items() if file and not environ.get(name)}}


def _secret(name: str, file: str) -> FromFile:
    try:
        secret = FromFile(Path(file).read_text().strip())
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"{name}_FILE", file, "must name a text file that this user can read") from None
    secret.file = str(Path(file).absolute())  # a child may stand in another folder
    return secret


def _variable(name: str, about: Mapping[str, Any], given: Mapping[str, str]) -> str | None:
    """The variable that speaks for this field: the first one set and not empty."""
    return next((v for v in (name.upper(), *about["variables"]) if given.get(v, "") != ""), None)


def _read(name: str, kind: Any, about: Mapping[str, Any], given: Mapping[str, str]) -> Any:
    variable = _variable(name, about, given) or name.upper()
    value = given[variable]
    read, fix = _READERS[str(kind)]
    try:
        parsed = read(value)
    except ValueError:
        raise SettingsError(variable, value, fix) from None
    if about["low"] is not None and not parsed >= about["low"]:
        raise SettingsError(variable, value, f"must be at least {about['low']:g}")
    return parsed


def _networks(text: str) -> str:
    networks(text)
    return text


def _schemes(text: str) -> str:
    if not set(text.split(",")) <= {"https", "http"}:
        raise ValueError(text)
    return text


_READERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "str": (lambda text: text, "must be text"),
    "int": (int, "must be a whole number"),
    "float": (float, "must be a number"),
    "Path": (Path, "must be a path"),
    "Schemes": (_schemes, "must be https, http, or both with a comma between"),
    "Networks": (_networks, "must be networks such as 10.1.0.0/16, with commas between"),
}
