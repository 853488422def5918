"""The broker's wire: kombu's Redis transport, which a message that is none of ours cannot take down."""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis

log = structlog.get_logger()

#: What kombu raises on bytes that are no JSON, JSON that is no message, and a message that lacks what every message has.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)


class Channel(redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        """Read one message. One that cannot be read was taken off its queue already: it is dropped and told of.

        kombu lets the error through, which ends the worker: so many such messages, so many dead workers. Nothing is lost with a message
        that was a doorbell after all: the dispatcher rings again.
        """
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # private, and kombu's stubs leave it out
        except _UNREADABLE as error:
            log.warning("message_unreadable", error=type(error).__name__)
            return True


class Transport(redis.Transport):
    Channel = Channel
