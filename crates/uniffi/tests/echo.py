"""Answers what is said in the lobby, backwards, until somebody says end."""

import asyncio
import sys

from reliable_channel import Event, Node, UdpOptions, events


async def main(group: str, port: str) -> None:
    node = Node.on_udp("echo", udp=UdpOptions(group=group, port=int(port)))
    lobby = await node.join("lobby")
    print("there", flush=True)
    async for event in events(lobby):
        if isinstance(event, Event.RECEIVED):
            await lobby.send(event.message.content[::-1])
        if isinstance(event, Event.EPHEMERAL):
            break
    await node.shutdown()


asyncio.run(main(*sys.argv[1:]))
