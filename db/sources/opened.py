"""The operator's sources as a process holds them: opened when first read, each once. Imports no numeric library and no driver by itself."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from typing import cast

from db.errors import SourceUnreadable
from db.sources.configs import Config
from db.sources.source import Limits, Source

#: Where each kind is read. Imported by name when first needed: the web process has no numeric library, and nobody has every driver.
_READERS: Mapping[str, tuple[str, str]] = {
    "sql": ("db.sources.sql", "SqlSource"),
    "files": ("db.sources.files", "FilesSource"),
    "influx2": ("db.sources.influx2", "Influx2Source"),
    "influx": ("db.sources.influx", "InfluxSource"),
    "influx3": ("db.sources.influx3", "Influx3Source"),
}


class Sources:
    def __init__(self, configs: Mapping[str, Config], limits: Limits) -> None:
        self.configs = configs
        self._limits = limits
        self._opened: dict[str, Source] = {}
        self._lock = threading.Lock()

    def of(self, tenant: str) -> list[str]:
        """Names of those that the tenant may read."""
        return sorted(name for name, config in self.configs.items() if config.serves(tenant))

    def open(self, name: str) -> Source:
        """Raises SourceUnreadable where this process has no source of that name, or lacks a library that it needs."""
        if name not in self.configs:
            raise SourceUnreadable(f"This process has no source {name}: its SOURCES_FILE is another than when the job was asked for.")
        with self._lock:
            if name not in self._opened:
                self._opened[name] = _reader(self.configs[name], self._limits)
            return self._opened[name]

    def close(self) -> None:
        for source in self._opened.values():
            source.close()


def _reader(config: Config, limits: Limits) -> Source:
    module, name = _READERS[config.kind]
    try:
        made = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise SourceUnreadable(f"Source {config.name} needs {error.name}, which is not here.") from error
    return cast("Source", made(config, limits))
