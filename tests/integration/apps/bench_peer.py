"""
A server to be measured by the bench, of a few manners.

``python bench_peer.py PORT MANNER`` answers every request alike; the manner is

- ``well``: connections are kept;
- ``forgets``: the connection before is closed when a new one comes;
- ``lies``: the answer is another one;
- ``late``: the first request is answered with a 503;
- ``rude``: connections are closed when a request comes;
- ``dies``: it ends at once, and says why;
- ``parent``: it has a child that does not leave at TERM, and prints its pid.
"""

import asyncio
import signal
import subprocess
import sys

CHILD = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('stays', flush=True); signal.pause()"
)


async def main(port: int, manner: str) -> None:
    """Serve until TERM."""
    bodies = {"lies": b'{"message": "bye"}'}
    body = bodies.get(manner, b'{"message": "hello, world"}')
    before: list[asyncio.StreamWriter] = []
    statuses = ["503 Not Yet"] if manner == "late" else []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if manner == "forgets" and before:
            before.pop().close()
        before.append(writer)
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            if manner == "rude":
                break
            status = statuses.pop() if statuses else "200 OK"
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    if sys.argv[2] == "dies":
        sys.exit("no strength left")
    if sys.argv[2] == "parent":
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        print(child.pid, flush=True)
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
