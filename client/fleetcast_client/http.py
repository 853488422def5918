"""One service and one key: requests that are sent again when that is safe, and answers that are told apart from everything else."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from fleetcast_client.answers.problems import ProblemDetails
from fleetcast_client.errors import ConnectionFailed, FleetcastError, Problem, problem

#: Below it is everything that needs a key.
API = "/api/v1"
PROBLEM = "application/problem+json"
#: The first pause before a request is sent again; it doubles each time.
FIRST_PAUSE_S = 0.5
#: Who is told to come back later than this is told so rather than kept waiting.
LONGEST_PAUSE_S = 60.0
#: Read after so many seconds of silence a connection counts as broken, besides what the request asked to wait.
MARGIN_S = 10.0
#: Nothing of these was sent.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The same bytes at each try.
    content: bytes | None = None
    #: Or read anew for each try.
    stream: Callable[[], Iterator[bytes]] | None = None
    #: Whether it may be sent twice: the second time changes nothing that the first did.
    again: bool = True
    #: Seconds that it asks the service to wait before it answers.
    wait: float = 0.0
    #: Seconds of silence after which it counts as broken; None as long as any request that waits so long.
    silence: float | None = None
    #: Statuses besides 2xx and 304 that are answers to it.
    accepts: tuple[int, ...] = ()


class Http:
    """Sends requests. The key goes to `url` alone: redirects are not followed."""

    def __init__(self, url: str, key: str, *, timeout: float, retries: int, transport: httpx.BaseTransport | None = None) -> None:
        self.url, self.retries, self._timeout = _service(url), retries, timeout
        headers = {"Authorization": f"Bearer {_usable(key)}", "User-Agent": f"fleetcast-client/{version('fleetcast-client')}"}
        self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=False, transport=transport)

    def close(self) -> None:
        self._client.close()

    def json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> Any:
        """What the service answers to a body of JSON, or to none. Of body and query, what is None is left out."""
        given = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
        content = None if body is None else encoded(body)
        response = self.send(Ask(method=method, path=path, query=query or {}, headers=given, content=content, again=again))
        return response.json() if response.content else None

    def send(self, ask: Ask) -> httpx.Response:
        """The answer, whole. Raises Problem, or ConnectionFailed when nobody of Fleetcast's answered at any try."""
        response = self._persist(ask, self.retries)
        response.close()
        return response

    @contextmanager
    def stream(self, ask: Ask, *, insist: bool = True) -> Iterator[httpx.Response]:
        """The answer as it comes. Opening it is tried again, unless one who does not `insist` has another way; reading it is not."""
        response = self._persist(ask, self.retries if insist else 0, whole=False)
        try:
            yield response
        finally:
            response.close()

    def _persist(self, ask: Ask, retries: int, *, whole: bool = True) -> httpx.Response:
        tries = 0
        while True:
            try:
                return self._once(ask, whole=whole)
            except (Problem, ConnectionFailed) as trouble:
                pause = _pause(ask, trouble, tries)
                if pause is None or tries == retries:
                    raise
            time.sleep(pause)
            tries += 1

    def _once(self, ask: Ask, *, whole: bool) -> httpx.Response:
        try:
            response = self._client.send(self._built(ask), stream=True)
            if whole or not _is_answer(ask, response):
                response.read()
        except httpx.TransportError as error:
            raise ConnectionFailed(f"{self.url} did not answer: {error or type(error).__name__}") from error
        if not _is_answer(ask, response):
            raise _refusal(response)
        return response

    def _built(self, ask: Ask) -> httpx.Request:
        silence = max(self._timeout, ask.wait + MARGIN_S) if ask.silence is None else ask.silence
        timeout = httpx.Timeout(self._timeout, read=silence)
        query = {name: _text(value) for name, value in ask.query.items() if value is not None}
        content = ask.stream() if ask.stream is not None else ask.content
        return self._client.build_request(
            ask.method, self.url + ask.path, params=query, headers=dict(ask.headers), content=content, timeout=timeout
        )


def encoded(body: Mapping[str, Any]) -> bytes:
    """JSON without members that are None; moments as ISO 8601, numbers of numpy's as numbers. Raises ValueError for NaN and the like."""
    given = {name: value for name, value in body.items() if value is not None}
    return json.dumps(given, default=_plain, allow_nan=False).encode()


def below(*parts: str) -> str:
    """A path of names, each percent-encoded."""
    return API + "".join(f"/{quote(part, safe='')}" for part in parts)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON: {value!r}")


def _text(value: Any) -> str | int | float:
    return value.isoformat() if isinstance(value, datetime) else value


def _service(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url={url!r}: must begin with https:// or http:// and name a host, as http://127.0.0.1:8000")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("url: must be an address alone, without user, password, query or fragment")
    return url.rstrip("/")


def _usable(key: str) -> str:
    stripped = key.strip()
    if not stripped or not (stripped.isascii() and stripped.isprintable()) or " " in stripped:
        raise ValueError("key: must be a key as it was issued, fk_…; this is empty, or holds what no key does")
    return stripped


def _is_answer(ask: Ask, response: httpx.Response) -> bool:
    return response.is_success or response.status_code == 304 or response.status_code in ask.accepts


def _refusal(response: httpx.Response) -> FleetcastError:
    request_id, after = response.headers.get("X-Request-Id"), response.headers.get("Retry-After", "")
    if response.headers.get("Content-Type", "").partition(";")[0] == PROBLEM:
        return problem(ProblemDetails.read(response.json()), request_id, float(after) if after.isdigit() else None)
    if response.has_redirect_location:
        return ConnectionFailed(f"{response.url} leads on to {response.headers['Location']}; with a key nobody follows: give that as url.")
    return Unknown(f"{response.url} answered {response.status_code}, and no problem object: is it Fleetcast's?", response.status_code)


class Unknown(ConnectionFailed):
    """An answer of somebody between, such as a proxy."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


def _pause(ask: Ask, trouble: Problem | ConnectionFailed, tries: int) -> float | None:
    """Seconds until it is sent again; None where that would not be safe, or not help."""
    if not _may_pass(ask, trouble):
        return None
    after = trouble.retry_after if isinstance(trouble, Problem) else None
    if after is None:
        return random.uniform(0.5, 1.0) * FIRST_PAUSE_S * 2.0**tries
    # A random part of as many again, so that those who were refused together do not come back together.
    return after * random.uniform(1.0, 2.0) if after <= LONGEST_PAUSE_S else None


def _may_pass(ask: Ask, trouble: Problem | ConnectionFailed) -> bool:
    if isinstance(trouble, Problem):
        refused = trouble.status in (429, 502, 503) or (trouble.status == 500 and ask.again)
        return trouble.retryable and refused
    if isinstance(trouble, Unknown):
        return trouble.status >= 500 and ask.again
    unsent = isinstance(trouble.__cause__, _UNSENT)
    return unsent or (ask.again and isinstance(trouble.__cause__, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError))
