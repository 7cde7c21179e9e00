"""Private names of Twisted's reactors, transports, processes and twistd."""

import asyncio
from collections.abc import Callable, MutableMapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from clusterapp.private_names.check import PrivateName, sets, takes

T = TypeVar("T")


EVENT_LOOP: Final = PrivateName[Any](
    "Twisted",
    "AsyncioSelectorReactor._asyncioEventloop",
    "a master on asyncio does not notice an unsuitable event loop, connects to an"
    " isolated core by Twisted's slower transports, and its forks may run its calls",
    lambda: None,
)


def event_loop_of(reactor: Any) -> asyncio.AbstractEventLoop | None:
    """
    Return the event loop of a reactor; None if it has none, or it is not found.

    :param reactor: a reactor. Those of children have the loop as ``event_loop``.
    """
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    if not isinstance(reactor, AsyncioSelectorReactor):
        return None
    loop = getattr(reactor, "event_loop", None) or getattr(
        reactor, "_asyncioEventloop", None
    )
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop
    EVENT_LOOP.warn()
    return None


def _find_read_or_write() -> Any:
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor

    method: Any = AsyncioSelectorReactor._readOrWrite
    return method if takes(method, "self", "selectable", "read") else None


#: The method that the event loop calls when a descriptor is readable or writable.
READ_OR_WRITE: Final = PrivateName(
    "Twisted",
    "AsyncioSelectorReactor._readOrWrite",
    "a connection of Twisted's transports in a worker that is reset right after it has"
    " brought data is only noticed when it is used",
    _find_read_or_write,
)


def with_read_hook(kind: type[T]) -> type[T]:
    """
    Return a subclass of an asyncio reactor that calls ``after_read`` after each read.

    :param kind: the class, with a method ``after_read`` that takes the selectable.
    :return: the class itself if this is not possible.
    """
    if not READ_OR_WRITE.found:
        return kind
    base: Any = kind

    class WithReadHook(base):  # type: ignore[misc]
        def _readOrWrite(self, selectable: Any, read: bool) -> None:
            super()._readOrWrite(selectable, read)
            if read:
                self.after_read(selectable)

    return WithReadHook


def _find_selectables() -> Callable[[Any], MutableMapping[int, Any]] | None:
    from twisted.internet.epollreactor import EPollReactor

    return (
        attrgetter("_selectables")
        if sets(EPollReactor.__init__, "_selectables")
        and sets(EPollReactor.doPoll, "_selectables")
        else None
    )


#: Returns what an epoll reactor watches, by descriptor.
SELECTABLES: Final = PrivateName(
    "Twisted",
    "EPollReactor._selectables",
    "events of the same turn of the reactor reach processes that a handler forks, too",
    _find_selectables,
)


def _find_thread_calls() -> Callable[[Any], list[Any]] | None:
    from twisted.internet.base import ReactorBase

    is_set = sets(ReactorBase.__init__, "threadCallQueue")
    is_used = sets(ReactorBase.callFromThread, "threadCallQueue")
    return attrgetter("threadCallQueue") if is_set and is_used else None


#: Returns the calls that threads have asked a reactor for.
THREAD_CALLS: Final = PrivateName(
    "Twisted",
    "ReactorBase.threadCallQueue",
    "calls of the parent's threads run in processes that a handler forks, too",
    _find_thread_calls,
)


def _find_reap_handlers() -> MutableMapping[int, Any] | None:
    from twisted.internet import process

    found: Any = process.reapProcessHandlers
    return found if isinstance(found, dict) else None


#: The processes for whose exits Twisted waits, by pid; undocumented.
REAP_HANDLERS: Final = PrivateName(
    "Twisted",
    "twisted.internet.process.reapProcessHandlers",
    "workers look at all their processes when one exits, and a master that is PID 1"
    " leaves orphans as zombies",
    _find_reap_handlers,
)


class UnsentBytes:
    """
    The bytes that transports have not passed to the kernel yet: here none is found.

    The methods take a transport of a reactor, or TLS on top of one.
    """

    def count(self, transport: Any) -> int:  # noqa: ARG002
        """Return the number of unsent bytes."""
        return 0

    def is_empty(self, transport: Any) -> bool:  # noqa: ARG002
        """Return whether a socket's transport is known to have no unsent bytes."""
        return False

    def drop(self, transport: Any) -> None:
        """
        Free the unsent bytes of a closed transport.

        Twisted keeps them as long as the transport is referenced, as it is by the
        protocol of an application, in a reference cycle that only a full garbage
        collection frees.
        """


def _find_unsent() -> UnsentBytes | None:
    from twisted.internet.abstract import FileDescriptor
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    is_plain = FileDescriptor.dataBuffer == b"" and FileDescriptor.offset == 0
    if not (
        is_plain
        and sets(FileDescriptor.__init__, "_tempDataBuffer", "_tempDataLen")
        and sets(TLSMemoryBIOProtocol.makeConnection, "_appSendBuffer")
    ):
        return None

    class Found(UnsentBytes):
        def count(self, transport: Any) -> int:
            number = 0
            if isinstance(transport, TLSMemoryBIOProtocol):
                number = sum(map(len, transport._appSendBuffer))
                transport = transport.transport
            if isinstance(transport, FileDescriptor):
                number += len(transport.dataBuffer) - transport.offset
                number += transport._tempDataLen
            return number

        def is_empty(self, transport: Any) -> bool:
            return not (transport._tempDataLen or transport.dataBuffer)

        def drop(self, transport: Any) -> None:
            if isinstance(transport, TLSMemoryBIOProtocol):
                transport._appSendBuffer.clear()
                transport = transport.transport
            if isinstance(transport, FileDescriptor):
                transport.dataBuffer = b""
                transport.offset = 0
                transport._tempDataBuffer = []
                transport._tempDataLen = 0

    return Found()


UNSENT: Final = PrivateName(
    "Twisted",
    "the buffers of FileDescriptor and TLSMemoryBIOProtocol",
    "what a core could not send on a lost connection stays in memory until the next"
    " full garbage collection, and closing one does not wait until the client has read"
    " what the kernel did not have yet; and each answer of a core waits for the next"
    " turn of the reactor",
    _find_unsent,
)


def unsent_bytes() -> UnsentBytes:
    """Return the functions for the unsent bytes of transports."""
    return UNSENT.value or UnsentBytes()


def _find_start_waiter() -> Any:
    from twisted.scripts._twistd_unix import UnixApplicationRunner

    method: Any = UnixApplicationRunner._waitForStart
    return UnixApplicationRunner if takes(method, "self", "readPipe") else None


#: The class whose method twistd's command waits with for its daemon's start.
START_WAITER: Final = PrivateName(
    "Twisted",
    "twistd's UnixApplicationRunner._waitForStart",
    "the command prints the error of a daemon that does not start as Python writes"
    " bytes",
    _find_start_waiter,
)


def replace_start_waiter(wait: Callable[[object, int], int]) -> None:
    """
    Make twistd's command wait for the start of its daemon by our function.

    :param wait: called with the runner and the pipe that the daemon writes to; returns
        the exit status of the command.
    """
    runner = START_WAITER.value
    if runner is not None:
        runner._waitForStart = wait
