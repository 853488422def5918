"""Answers of somebody else's HTTP server, line by line, and its refusals in our own words. Imports no library at all."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode, urlsplit

from db.errors import SourceUnavailable, SourceUnreadable

#: Longest line that is read, in bytes: a chunk of ten thousand points has far less.
LONGEST = 64 * 2**20
#: Statuses that may pass by themselves.
_PASSING = (408, 429)


class Http:
    """One server. No redirect is followed and no proxy is used: it is where the operator says it is."""

    def __init__(self, source: str, url: str, timeout_s: float, *, user: str = "", password: str = "") -> None:
        self._source = source
        self._url = urlsplit(url)
        self._timeout_s = timeout_s
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"} if user else {}

    def lines(self, path: str, told: Mapping[str, str]) -> Iterator[bytes]:
        """The lines of the answer to a form that was posted. Raises SourceUnavailable, SourceUnreadable."""
        connection = self._connection()
        try:
            connection.request(
                "POST",
                self._url.path.rstrip("/") + path,
                urlencode(told),
                self._headers | {"Content-Type": "application/x-www-form-urlencoded"},
            )
            answer = connection.getresponse()
            self._require_ok(answer)
            while line := answer.readline(LONGEST):
                yield line
        except (OSError, http.client.HTTPException) as error:
            raise SourceUnavailable(f"Source {self._source} does not answer: {type(error).__name__}.") from error
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        made = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        return made(self._url.hostname or "", self._url.port, timeout=self._timeout_s)

    def _require_ok(self, answer: http.client.HTTPResponse) -> None:
        if answer.status < 300:
            return
        said = ValueError(f"HTTP {answer.status}: {answer.read(1_000).decode(errors='replace')}")
        if answer.status >= 500 or answer.status in _PASSING:
            raise SourceUnavailable(f"Source {self._source} answers {answer.status}.") from said
        what = "refuses our credentials" if answer.status in (401, 403) else f"refuses the question with {answer.status}"
        raise SourceUnreadable(f"Source {self._source} {what}. `fleetcast sources check {self._source}` says why.") from said
