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

from reliable_channel import ChannelError, Event, Node, Options, Transport, TransportError

HERE = Path(__file__).parent


def test_two_processes_talk_over_udp(udp):
    other = subprocess.Popen([sys.executable, HERE / "echo.py", udp.group, str(udp.port)], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"there\n"

        async def scene():
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

    def __init__(self):
        self.other = None
        self.cut = False

    def publish(self, topic, to, bytes):
        if self.cut:
            raise TransportError.Unavailable("the wire is cut")
        self.other.receive(topic, bytes)

    def max_bytes(self):
        return 1_000


def test_a_network_in_python():
    async def scene():
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


def test_a_node_on_udp_receives_by_itself(udp):
    node = Node.on_udp("alice", udp=udp)
    with pytest.raises(ChannelError.Refused):
        node.receive("lobby", b"x")
    udp.group = "nowhere"
    with pytest.raises(ChannelError.Options):
        Node.on_udp("alice", udp=udp)


def test_the_chat_of_the_readme(tmp_path):
    readme = (HERE.parent / "README.md").read_text()
    chat = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    assert sum(1 for line in chat.splitlines() if line.strip()) <= 20
    (tmp_path / "chat.py").write_text(chat)

    def start(name):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
        return subprocess.Popen([sys.executable, "chat.py", name], **pipes)

    alice, bob = start("alice"), start("bob")
    try:
        for said, chat in (("hello", alice), ("hi alice", bob)):
            chat.stdin.write(said + "\n")
            chat.stdin.flush()
        assert "alice: hello\n" in bob.stdout and "bob: hi alice\n" in alice.stdout
        for chat in (alice, bob):
            chat.stdin.close()
            assert chat.wait(30) == 0
    finally:
        alice.kill()
        bob.kill()
