"""Nodes: over UDP between processes, and over a network in Python."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run
from test_manager import next_of

from reliable_channel import ChannelError, Event, Node, Transport, TransportError, UdpOptions

HERE = Path(__file__).parent


def test_two_processes_talk_over_udp(udp: UdpOptions) -> None:
    assert udp.group is not None
    command = [sys.executable, str(HERE / "echo.py"), udp.group, str(udp.port)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"there\n"

        async def scene() -> None:
            node = Node.on_udp("alice", udp=udp)
            lobby = await node.join("lobby")
            large = os.urandom(200_000)
            for content in (b"hello", large):
                request = await lobby.send(content)
                answer = (await next_of(lobby, Event.RECEIVED)).message
                assert (answer.sender, answer.content) == ("echo", content[::-1])
                assert lobby.delivery_state(request) is not None
            assert [message.own for message in lobby.history()] == [True, False, True, False]
            await lobby.send_ephemeral(b"end")
            await node.shutdown()

        run(scene())
        assert other.wait(30) == 0
    finally:
        other.kill()


class Wire(Transport):
    """A network of two in Python."""

    def __init__(self) -> None:
        self.other: "Node | None" = None
        self.cut = False

    def publish(self, topic: str, to: "bytes | None", bytes: bytes) -> None:
        if self.cut:
            raise TransportError.Unavailable("the wire is cut")
        assert self.other is not None
        self.other.receive(topic, bytes)

    def max_bytes(self) -> int:
        return 1_000


def test_a_network_in_python() -> None:
    async def scene() -> None:
        wires = Wire(), Wire()
        alice, bob = Node.on_transport("alice", wires[0]), Node.on_transport("bob", wires[1])
        wires[0].other, wires[1].other = bob, alice
        here, there = await alice.join("lobby"), await bob.join("lobby")
        await here.send(b"hello")
        assert (await next_of(there, Event.RECEIVED)).message.content == b"hello"
        assert (await next_of(here, Event.DELIVERED)).by == "bob"

        wires[0].cut = True
        await here.send(b"anybody?")
        assert "cut" in (await next_of(here, Event.DISCONNECTED)).reason
        wires[0].cut = False
        await next_of(here, Event.CONNECTED)
        assert (await next_of(there, Event.RECEIVED)).message.content == b"anybody?"
        await here.leave()
        with pytest.raises(ChannelError.NotJoined):
            await here.send(b"too late")

    run(scene())


def test_a_node_on_udp_receives_by_itself(udp: UdpOptions) -> None:
    node = Node.on_udp("alice", udp=udp)
    with pytest.raises(ChannelError.Refused):
        node.receive("lobby", b"x")
    udp.group = "nowhere"
    with pytest.raises(ChannelError.Options):
        Node.on_udp("alice", udp=udp)


def test_the_chat_of_the_readme(tmp_path: Path) -> None:
    readme = (HERE.parent / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    source = found.group(1)
    assert sum(1 for line in source.splitlines() if line.strip()) <= 20
    (tmp_path / "chat.py").write_text(source)

    def start(name: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "chat.py", name]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)

    alice, bob = start("alice"), start("bob")
    try:
        for said, chat in (("hello", alice), ("hi alice", bob)):
            assert chat.stdin is not None
            chat.stdin.write(said + "\n")
            chat.stdin.flush()
        for heard, chat in (("bob: hi alice\n", alice), ("alice: hello\n", bob)):
            assert chat.stdout is not None and heard in chat.stdout
        for chat in (alice, bob):
            assert chat.stdin is not None
            chat.stdin.close()
            assert chat.wait(30) == 0
    finally:
        alice.kill()
        bob.kill()
