"""
The application's request: a `twisted.web.server.Request`, created lazily.

It is compatible in everything that an application can use. Parts that most applications
do not use are created on first use: the fields as `Headers`, the query and the form,
the segments of the path, cookies, addresses.
"""

from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, AnyStr, BinaryIO, Final, cast
from urllib.parse import unquote_to_bytes

from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.pages import notFound
from twisted.web.resource import IResource

from clusterapp.http.application.distrib import Distributed
from clusterapp.http.application.form_parser import form_of
from clusterapp.http.application.render_result import RenderedResource, not_bytes
from clusterapp.http.application.request_addresses import RequestAddresses
from clusterapp.http.application.response_head import BODILESS
from clusterapp.http.application.response_headers import canonical, useful
from clusterapp.http.application.spooled_body import Content
from clusterapp.http.application.streamed_body import StreamedBody
from clusterapp.http.lazy import Lazy
from clusterapp.http.server.request_context import ProducerInContext
from clusterapp.http.server.server_interfaces import Channel
from clusterapp.interfaces import Fields
from clusterapp.private_names.web import encoding_check
from clusterapp.system import forks

if TYPE_CHECKING:
    from clusterapp.http.syntax.request_head import Head


_has_encoder = encoding_check()

#: The message of system calls for a path with a NUL.
_NUL: Final = "embedded null byte"


class ClusterRequest(Distributed, RequestAddresses):
    """
    A request for a site's resources.

    :param connection: the connection that it was received on.
    :param head: its head.
    """

    #: Twisted's requests are no longer queued, but still have the attribute.
    queued = False
    late_status = HTTPStatus.SERVICE_UNAVAILABLE
    _body: Content | None = None
    _stream: StreamedBody | None = None
    _consumed = 0

    def __init__(self, connection: Channel, head: "Head") -> None:
        # The base's constructor is not called: it would create what is lazy here.
        self.channel = self._connection = connection
        self._head = head
        self.method = head.method
        self.uri = head.target
        self.clientproto = head.version
        self.path = head.path
        self.site = connection.site
        self._plain: dict[bytes, bytes] = {}

    # Created on first use: from the head, not from other attributes, which the
    # application may have replaced.

    @Lazy
    def transport(self) -> Any:
        """The transport of the connection."""
        return self._connection.transport

    @Lazy
    def requestHeaders(self) -> Headers:
        """The request's header fields."""
        headers = Headers()
        for name, value in self._head.fields:
            headers.addRawHeader(name, value)
        return headers

    @Lazy
    def received_cookies(self) -> dict[bytes, bytes]:
        """The cookies that the client has sent."""
        cookies = {}
        for line in self._lines_of(b"cookie"):
            for pair in line.split(b";"):
                name, found, value = pair.lstrip().partition(b"=")
                if found:
                    cookies[name] = value
        return cookies

    @Lazy
    def content(self) -> BinaryIO | None:
        """The request's body; None once the response is finished."""
        if self.finished:
            return None
        body = BytesIO() if self._body is None else self._body.file()
        if self._disconnected:
            body.close()
        return body

    @Lazy
    def args(self) -> dict[bytes, list[bytes]]:
        """
        The query's arguments and those of a form in the body.

        :raises BadFormError: if there is a form that is malformed, or exceeds the
            limits of size or fields.
        """
        head = self._head
        query = head.target.partition(b"?")[2]
        args: dict[bytes, list[bytes]] = parse_qs(query, 1) if query else {}
        if head.method == b"POST" and self._body is not None:
            for kind in self._lines_of(b"content-type")[:1]:
                limits = self._connection.site.limits
                args.update(form_of(kind, self._body.whole(), limits))
        return args

    @Lazy
    def prepath(self) -> list[bytes]:
        """The segments of the path that have been traversed."""
        return self._segments()[: self._consumed]

    @Lazy
    def postpath(self) -> list[bytes]:
        """The segments of the path that remain."""
        return self._segments()[self._consumed :]

    @Lazy
    def sitepath(self) -> list[bytes]:
        """The segments of the path that lead to the site: none."""
        return []

    def _segments(self) -> list[bytes]:
        return [unquote_to_bytes(part) for part in self._head.path[1:].split(b"/")]

    def _lines_of(self, name: bytes) -> list[bytes]:
        """Return the values of a field as received; `name` in lower case."""
        return [value for key, value in self._head.fields if key.lower() == name]

    # Used by routing instead of splitting the path.

    def path_text(self) -> str | None:
        """
        Return the path as text for Klein's matching, if all of it remains to be
        matched.

        :return: None if it is not UTF-8, or partly matched already.
        """
        made = self.__dict__
        if self._consumed or "prepath" in made or "postpath" in made:
            return None
        return self._head.path_text

    @property
    def has_nul(self) -> bool:
        """Whether the path has a NUL, which no file name can have."""
        return b"%00" in self._head.path

    def consume(self, count: int) -> None:
        """
        Move segments from `postpath` to `prepath`.

        :param count: the number of segments.
        """
        made = self.__dict__
        if "prepath" in made or "postpath" in made:
            self.prepath.extend(self.postpath[:count])
            self.postpath = self.postpath[count:]
        else:
            self._consumed += count

    def stream(self) -> None:
        """Pass the body to the handler as a stream instead of as `content`."""
        self._stream = StreamedBody(self._head.length, self.channel)

    @Lazy
    def body(self) -> StreamedBody:
        """
        The request's body as a stream, for handlers that are marked as streaming.

        :raises RuntimeError: if it was buffered, for a handler that is not.
        """
        if self._stream is not None:
            return self._stream
        if self._body is not None:
            raise RuntimeError("mark the handler with clusterapp.streamed")
        empty = StreamedBody(0, self.channel)
        empty.ended(())
        return empty

    # Called by the connection.

    @property
    def responded(self) -> bool:
        """Whether a part of the response has been sent."""
        return bool(self.startedWriting)

    def outcome(self) -> tuple[int, int]:
        """Return the status, 0 if none was sent, and the body bytes sent so far."""
        return (self.code, self.sentLength) if self.startedWriting else (0, 0)

    def serve(self) -> None:
        """Serve a request without a body."""
        self.process()

    def begin(self) -> None:
        """Called before the body: start the handler now if it streams the body."""
        if self._stream is not None:
            self.process()

    def expected(self) -> None:
        """Send a 100 (Continue) to a client that waits for it."""
        self.channel.send_continue()

    def received(self, piece: bytes) -> None:
        """Called with each piece of the body."""
        if self._stream is not None:
            self.in_context(self._stream.received, piece)
            return
        if self._body is None:
            self._body = Content(self._head.length)
        self._body.add(piece)

    def completed(self, trailers: Fields) -> None:
        """Called when the request is complete: serve it, or end its stream."""
        if self._stream is None:
            self.process()
        else:
            self.in_context(self._stream.ended, trailers)

    def lose(self, reason: Failure) -> None:
        """Called when the client has closed the connection."""
        self._disconnected = True
        self.channel = None
        self.drop_body()
        for waiting in self.__dict__.pop("notifications", ()):
            self.in_context(waiting.errback, reason)
        if self._stream is not None:
            self.in_context(self._stream.broken, reason)

    # The methods of twisted.web's requests, in fewer steps.

    def process(self) -> None:
        """Find the resource and render it, in the request's own context."""
        context = self._connection.site.context.copy()
        context.run(self._process)
        if forks.is_fork:
            forks.end_fork()
        # Not earlier: code called by the handler is in the context already.
        self.context = context

    def _process(self) -> None:
        if self._head.target == b"*":
            self._serve_star()
            return
        site = self.site
        try:
            found = site.resource
            if found is not site.dispatcher:
                if not found.isLeaf:
                    found = site.getResourceFor(self)
                if _has_encoder(found):
                    self._encoder = found.getEncoder(self)
            self.render(found)
        except BaseException as error:  # noqa: BLE001 - as twisted.web does
            if forks.is_fork:
                forks.end_fork(Failure())
            if self.has_nul and str(error) == _NUL and not self.startedWriting:
                self.render(notFound())  # no file has such a name
            else:
                self.processingFailed(Failure())

    def render(self, resrc: IResource) -> None:
        """Render a resource, and process its result."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            if self.method == b"HEAD" and b"GET" in error.allowedMethods:
                self._render_head_by_get(resrc)
            else:
                super().render(cast("IResource", RenderedResource(resrc, error)))
            return
        except Exception:
            if not self._connection.switched:
                raise
            # Error handlers would respond with HTTP.
            self.processingFailed(Failure())
            return
        if body is server.NOT_DONE_YET:
            return
        if type(body) is bytes and self.method != b"HEAD":
            if "responseHeaders" in self.__dict__ and self.code not in BODILESS:
                # The length of a complete body is known better.
                self.responseHeaders.removeHeader(b"content-length")
            self.respond(body)
        elif not isinstance(body, bytes):
            self._render_failed(not_bytes(resrc, body))
        else:
            super().render(cast("IResource", RenderedResource(resrc, body)))

    def _render_head_by_get(self, resrc: IResource) -> None:
        """Respond to a HEAD with the head of the response to a GET."""
        self.method = b"GET"
        self._inFakeHead = True
        body = resrc.render(self)
        if isinstance(body, bytes):
            self.setHeader(b"content-length", b"%d" % len(body))
        elif body is not server.NOT_DONE_YET:  # then the length stays unknown
            raise not_bytes(resrc, body)
        self._inFakeHead = False
        self.method = b"HEAD"
        self.write(b"")
        self.finish()

    def _serve_star(self) -> None:
        """Respond to an ``OPTIONS *``; there is nothing else to do with a server."""
        if self.method != b"OPTIONS":
            self.setResponseCode(HTTPStatus.METHOD_NOT_ALLOWED)
            self.setHeader(b"allow", b"OPTIONS")
        self.setHeader(b"content-length", b"0")
        self.finish()

    def _render_failed(self, error: TypeError) -> None:
        """Fail without twisted.web's error page, which shows values to the client."""
        reason = Failure(error)
        if self.finished:
            self.log_failure(reason, "after the response,")
        else:
            self.processingFailed(reason)

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """
        Return the last value of a request field.

        Values that are not UTF-8 are decoded as latin-1: clients can send any bytes. A
        Range without a range is ignored, which is allowed (RFC 9110, section 14.2).

        :raises twisted.web.http_headers.InvalidHeaderName: if the name is not a token.
        """
        if isinstance(key, str):
            try:
                return super().getHeader(key)
            except UnicodeDecodeError:
                lines = self.requestHeaders.getRawHeaders(key.encode()) or [b""]
                return lines[-1].decode("latin-1")
        if "requestHeaders" in self.__dict__:
            return useful(key, super().getHeader(key))
        wanted = key.lower()
        for name, value in reversed(self._head.fields):
            if name.lower() == wanted:
                return useful(wanted, value)
        canonical(key)  # raises for an invalid name
        return None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Register a producer, which is paused while the send buffer is full.

        :raises ValueError: if one is registered already.
        """
        if self.producer:
            raise ValueError(f"there is a producer already: {self.producer}")
        if self.channel is None:  # the client has gone
            producer.stopProducing()
            return
        self.streamingProducer = streaming
        self.producer = producer
        self.channel.registerProducer(
            ProducerInContext(self.in_context, producer), streaming
        )

    def drop_body(self) -> None:
        """Discard the request's body."""
        content = self.__dict__.get("content")
        if content is not None:
            content.close()
            if self.finished:
                self.content = None
        if self._body is not None:
            self._body.close()
        elif self._stream is not None and not self._stream.complete:
            self._stream.stopProducing()


def _set_lazily(name: str) -> None:
    """Create an attribute of `Componentized` on its first use, not in a constructor."""
    made = Lazy[Any](lambda _: vars(Componentized())[name])
    made.__set_name__(ClusterRequest, name)
    setattr(ClusterRequest, name, made)


for _name in vars(Componentized()):
    _set_lazily(_name)
