"""The client address of a request, on a site with trusted proxies."""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.site import ClusterSite
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from tests.unit.http.clients import Client, Slow

REPORTED = b"X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\n"


class ClientTests(SynchronousTestCase):
    """What an application asks its request."""

    def request(self, *entries: str, more: bytes = REPORTED) -> Any:
        """Ask a site that trusts these; return the request that it gets."""
        clock, resource = Clock(), Slow()
        site = ClusterSite(clock, resource, proxies=TrustedProxies(entries))
        client = Client(site, clock)
        self.peer = client.transport.getPeer()
        self.addCleanup(client.goes)
        client.send(b"GET /a/b HTTP/1.1\r\nHost: shop.example\r\n%b\r\n" % more)
        self.client = client
        return resource.requests[0]

    def test_behind_a_proxy(self) -> None:
        request = self.request("*")
        self.assertEqual(
            request.getClientAddress(), IPv6Address("TCP", "2001:db8::1", 0)
        )
        self.assertTrue(request.isSecure())
        self.assertEqual(request.transport.getPeer(), self.peer)

    def test_stranger(self) -> None:
        """Nothing that it says counts."""
        request = self.request("10.0.0.0/8")
        self.assertEqual(request.getClientAddress(), self.peer)
        self.assertFalse(request.isSecure())
        self.assertTrue(request.prePathURL().startswith(b"http://shop.example"))

    def test_what_twisted_makes_of_it(self) -> None:
        """URLs and the cookies of sessions."""
        request = self.request("*")
        self.assertTrue(request.prePathURL().startswith(b"https://shop.example"))
        self.assertTrue(str(request.URLPath()).startswith("https://shop.example"))
        session = request.getSession()
        self.addCleanup(session.expire)
        [cookie] = request.cookies
        self.assertIn(b"TWISTED_SECURE_SESSION", cookie)
        self.assertIn(b"Secure", cookie)

    def test_what_a_resource_says(self) -> None:
        """An application that knows better has the last word."""
        request = self.request("10.0.0.0/8", more=b"")
        request.client = IPv4Address("TCP", "192.0.2.9", 0)
        request.setHost(b"inside", 443, ssl=1)
        self.assertEqual(request.getClientAddress().host, "192.0.2.9")
        self.assertTrue(request.isSecure())
        told = self.request("*", more=b"X-Forwarded-Proto: http\r\n")
        told.setHost(b"inside", 443, ssl=1)
        self.assertTrue(told.isSecure())

    def test_after_the_end(self) -> None:
        """As with twisted.web: the address stays, and nothing is secure."""
        request = self.request("*")
        request.finish()
        self.assertEqual(request.getClientAddress().host, "2001:db8::1")
        self.assertFalse(request.isSecure())
