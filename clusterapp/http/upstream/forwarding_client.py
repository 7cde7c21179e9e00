"""
The treq client of a reverse proxy, on the agent with the connections to an upstream.

treq's conveniences are switched off by what is passed to it: no cookie is stored, no
redirect followed, no body decoded or kept, and the request is not changed.
"""

from collections.abc import Callable, Iterator
from http.cookiejar import Cookie
from typing import Any, Final

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred
from twisted.python.url import URL
from twisted.web.iweb import IBodyProducer

from clusterapp.http.syntax.message_head import RequestHead, ResponseHead
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.forwarded_headers import ForwardedHeaders
from clusterapp.http.upstream.upstream_response import WireResponse


class _NoCookies(IndexableCookieJar):
    """A cookie jar that stays empty: cookies are between client and application."""

    def __iter__(self) -> Iterator[Cookie]:
        return iter(())

    def add_cookie_header(self, request: object) -> None:
        """Add no cookie."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Store no cookie."""


class _UpstreamURL(URL):
    """
    The URL of an upstream (treq's `EncodedURL`), whose text is not computed each time.

    It has no target: that is in the head, byte for byte.  With the same URL for all
    requests, `urllib.parse` remembers the parts that Twisted's `CookieAgent` asks for.

    :param text: the URL.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        super().__init__(scheme="http", host="upstream", path=("",))
        self._text = text

    def to_uri(self) -> "_UpstreamURL":
        """Return this URL: it is a URI."""
        return self

    def to_text(self, with_password: bool = False) -> str:  # noqa: ARG002
        """Return the URL as text."""
        return self._text


_NO_COOKIES: Final = _NoCookies()
_URL: Final = _UpstreamURL("http://upstream/")


class ForwardingClient:
    """
    Sends requests to an upstream by way of treq, target and fields byte for byte.

    :param agent: the agent, which sends `ForwardedHeaders` as they are.
    :param clock: the reactor; treq imports the global one if it is passed none.
    """

    __slots__ = ("_clock", "_request", "agent")

    def __init__(self, agent: CoreAgent, clock: Any) -> None:
        self.agent = agent
        self._clock = clock
        self._request: Callable[..., Deferred[Any]] = HTTPClient(
            agent, _NO_COOKIES, data_to_body_producer=_unchanged
        ).request

    def send(
        self,
        head: RequestHead,
        body: IBodyProducer | None = None,
        interim: Callable[[ResponseHead], None] | None = None,
    ) -> Deferred[Any]:
        """
        Send a request as `CoreAgent.send` does, with the same failures.

        :param head: the request's head.
        :param body: produces the body.
        :param interim: called with each 1xx response that precedes the final one.
        :return: a Deferred of treq's response; see `received`.
        """
        return self._request(
            head.method.decode("ascii"),
            _URL,
            headers=ForwardedHeaders(head, interim),
            data=body,
            cookies=_NO_COOKIES,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,
        )


def received(response: Any) -> WireResponse:
    """Return the response as the agent has received it: treq's is a proxy for it."""
    wire: WireResponse = response.original
    return wire


def _unchanged(body: IBodyProducer) -> IBodyProducer:
    return body
