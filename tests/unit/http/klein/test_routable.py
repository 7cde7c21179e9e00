"""The path that Klein routes."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from klein import Klein
from klein.interfaces import IKleinRequest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request, Site
from twisted.web.test.requesthelper import DummyChannel

from clusterapp.http.syntax.target_path import routed_path
from tests.unit.http.klein.routable_requests import PlainRoutable

_paths = st.lists(
    st.sampled_from(["/", "//", "a", "%2F", "%2f", "%", "%C3%B6", "%FF", "\xf6", "%00"])
).map(lambda parts: "/".join(["", *parts]).encode() or b"/")


class RoutedPathTests(SynchronousTestCase):
    """It is what Klein makes of a path, by way of twisted.web."""

    def kleins(self, path: bytes) -> str | None:
        """Ask Klein itself."""
        request: Any = Request(DummyChannel(), parsePOSTFormSubmission=False)
        request.channel.site = Site(Klein().resource())
        request.method, request.path, request.uri = b"GET", path, path
        request.clientproto = b"HTTP/1.1"
        request.requestHeaders.setRawHeaders("host", ["a"])
        request.process()
        self.flushLoggedErrors(UnicodeDecodeError)
        known = IKleinRequest(request)
        return known.mapper.path_info if hasattr(known, "mapper") else None

    @given(_paths)
    @example(b"//a")
    @example(b"/%2Fa")
    @example(b"/")
    def test_as_klein_does(self, path: bytes) -> None:
        """With quoted slashes, repeated ones, and what is not UTF-8."""
        self.assertEqual(routed_path(path), self.kleins(path))

    def test_examples(self) -> None:
        self.assertEqual(routed_path(b"/a/b%20c"), "/a/b c")
        self.assertEqual(routed_path(b"//a"), "/a")
        self.assertEqual(routed_path(b"/%C3%B6"), "/\xf6")
        self.assertIsNone(routed_path(b"/%FF"))


class RoutableTests(SynchronousTestCase):
    """A request that may be routed."""

    def setUp(self) -> None:
        self.request = PlainRoutable(DummyChannel(), parsePOSTFormSubmission=False)

    def test_ends_when_it_is_finished(self) -> None:
        self.assertIs(self.request.ended, False)
        self.request.clientproto = b"HTTP/1.1"
        self.request.finish()
        self.assertIs(self.request.ended, True)

    def test_ends_when_the_client_leaves(self) -> None:
        self.request.connectionLost(Failure(ConnectionDone()))
        self.assertIs(self.request.ended, True)
