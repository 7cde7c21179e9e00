"""
A request as applications see it: a `twisted.web.server.Request`, made lazily.

It is one in every way that an application can see. What most applications do not
look at is made when they do: the fields as `Headers`, the query and the form, the
segments of the path, cookies, addresses.

`_forceSSL` of twisted.web's requests, which it does not promise, is used as it was in
Twisted 26.10.
"""

from io import BytesIO
from typing import TYPE_CHECKING, Any, AnyStr, BinaryIO, Final, cast
from urllib.parse import unquote_to_bytes

from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.error import UnsupportedMethod
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.pages import notFound
from twisted.web.resource import IResource, _IEncodingResource

from clusterapp import forks
from clusterapp.http.application.distrib import Distributed
from clusterapp.http.application.form_parser import form_of
from clusterapp.http.application.render_result import Again, not_bytes
from clusterapp.http.application.request_addresses import Addressing
from clusterapp.http.application.request_context import ProducerInContext
from clusterapp.http.application.response_head import BODILESS
from clusterapp.http.application.response_headers import canonical, useful
from clusterapp.http.application.spooled_body import Content
from clusterapp.http.application.streamed_body import StreamedBody
from clusterapp.http.lazy import Lazy
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.connection import Connection
    from clusterapp.http.syntax.request_head import Head


#: What the system's calls say of a path with a NUL.
_NUL: Final = "embedded null byte"


class ClusterRequest(Distributed, Addressing):
    """
    A request for a site's resources.

    :param connection: what it came by.
    :param head: its head.
    """

    #: Twisted's requests no longer wait behind others, but have the attribute.
    queued = False
    _body: Content | None = None
    _stream: StreamedBody | None = None
    _consumed = 0

    def __init__(self, connection: "Connection", head: "Head") -> None:
        # The base's constructor is not called: it makes what is lazy here.
        self.channel = self._connection = connection
        self._head = head
        self.method = head.method
        self.uri = head.target
        self.clientproto = head.version
        self.path = head.path
        self.site = connection.site
        self._plain: dict[bytes, bytes] = {}

    # What is made when it is asked for: of the head, not of what the application may
    # have put in the place of another attribute.

    @Lazy
    def transport(self) -> Any:
        """The raw stream."""
        return self._connection.transport

    @Lazy
    def requestHeaders(self) -> Headers:
        """The request's fields."""
        headers = Headers()
        for name, value in self._head.fields:
            headers.addRawHeader(name, value)
        return headers

    @Lazy
    def received_cookies(self) -> dict[bytes, bytes]:
        """The client's cookies."""
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
        The query's arguments and those of a form that was sent.

        :raises BadFormError: if there is a form, and it cannot be read, is larger or
            has more fields than it may.
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
        """The segments of the path that have led here."""
        return self._segments()[: self._consumed]

    @Lazy
    def postpath(self) -> list[bytes]:
        """The segments of the path that are left."""
        return self._segments()[self._consumed :]

    @Lazy
    def sitepath(self) -> list[bytes]:
        """The segments of the path that have led to the site: none."""
        return []

    @Lazy
    def _adapterCache(self) -> dict[str, Any]:
        return {}

    def _segments(self) -> list[bytes]:
        return [unquote_to_bytes(part) for part in self._head.path[1:].split(b"/")]

    def _lines_of(self, name: bytes) -> list[bytes]:
        """Give the lines of a field as they came; its name in lower case."""
        return [value for key, value in self._head.fields if key.lower() == name]

    # What routing asks for instead of splitting the path.

    def path_text(self) -> str | None:
        """
        Give the path as a Klein matches it, when all of it is still to be matched.

        :return: None if it is not UTF-8, or partly matched already.
        """
        made = self.__dict__
        if self._consumed or "prepath" in made or "postpath" in made:
            return None
        return self._head.path_text

    @property
    def has_nul(self) -> bool:
        """Whether the path has a NUL, which no file or folder can have."""
        return b"%00" in self._head.path

    def consume(self, count: int) -> None:
        """
        Move segments from `postpath` to `prepath`.

        :param count: how many.
        """
        made = self.__dict__
        if "prepath" in made or "postpath" in made:
            self.prepath.extend(self.postpath[:count])
            self.postpath = self.postpath[count:]
        else:
            self._consumed += count

    def stream(self) -> None:
        """Give the handler the body as a stream rather than as `content`."""
        self._stream = StreamedBody(self._head.length, self.channel)

    @Lazy
    def body(self) -> StreamedBody:
        """
        The request's body as a stream, for handlers that are marked for it.

        :raises RuntimeError: if it has been gathered, for one that is not.
        """
        if self._stream is not None:
            return self._stream
        if self._body is not None:
            raise RuntimeError("mark the handler with clusterapp.streamed")
        empty = StreamedBody(0, self.channel)
        empty.ended(())
        return empty

    # From the connection.

    @property
    def responded(self) -> bool:
        """Whether any of the response has been sent."""
        return bool(self.startedWriting)

    def outcome(self) -> tuple[int, int]:
        """Give the status, 0 if none was sent, and the bytes of the body so far."""
        return (self.code, self.sentLength) if self.startedWriting else (0, 0)

    def serve(self) -> None:
        """Serve a request without a body."""
        self.process()

    def begin(self) -> None:
        """Wait for the body, or serve the request while it comes."""
        if self._stream is not None:
            self.process()

    def expected(self) -> None:
        """Ask for the body that the client holds back."""
        self.channel.send_continue()

    def received(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self._stream is not None:
            self.in_context(self._stream.received, piece)
            return
        if self._body is None:
            self._body = Content(self._head.length)
        self._body.add(piece)

    def completed(self, trailers: Fields) -> None:
        """Serve the request: all of it is here."""
        if self._stream is None:
            self.process()
        else:
            self.in_context(self._stream.ended, trailers)

    def lose(self, reason: Failure) -> None:
        """Know that the client has gone."""
        self._disconnected = True
        self.channel = None
        self.drop_body()
        for waiting in self.__dict__.pop("notifications", ()):
            self.in_context(waiting.errback, reason)
        if self._stream is not None:
            self.in_context(self._stream.broken, reason)

    # What twisted.web's requests do, in fewer steps.

    def process(self) -> None:
        """Find the resource, and let it answer in a context of the request's own."""
        context = self._connection.site.context.copy()
        context.run(self._process)
        if forks.is_fork:
            forks.end_fork()
        # Not before: within the handler, what is called is in it already.
        self.context = context

    def _process(self) -> None:
        if self._head.target == b"*":
            self._handleStar()
            return
        site = self.site
        try:
            found = site.resource
            if found is not site.dispatcher:
                if not found.isLeaf:
                    found = site.getResourceFor(self)
                if _IEncodingResource.providedBy(found):
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
        """Let a resource answer."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            super().render(cast("IResource", Again(resrc, error)))
            return
        except Exception:
            if not self._connection.switched:
                raise
            # Error handlers would answer in HTTP.
            self.processingFailed(Failure())
            return
        if body is server.NOT_DONE_YET:
            return
        if type(body) is bytes and self.method != b"HEAD":
            if "responseHeaders" in self.__dict__ and self.code not in BODILESS:
                # Of a body that is here, the length is known better.
                self.responseHeaders.removeHeader(b"content-length")
            self.respond(body)
        elif not isinstance(body, bytes):
            self._render_failed(not_bytes(resrc, body))
        else:
            super().render(cast("IResource", Again(resrc, body)))

    def _render_failed(self, error: TypeError) -> None:
        """Fail, in place of twisted.web's page, which shows values to the client."""
        reason = Failure(error)
        if self.finished:
            self.log_failure(reason, "after the response,")
        else:
            self.processingFailed(reason)

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """
        Give the last line of a field of the request.

        Text that is not UTF-8 is read as latin-1: clients can send anything. A Range
        without a range is left out, as one may (RFC 9110, section 14.2).

        :raises twisted.web.http_headers.InvalidHeaderName: if it is no token.
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
        canonical(key)  # which refuses what is no name
        return None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let a producer follow how fast the client reads.

        :raises ValueError: if there is one already.
        """
        if self.producer:
            raise ValueError(f"there is a producer already: {self.producer}")
        if self.channel is None:  # nobody is there to produce for
            producer.stopProducing()
            return
        self.streamingProducer = streaming
        self.producer = producer
        self.channel.registerProducer(
            ProducerInContext(self.in_context, producer), streaming
        )

    def drop_body(self) -> None:
        """Throw the request's body away."""
        content = self.__dict__.get("content")
        if content is not None:
            content.close()
            if self.finished:
                self.content = None
        if self._body is not None:
            self._body.close()
        elif self._stream is not None and not self._stream.complete:
            self._stream.stopProducing()
