"""Group messaging made reliable over any lossy broadcast. README.md has a chat; docs/bindings.md says more."""

import atexit
from collections.abc import AsyncIterator
from typing import Protocol

from ._errors import ChannelError, StoreError, TransportError
from ._generated import (
    Change,
    Channel,
    DeliveryState,
    Dialect,
    Event,
    Fate,
    Manager,
    Message,
    Node,
    Options,
    Store,
    SyncStatus,
    Table,
    Transport,
    UdpOptions,
    Unwrapped,
    Value,
    Wrapped,
    end_callbacks,
)


# No thread of the library may be in Python when the interpreter ends.
atexit.register(end_callbacks)


class _Tells(Protocol):
    async def next_event(self) -> "Event | None": ...


async def events(source: _Tells) -> AsyncIterator[Event]:
    """What happens in a channel, until it is left, or to a manager, until it is shut down."""
    while (event := await source.next_event()) is not None:
        yield event


__all__ = [
    "Change",
    "Channel",
    "ChannelError",
    "DeliveryState",
    "Dialect",
    "Event",
    "Fate",
    "Manager",
    "Message",
    "Node",
    "Options",
    "Store",
    "StoreError",
    "SyncStatus",
    "Table",
    "Transport",
    "TransportError",
    "UdpOptions",
    "Unwrapped",
    "Value",
    "Wrapped",
    "events",
]
