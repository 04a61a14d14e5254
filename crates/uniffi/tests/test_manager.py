"""Managers: bytes are carried by the test."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import run

from reliable_channel import (
    Change,
    Channel,
    ChannelError,
    Event,
    Fate,
    Manager,
    Options,
    Store,
    StoreError,
    SyncStatus,
    Table,
    Value,
    events,
)


Kind = TypeVar("Kind")


async def next_of(source: "Channel | Manager", kind: type[Kind]) -> Kind:
    async for event in events(source):
        if isinstance(event, kind):
            return event
    raise AssertionError("the events ended")


async def open_in(
    name: str, channel: str, options: "Options | None" = None, store: "Store | None" = None
) -> Manager:
    manager = Manager(name, options, store)
    await manager.join(channel)
    return manager


def test_a_message_goes_over_and_is_acknowledged() -> None:
    async def scene() -> None:
        alice, bob = await open_in("alice", "lobby"), await open_in("bob", "lobby")
        wrapped = await alice.wrap("lobby", b"a\0b")
        unwrapped = await bob.unwrap(wrapped.bytes)
        assert (unwrapped.sender, unwrapped.content, unwrapped.id) == ("alice", b"a\0b", wrapped.id)
        assert isinstance(unwrapped.fate, Fate.DELIVERED)
        received = (await next_of(bob, Event.RECEIVED)).message
        assert (received.content, received.number, received.own) == (b"a\0b", 1, False)
        transmit = await next_of(bob, Event.TRANSMIT)  # within four seconds: bob's acknowledgement
        await alice.unwrap(transmit.bytes)
        delivered = await next_of(alice, Event.DELIVERED)
        assert (delivered.id, delivered.by) == (wrapped.id, "bob")
        assert [message.own for message in alice.log("lobby")] == [True]
        assert isinstance(alice.sync_status("lobby"), SyncStatus.IN_SYNC)

    run(scene())


def test_a_message_waits_for_what_it_refers_to() -> None:
    async def scene() -> None:
        alice = await open_in("alice", "lobby")
        bob = await open_in("bob", "lobby", options=Options(join_backfill=1_000_000))
        first, second = [await alice.wrap("lobby", text) for text in (b"1", b"2")]
        fate = (await bob.unwrap(second.bytes)).fate
        assert isinstance(fate, Fate.WAITS) and fate.missing == [first.id]
        await bob.unwrap(first.bytes)
        told = [(await next_of(bob, Event.RECEIVED)).message.content for _ in range(2)]
        assert told == [b"1", b"2"]

    run(scene())


def test_errors_are_exceptions() -> None:
    async def scene() -> None:
        alice = await open_in("alice", "lobby")
        with pytest.raises(ChannelError.Peer):
            await alice.unwrap(b"no message")
        with pytest.raises(ChannelError.NotJoined) as raised:
            await alice.wrap("elsewhere", b"x")
        assert "elsewhere" in raised.value.reason
        with pytest.raises(ChannelError.Refused):
            await alice.wrap("lobby", b"")
        with pytest.raises(ChannelError.TooLarge):
            await alice.wrap("lobby", bytes(2 << 20))
        with pytest.raises(ChannelError.Options):
            Manager("alice", Options(max_messages=0))

    run(scene())


def test_a_wait_that_is_given_up_loses_no_event() -> None:
    async def scene() -> None:
        alice, bob = await open_in("alice", "lobby"), await open_in("bob", "lobby")
        given_up = 0
        for _ in range(20):
            try:
                # On a busy machine others may come meanwhile, of catching up.
                assert not isinstance(await asyncio.wait_for(bob.next_event(), 0.001), Event.RECEIVED)
            except asyncio.TimeoutError:
                given_up += 1
        assert given_up > 0
        await bob.unwrap((await alice.wrap("lobby", b"hi")).bytes)
        assert (await next_of(bob, Event.RECEIVED)).message.content == b"hi"

    run(scene())


def test_events_end_with_the_manager() -> None:
    async def scene() -> None:
        alice = await open_in("alice", "lobby")
        reading = asyncio.create_task(next_of(alice, Event.RECEIVED))
        await asyncio.sleep(0.05)
        await alice.shutdown()
        with pytest.raises(AssertionError):
            await reading

    run(scene())


def test_a_directory_keeps_what_was_said(tmp_path: Path) -> None:
    async def scene() -> None:
        options = Options(directory=str(tmp_path / "store"))
        alice = await open_in("alice", "lobby", options=options)
        await alice.wrap("lobby", b"kept")
        with pytest.raises(ChannelError.Store):
            Manager("alice", options)
        await alice.shutdown()
        del alice
        again = await open_in("alice", "lobby", options=Options(directory=str(tmp_path / "store")))
        assert [message.content for message in again.log("lobby")] == [b"kept"]

    run(scene())


class InMemory(Store):
    """A store in Python: a dictionary."""

    def __init__(self) -> None:
        self.values: dict[tuple[Table, bytes], bytes] = {}
        self.fails = False

    def apply(self, changes: list[Change]) -> None:
        if self.fails:
            raise StoreError.Failed("the disk is full")
        for change in changes:
            if isinstance(change, Change.PUT):
                self.values[change.table, change.key] = change.value
            elif isinstance(change, Change.DELETE):
                self.values.pop((change.table, change.key), None)
            elif isinstance(change, Change.DROP_PREFIX):
                self.values = {at: value for at, value in self.values.items() if not at[1].startswith(change.prefix)}

    def load(self, prefix: bytes) -> list[Value]:
        return [Value(table=t, key=k, value=v) for (t, k), v in self.values.items() if k.startswith(prefix)]

    def keys(self) -> list[bytes]:
        return [key for _, key in self.values]


def test_a_store_in_python() -> None:
    async def scene() -> None:
        store = InMemory()
        alice = await open_in("alice", "lobby", store=store)
        for text in (b"one", b"two", b"three"):
            await alice.wrap("lobby", text)
        assert len(store.values) > 3
        await alice.shutdown()

        again = await open_in("alice", "lobby", store=store)
        assert [message.content for message in again.log("lobby")] == [b"one", b"two", b"three"]
        await again.forget("lobby")
        assert store.values == {}

        await again.join("lobby")
        store.fails = True
        await again.wrap("lobby", b"said all the same")
        assert "disk is full" in (await next_of(again, Event.STORE_FAILED)).reason

    run(scene())


def test_a_program_ends_well_while_its_store_is_called() -> None:
    """Its interpreter must not end under a thread of the library."""
    script = """
import asyncio, time
from reliable_channel import Manager, Options, Store, StoreError

class Slow(Store):
    def apply(self, changes):
        time.sleep(0.01)
        raise StoreError.Failed("never")
    def load(self, prefix):
        return []
    def keys(self):
        return []

async def main():
    global manager
    manager = Manager("alice", store=Slow())
    await manager.join("lobby")
    for _ in range(5):
        await manager.wrap("lobby", b"x")

asyncio.run(main())
print("done")
"""
    for _ in range(5):
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
