"""What a call takes from Python: python figures.py [ROUNDS], of an optimised wheel (maturin build --release).

One manager wraps, another unwraps what came out. Each round is a conversation of 1,000 pairs of its own; least and median of the
rounds, in microseconds by the clock and of the process's processor time.
"""

import asyncio
import statistics
import sys
import time

from reliable_channel import Manager

PAIRS = 1_000


async def conversation(size):
    alice, bob = Manager("alice"), Manager("bob")
    for manager in (alice, bob):
        await manager.join("bench")
    content = bytes(size)
    spent = {"wrap": [0, 0], "unwrap": [0, 0]}

    async def timed(what, call):
        began, used = time.perf_counter_ns(), time.process_time_ns()
        answer = await call
        spent[what][0] += time.perf_counter_ns() - began
        spent[what][1] += time.process_time_ns() - used
        return answer

    for pair in range(PAIRS):
        wrapped = await timed("wrap", alice.wrap("bench", content))
        await timed("unwrap", bob.unwrap(wrapped.bytes))
        if pair % 8 == 7:
            await alice.unwrap((await bob.wrap("bench", b"ok")).bytes)
    for manager in (alice, bob):
        await manager.shutdown()
    return {what: [time / 1_000 / PAIRS for time in times] for what, times in spent.items()}


def main(rounds=10):
    for size in (256, 4_096):
        seen = [asyncio.run(conversation(size)) for _ in range(int(rounds))]
        for what in ("wrap", "unwrap"):
            clock, used = zip(*(round[what] for round in seen))
            told = [f"{min(times):.0f} least, {statistics.median(times):.0f} median" for times in (clock, used)]
            print(f"{size} B, {what}: {told[0]}; processor time {told[1]}")


main(*sys.argv[1:])
