"""
What is left of a request when it is over, by twisted.web and by the engine.

It is the same, but for this, on purpose: `channel` is None, where twisted.web has no
such attribute after a response, and None after a lost connection.
"""

from typing import Any

from twisted.web.server import NOT_DONE_YET

from tests.unit.http.side_by_side import (
    Calling,
    Side,
    SideBySideTestCase,
    get,
    plain,
    post,
)


class EndTests(SideBySideTestCase):
    """What is left of a request when it is over."""

    def left(self, request: Any) -> dict[str, Any]:
        """Look at what may be looked at then."""
        there = plain(request)
        del there["notifications"]  # which are being made at the moment
        there["still"] = (
            request.isSecure(),
            request.getClientAddress(),
            request.getHost(),
            request.transport is not None,
            request.getHeader(b"host"),
            request.requestHeaders.getRawHeaders(b"host"),
            request.getRequestHostname(),
            getattr(request, "channel", None),
        )
        for name in ("content-type", "content-length", "x-set", "set-cookie"):
            there[name] = request.responseHeaders.getRawHeaders(name)
        return there

    def test_after_the_response(self) -> None:
        """All but the body can be looked at, for the first time or again."""
        for touch in ((), ("client", "content", "args", "requestHeaders", "prepath")):

            def handler(request: Any, seen: list[Any], touch: Any = touch) -> bytes:
                for name in touch:
                    getattr(request, name)
                request.setHeader(b"x-set", b"1")

                def ended(_: Any) -> None:
                    seen.extend((self.left(request), request.content))

                request.notifyFinish().addCallback(ended)
                return b"hello"

            self.called(handler, get("/x?a=b"), get(method="HEAD"))

    def test_nobody_waits_for_the_end(self) -> None:
        """A request that is kept shows what was sent; its body is closed."""
        for body in (b"hello", b""):
            kept = []

            def handler(request: Any, seen: list[Any], body: bytes = body) -> bytes:
                kept.append((request, request.content))  # noqa: B023
                return body

            self.called(handler, get())
            theirs, ours = (self.left(request) for request, _ in kept)
            del theirs["still"], ours["still"]
            self.assertEqual(ours, theirs)
            for request, content in kept:
                self.assertTrue(content.closed)
                self.assertIsNone(request.content)

    def test_fields_that_were_sent_at_once(self) -> None:
        """The type and the length are there as if the application had set them."""
        for body in (b"hello", b""):
            kept = []

            def handler(request: Any, seen: list[Any], body: bytes = body) -> bytes:
                kept.append(request)  # noqa: B023
                return body

            self.called(handler, get())
            self.assertEqual(*(_sent(request) for request in kept))

    def test_what_was_sent(self) -> None:
        """The tag and the cookies are there for who looks at them late."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.setETag(b'"a"')
            request.addCookie("a", "b")
            request.notifyFinish().addCallback(
                lambda _: seen.append((request.etag, request.cookies))
            )
            return b"hello"

        self.called(handler, get())

    def test_after_a_lost_connection(self) -> None:
        """The same, and the body's file is closed."""

        def handler(request: Any, seen: list[Any]) -> int:
            request.notifyFinish().addErrback(
                lambda why: seen.extend(
                    (why.type, self.left(request), request.content.closed)
                )
            )
            return NOT_DONE_YET

        def scenario(side: Side) -> None:
            for raw in (get("/x?a=b"), post(b"abc")):
                http_client = side.http_client()
                http_client.ask(raw)
                http_client.goes()

        self.alike(lambda seen: Calling(handler, seen), scenario)


def _sent(request: Any) -> list[Any]:
    return [
        request.responseHeaders.getRawHeaders(name)
        for name in ("content-type", "content-length", "x-none")
    ]
