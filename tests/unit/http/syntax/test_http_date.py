"""HTTP-dates (RFC 9110, section 5.6.7), and what a request is answered for one."""

from datetime import UTC, datetime
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.http_date import time_of
from tests.unit.http.clients import Client
from tests.unit.http.side_by_side import Calling

FORMS = (
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
)

#: What Twisted's parser takes for dates that are later than the page's.
LENIENT = (
    b"Foo, 09 Nov 2020",
    b"Foo, 99 Nov 2020 08:49:37",
    b"Sun, 06 Nov 2020 08:49:37",
    b"06 Nov 2020 08:49:37 GMT",
    b"Sun, 06 Nov 2020 08:49:37 CET",
    b"Sun, 99 Nov 2020 08:49:37 GMT",
    b"sun, 06 nov 2020 08:49:37 gmt",
    b"Sun, 06 Nov 2020 08:49:37 GMT; length=5",
    b"Sun, 06-Nov-2020 08:49:37 GMT",
)


class DateTests(SynchronousTestCase):
    """What is a date."""

    def test_forms(self) -> None:
        for form in FORMS:
            self.assertEqual(
                time_of(form), datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC), form
            )

    def test_no_date(self) -> None:
        for value in LENIENT:
            self.assertIsNone(time_of(value), value)


class ConditionTests(SynchronousTestCase):
    """If-Modified-Since, where an application names the time of its page."""

    def ask(self, value: bytes) -> bytes:
        def handler(request: Any, _: object) -> bytes:
            request.setLastModified(784_111_777)  # the time of FORMS
            return b"page"

        clock = Clock()
        client = Client(ClusterSite(clock, Calling(handler, [])), clock)
        self.addCleanup(client.goes)
        client.send(
            b"GET / HTTP/1.1\r\nHost: h\r\nIf-Modified-Since: %b\r\n\r\n" % value
        )
        return client.received[9:12]

    def test_dates(self) -> None:
        """Each form counts."""
        for form in FORMS:
            self.assertEqual(self.ask(form), b"304", form)
            self.assertEqual(self.ask(form.replace(b":37", b":36")), b"200", form)

    def test_no_dates(self) -> None:
        """Anything else is ignored."""
        for value in LENIENT:
            self.assertEqual(self.ask(value), b"200", value)
