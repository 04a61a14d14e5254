"""What the tests share."""

import asyncio
import random
from collections.abc import Coroutine

import pytest

from reliable_channel import UdpOptions


def run(scene: Coroutine[None, None, None], seconds: float = 60) -> None:
    """A scene ends by itself, or the test fails."""

    async def within() -> None:
        await asyncio.wait_for(scene, seconds)

    asyncio.run(within())


@pytest.fixture
def udp() -> UdpOptions:
    """A group that no other test is in."""
    return UdpOptions(group="239.255.109.174", port=random.randrange(20_000, 30_000))
