"""What the tests share."""

import asyncio
import random

import pytest

from reliable_channel import UdpOptions


def run(scene, seconds=60):
    """A scene ends by itself, or the test fails."""

    async def within():
        await asyncio.wait_for(scene, seconds)

    asyncio.run(within())


@pytest.fixture
def udp():
    """A group that no other test is in."""
    return UdpOptions(group="239.255.109.174", port=random.randrange(20_000, 30_000))
