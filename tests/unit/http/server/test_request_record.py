"""What a site notes of the requests that it serves, for when its process is killed."""

from mmap import mmap

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.request_record import SIZE, ChildRequests, RequestRecord
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client
from tests.unit.http.wire import Slow, get, post


class RequestRecordTests(SynchronousTestCase):
    """A request is there from its head until it has ended, however that is."""

    def setUp(self) -> None:
        self.requests = ChildRequests()
        self.addCleanup(self.requests.close)
        self.application = Slow()
        self.clock = Clock()
        self.site = ClusterSite(self.clock, self.application)
        self.site.request_record = RequestRecord(mmap(self.requests.descriptor, SIZE))
        self.client = Client(self.site, self.clock)

    def test_answered(self) -> None:
        self.client.send(get(b"Cookie: a=b"))
        self.assertEqual(self.requests.under_way(), ["GET /"])
        self.application.answer()
        self.assertEqual(self.requests.under_way(), [])
        self.client.send(get())
        self.assertEqual(self.requests.under_way(), ["GET /"])

    def test_client_goes(self) -> None:
        self.client.send(get())
        self.client.goes()
        self.assertEqual(self.requests.under_way(), [])

    def test_refused(self) -> None:
        """Its body turns out to be no good."""
        self.client.send(post(b"Transfer-Encoding: chunked"))
        self.assertEqual(self.requests.under_way(), ["POST /"])
        self.client.send(b"x\r\n")
        self.assertEqual(self.requests.under_way(), [])

    def test_no_request(self) -> None:
        self.client.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
        self.assertEqual(self.requests.under_way(), [])
