"""What a kept-alive connection that nobody uses takes of a worker's memory."""

import http.client
import resource
import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench import processes
from bench.errors import BenchError
from bench.servers import HOST, Server
from bench.works import Work, fill

#: Connections before the first look: they fill what the allocators had left over.
_WARM_UP = 500
#: Descriptors for everything else.
_SPARE = 100
_DEADLINE = 60.0


def memory(server: Server, port: int, work: Work) -> float:
    """
    Measure what each idle connection adds to the memory of a server's workers.

    It is private memory only; what the kernel holds for a socket is not in it.

    :return: KiB for each.
    :raise ServerError: a connection was not kept.
    """
    with ExitStack() as stack:
        held = _hold(work, port, _WARM_UP, stack)
        before = _private(server)
        held += _hold(work, port, work.idle, stack)
        grown = _private(server) - before
        _check_kept(server, held)
    return grown / work.idle


@contextmanager
def held(work: Work, port: int, count: int) -> Iterator[None]:
    """Hold idle connections, each of which has had a request."""
    allow_descriptors(count)
    with ExitStack() as stack:
        _hold(work, port, count, stack)
        yield


def allow_descriptors(connections: int) -> None:
    """
    Raise the descriptor limit of this process, and so of the servers it starts.

    :raise BenchError: the system does not let us.
    """
    count = _WARM_UP + connections + _SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise BenchError(
            f"the limit of open files is {hard}, and {count} are needed: ulimit -Hn"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _hold(
    work: Work, port: int, count: int, stack: ExitStack
) -> list[http.client.HTTPConnection]:
    """Open connections, ask each one question, and leave them open."""
    held = [stack.enter_context(_connection(port)) for _ in range(count)]
    for number, connection in enumerate(held):
        path = fill(work.path, f"client-{number}")
        connection.request("GET", path)  # which connects
        connection.getresponse().read()
    return held


@contextmanager
def _connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(HOST, port, timeout=_DEADLINE)
    try:
        yield connection
    finally:
        connection.close()


def _private(server: Server) -> int:
    return sum(map(processes.private_kib, processes.workers(server.pid)))


def _check_kept(server: Server, held: list[http.client.HTTPConnection]) -> None:
    """Raise an error if a connection was closed, which alone makes it readable."""
    kept = [one.sock for one in held if one.sock is not None]
    poll = select.poll()
    for sock in kept:
        poll.register(sock, select.POLLIN)
    lost = len(held) - len(kept) + len(poll.poll(0))
    if lost:
        raise server.fault(f"{lost} of {len(held)} connections were not kept")
