"""Status lines."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.status_line import status_line


class StatusLineTests(SynchronousTestCase):
    """What each status is called."""

    def test_known_to_twisted(self) -> None:
        self.assertEqual(status_line(200), b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(status_line(408), b"HTTP/1.1 408 Request Time-out\r\n")

    def test_known_to_python_alone(self) -> None:
        self.assertEqual(
            status_line(431), b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        )

    def test_known_to_nobody(self) -> None:
        self.assertEqual(status_line(799), b"HTTP/1.1 799 Unknown Status\r\n")
