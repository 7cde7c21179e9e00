"""Clients that mean no good, many at a time."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

#: A head in order, of which fuzzed ones are made.
GOOD = (
    b"GET /whoami/1?user=u HTTP/1.1\r\nHost: chaos\r\nX-Session: s\r\n"
    b"Cookie: clusterapp_slot=1.x\r\n\r\n"
)

#: What begins like something that is no HTTP/1.1 at all.
_FOREIGN = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
    b"\r\n\r\n\0\r\n\r\nQUIT\n",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A" * 100_000,
    b"GET /" + b"?user=%ff&" * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"X" * 65_536 + b"\r\n\r\n",
)


@dataclass
class Ends:
    """
    How connections have ended.

    :ivar answers: how many have had which first line, empty if none.
    :ivar longest: how long the most patient server has borne one, in seconds.
    """

    answers: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0

    def note(self, answer: bytes, began: float) -> None:
        """Write down the end of a connection."""
        self.answers[answer.partition(b"\r\n")[0].decode("latin-1")[:40]] += 1
        self.longest = max(self.longest, time.monotonic() - began)

    def __str__(self) -> str:
        return f"{dict(self.answers)}, the longest borne {self.longest:.2f} s"


#: Sends whatever it is, on a connection of its own.
Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def attack(port: int, attacks: Sequence[Attack], *, patience: float) -> Ends:
    """
    Make all attacks at the same time.

    :param patience: seconds after which each connection must have been ended by the
        other side.
    :raise TimeoutError: if one has not.
    """
    ends = Ends()

    async def make(each: Attack) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, local_addr=("127.0.5.1", 0)
        )
        sending = asyncio.ensure_future(each(reader, writer))
        try:
            async with asyncio.timeout(patience):
                answer = await _all(reader)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
            writer.transport.abort()
        ends.note(answer, began)

    async with asyncio.TaskGroup() as group:
        for each in attacks:
            group.create_task(make(each))
    return ends


def saying(data: bytes) -> Attack:
    """Send some bytes, and nothing more."""

    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return say


def dripping(begin: bytes) -> Attack:
    """Send a beginning, then a byte again and again."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            await asyncio.sleep(0.3)
            writer.write(b"x")
            await writer.drain()

    return drip


def fuzzed(count: int) -> Iterator[bytes]:
    """Make first bytes of many kinds, the same ones each time."""
    chance = random.Random(count)
    yield from _FOREIGN
    for number in range(count - len(_FOREIGN)):
        data = bytearray(GOOD * chance.randint(1, 3))
        if number % 3 == 0:
            yield chance.randbytes(chance.randint(1, 3000))
            continue
        for _ in range(chance.randint(1, 8)):
            _spoil(data, chance)
        yield bytes(data)


def _spoil(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            data[place] = chance.randrange(256)
        case 1:
            del data[place : place + chance.randint(1, 10)]
        case 2:
            data[place:place] = chance.choice(
                (b"\0", b"\r", b"\n", b":", b"\xff", b"%")
            )
        case _:
            data[place:place] = data[: chance.randint(1, 40)]


async def _all(reader: asyncio.StreamReader) -> bytes:
    """Read to the end, however that comes."""
    received = b""
    try:
        while piece := await reader.read(65536):
            received += piece
    except OSError:
        pass
    return received
