"""
Context variables: each request has a `contextvars.Context` of its own.

All requests of a process run on one event loop. If they ran in its context, a
`contextvars.ContextVar` set by a handler would be visible to the requests of other
clients. So each one runs in a copy of the context in which its site was made, and so do
its later callbacks: callbacks of Klein, pieces of its body, its producer, a protocol
that it has switched to.
"""

from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

from twisted.internet.interfaces import IProtocol, IPushProducer
from zope.interface import directlyProvides, implementer, providedBy

R = TypeVar("R")

#: Calls a function with arguments in a context.
Run = Callable[..., Any]


class WithContext:
    """
    A request that runs in a context of its own.

    :ivar context: the context; None until the request's handler has returned.
    """

    context: Context | None = None
    #: Whether the context is entered; it cannot be entered twice.
    _entered = False

    def in_context(self, function: Callable[..., R], *args: Any) -> R:
        """
        Call a function in the context, and return its result.

        If the context is entered already, further up the call stack, the function is
        called in a copy: it sees the variables' values, and its own changes end with
        it.
        """
        context = self.context
        if context is None:
            return function(*args)
        if self._entered:
            return context.copy().run(function, *args)
        self._entered = True
        try:
            return context.run(function, *args)
        finally:
            self._entered = False


@implementer(IPushProducer)
class ProducerInContext:
    """
    A producer whose methods are called in the context of its request.

    :param run: calls functions in the context.
    :param producer: a push or a pull producer.
    """

    __slots__ = ("_producer", "_run")

    def __init__(self, run: Run, producer: Any) -> None:
        self._run = run
        self._producer = producer

    def __repr__(self) -> str:
        return repr(self._producer)

    def pauseProducing(self) -> None:
        """Pause the producer."""
        self._run(self._producer.pauseProducing)

    def resumeProducing(self) -> None:
        """Resume the producer, or ask it for a piece."""
        self._run(self._producer.resumeProducing)

    def stopProducing(self) -> None:
        """Stop the producer."""
        self._run(self._producer.stopProducing)


def unwrapped(protocol: Any) -> Any:
    """Return the protocol wrapped by `protocol_in_context`, or the protocol itself."""
    return (
        vars(protocol)["_protocol"]
        if type(protocol) is _ProtocolInContext
        else protocol
    )


class _ProtocolInContext:
    """
    A protocol whose callbacks run in the context of a request.

    It has all attributes of the protocol, and provides the same interfaces.

    :param run: calls functions in the context.
    :param protocol: the protocol.
    """

    def __init__(self, run: Run, protocol: Any) -> None:
        own = vars(self)
        own["_run"] = run
        own["_protocol"] = protocol
        directlyProvides(self, providedBy(protocol))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):  # zope.interface stores the provided interfaces
            super().__setattr__(name, value)
        else:
            setattr(self._protocol, name, value)

    def dataReceived(self, data: bytes) -> None:
        """Called with received bytes."""
        self._run(self._protocol.dataReceived, data)

    def connectionLost(self, reason: Any) -> None:
        """Called when the connection is closed."""
        self._run(self._protocol.connectionLost, reason)


def protocol_in_context(run: Run, protocol: IProtocol) -> IProtocol:
    """
    Return a protocol whose callbacks run in the context of a request.

    :param run: calls functions in the context of the request that has switched.
    :param protocol: the protocol that it has switched to.
    """
    wrapped: IProtocol = _ProtocolInContext(run, protocol)  # type: ignore[assignment]
    return wrapped
