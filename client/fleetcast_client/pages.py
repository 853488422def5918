"""Lists: everything there is, fetched a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fleetcast_client.http import Http

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Page(Generic[T_co]):
    """One page, and where the next one begins: None after the last."""

    data: tuple[T_co, ...]
    next_cursor: str | None


class Pages(Generic[T_co]):
    """Iterate over it for all there is; nothing is asked before. What is added meanwhile disturbs no page."""

    def __init__(self, http: Http, path: str, read: Callable[[Any], T_co], query: Mapping[str, Any]) -> None:
        self._http, self._path, self._read, self._query = http, path, read, query

    def __iter__(self) -> Iterator[T_co]:
        page = self.page()
        yield from page.data
        while page.next_cursor is not None:
            page = self.page(page.next_cursor)
            yield from page.data

    def page(self, cursor: str | None = None) -> Page[T_co]:
        """One page: the first, or the one at a cursor."""
        query = self._query if cursor is None else {**self._query, "cursor": cursor}
        found = self._http.json("GET", self._path, query=query)
        return Page(tuple(map(self._read, found["data"])), found["next_cursor"])
