"""Forms, in real workers and in a real core."""

from http.client import HTTPConnection

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, DEADLINE, RunningCluster, cluster

MIB = 1024**2
URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="a"%b\r\n\r\n1\r\n'
#: A form of one large file.
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n'
    + b"1" * 8 * MIB
    + b"\r\n--b--\r\n"
)


class FormTests(SynchronousTestCase):
    """`--max-form-fields` and `--max-form-size`, on either side."""

    def post(
        self, running: RunningCluster, path: str, kind: str, body: bytes
    ) -> tuple[int, bytes]:
        """Send a form."""
        connection = HTTPConnection("127.0.0.1", running.port, timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.request("POST", path, body, {"Content-Type": kind})
        response = connection.getresponse()
        return response.status, response.read()

    def test_bounds(self) -> None:
        """Forms that are too large are refused, others are read, and all go on."""
        few = b"&".join([b"a=1"] * 20)
        with cluster(
            *("--app", "forms:app", "--max-form-fields", "20"),
            *("--max-form-size", "2 MiB"),
            workers=1,
            env={"PYTHONPATH": str(APPS)},
        ) as running:
            running.get("/core/ping")
            for path in ("/form", "/core/form"):
                for kind, body, status in (
                    (URL_ENCODED, few, 200),
                    (URL_ENCODED, few + b"&a=1", 413),
                    (URL_ENCODED, b";" * 8 * MIB, 413),
                    (URL_ENCODED, b"a&" * 4 * MIB, 413),
                    (URL_ENCODED, b"a=" + b"%41" * (MIB // 2), 200),
                    (URL_ENCODED, b"a=" + b"%41" * MIB, 413),
                    (MULTIPART, PART % b"" * 20 + b"--b--\r\n", 200),
                    (MULTIPART, PART % b"" * 21 + b"--b--\r\n", 413),
                    (MULTIPART, FILE, 200),
                    (MULTIPART, FILE.replace(b"filename", b"no-file"), 413),
                    (MULTIPART, PART % (b"; a=b" * 300_000) + b"--b--\r\n", 413),
                    (MULTIPART, PART % b"", 400),
                ):
                    answer = self.post(running, path, kind, body)
                    self.assertEqual(answer[0], status, (path, kind, body[:60]))
                    self.assertEqual(running.get("/ping"), b"pong")
