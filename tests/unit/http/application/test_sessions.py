"""Sessions and logins, by twisted.web and by the engine: alike."""

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.python.components import registerAdapter
from twisted.web.guard import BasicCredentialFactory, HTTPAuthSessionWrapper
from twisted.web.resource import IResource
from twisted.web.server import Session
from zope.interface import Interface, implementer

from tests.unit.http.side_by_side import Answer, Calling, Side, SideBySideTestCase, get


class ICart(Interface):
    """What a session keeps."""


@implementer(ICart)
class Cart(list[bytes]):
    """Some things."""

    def __init__(self, session: Session) -> None:
        super().__init__()


registerAdapter(Cart, Session, ICart)


def fill(request: Any, seen: list[Any]) -> bytes:
    """Put something into the session."""
    cart = request.getSession(ICart)
    cart.append(request.path)
    session = request.getSession()
    seen.append((list(cart), session is request.session, len(request.site.sessions)))
    return b",".join(cart)


def cookie(answer: Answer | None) -> str:
    """Return the name and value of the cookie that is set."""
    assert answer is not None
    (line,) = answer.field(b"set-cookie")
    return line.partition(b";")[0].decode()


class SessionTests(SideBySideTestCase):
    """`getSession`."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(Session, "sessionTimeout", 60)

    def test_is_found_again(self) -> None:
        """By its cookie, on any connection, until it expires."""

        def scenario(side: Side) -> list[Any]:
            site: Any = side.site
            site._entropy = lambda _: b"%d" % len(site.sessions)
            first = side.http_client().ask(get("/1"))
            known = f"Cookie: {cookie(first)}"
            second = side.http_client().ask(get("/2", known))
            side.clock.advance(40)
            third = side.http_client().ask(get("/3", known))
            side.clock.advance(40)
            fourth = side.http_client().ask(get("/4", known))
            side.clock.advance(61)
            fifth = side.http_client().ask(get("/5", known))
            side.clock.advance(61)
            return [first, second, third, fourth, fifth, site.sessions]

        self.alike(lambda seen: Calling(fill, seen), scenario)

    def test_twice_in_one_request(self) -> None:
        """It is one, and its cookie is set once, even if it expires."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.site._entropy = lambda _: b"e"
            seen.append(request.session)
            first = request.getSession()
            seen.append(request.getSession() is first)
            seen.append(len(request.cookies))
            first.expire()
            seen.append(request.getSession() is first)
            seen.append(list(request.cookies))
            return b""

        self.called(handler, get())

    def test_secure(self) -> None:
        """A secure request has two, with a cookie for each."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.site._entropy = lambda _: b"%d" % len(request.site.sessions)
            request.setHost(b"shop.example", 443, ssl=True)
            one, other = request.getSession(), request.getSession(forceNotSecure=True)
            seen.extend((one is other, one is request.session, request.cookies))
            one.expire()
            other.expire()
            return b""

        (answer,) = self.called(handler, get())
        self.assertEqual(len(answer.field(b"set-cookie")), 2)

    def test_cookie_of_nobody(self) -> None:
        """A name that the site has not given makes a new session."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.site._entropy = lambda _: b"e"
            seen.append(request.getSession().uid)
            request.getSession().expire()
            return b""

        self.called(handler, get("/", "Cookie: TWISTED_SESSION=made-up"))


class LoginTests(SideBySideTestCase):
    """`HTTPAuthSessionWrapper`."""

    def test_basic(self) -> None:
        """Requests with the password are served; others get a 401."""

        def root(seen: list[Any]) -> IResource:
            @implementer(IRealm)
            class Realm:
                def requestAvatar(self, who: Any, _: Any, *kinds: Any) -> Any:
                    welcome = Calling(lambda *_: b"welcome, " + who, seen)
                    return IResource, welcome, lambda: seen.append("logged out")

            checker = InMemoryUsernamePasswordDatabaseDontUse(user=b"pass")
            return HTTPAuthSessionWrapper(
                Portal(Realm(), [checker]), [BasicCredentialFactory(b"shop")]
            )

        answers = self.answers(
            root,
            get("/a/b"),
            get("/a/b", "Authorization: Basic dXNlcjpwYXNz"),
            get("/", "Authorization: Basic dXNlcjpuby1wYXNz"),
            get("/", "Authorization: Basic !"),
            get("/", "Authorization: Other x"),
        )
        self.assertEqual(
            [answer.status[:3] for answer in answers],
            [b"401", b"200", b"401", b"401", b"401"],
        )
        self.flushLoggedErrors()
