"""
Twisted's own resources, unchanged, in real processes.

Each is asked in a worker as a child of the root, in a worker below a Klein, in the
core, and first of all on Twisted's own site, which tells that the question is right.
"""

import base64
import hashlib
import http.client
import re
import socket
import sys
import tempfile
import threading
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event, Request, TextMessage

from tests.integration.running import APPS, DEADLINE, RunningCluster, cluster

_CGI = """\
#!/bin/sh
printf 'Content-Type: text/plain\\r\\nX-Script: yes\\r\\n\\r\\n'
printf '%s %s %s ' "$REQUEST_METHOD" "$QUERY_STRING" "$REMOTE_ADDR"
cat
"""
_RPY = """\
from twisted.web.static import Data
resource = Data(b"from a script", "text/plain")
"""


class _Behind(BaseHTTPRequestHandler):
    """A server behind the reverse proxy."""

    def do_GET(self) -> None:
        self.send_response(201)
        self.send_header("X-Path", self.path)
        self.end_headers()
        self.wfile.write(b"from behind")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Asked:
    """
    A place where the tree is.

    :param port: the port of its server.
    :param prefix: the path of the tree, with a slash at the end.
    """

    def __init__(self, port: int, prefix: str) -> None:
        self.port = port
        self.prefix = prefix

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        **fields: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request on a connection of its own; the fields' `_` are hyphens."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=DEADLINE
        )
        try:
            named = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request(method, self.prefix + path, body=body, headers=named)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, response.read()
        finally:
            connection.close()


@contextmanager
def behind() -> Iterator[int]:
    """Run the server behind the reverse proxy; return its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Behind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def everywhere() -> Iterator[tuple[list[Asked], RunningCluster]]:
    """Serve the tree at all its places: Twisted's own site is the first."""
    with tempfile.TemporaryDirectory(prefix="resources-") as name, behind() as port:
        folder = Path(name)
        (folder / "files").mkdir()
        (folder / "files" / "a.txt").write_text("0123456789" * 10)
        (folder / "files" / "big.bin").write_bytes(bytes(range(256)) * 4096)
        (folder / "files" / "page.html").write_text("<p>page</p>")
        (folder / "files" / "made.rpy").write_text(_RPY)
        (folder / "cgi-bin").mkdir()
        script = folder / "cgi-bin" / "tell"
        script.write_text(_CGI)
        script.chmod(0o755)
        env = {"PYTHONPATH": str(APPS), "RESOURCES": name, "BACKEND": str(port)}
        own = RunningCluster(
            [sys.executable, str(APPS / "twisted_resources.py"), name + "/published"],
            workers=0,
            cwd=folder,
            env=env,
        )
        try:
            own.started()
            flags = ("twisted_resources:root", "--core-app", "twisted_resources:core")
            with cluster("--app", *flags, workers=1, env=env) as running:
                yield (
                    [
                        Asked(own.port, "/"),
                        Asked(running.port, "/"),
                        Asked(running.port, "/klein/tree/"),
                        Asked(running.port, "/core/"),
                    ],
                    running,
                )
        finally:
            own.close()


@pytest.mark.timeout(300)
class ResourceTests(SynchronousTestCase):
    """Every resource answers everywhere as it does on Twisted's own site."""

    #: Each with what it is asked, and what must be in its answer.
    PLAIN: ClassVar = [
        ("", 200, b"root"),
        ("hello/world", 200, b"hello world at http://127.0.0.1:"),
        ("hello/a%2Fb", 200, b"/hello/a%2Fb"),
        ("nowhere", 404, b"No Such Resource"),
        ("files/a.txt", 200, b"0123456789" * 10),
        ("files/big.bin", 200, bytes(range(256)) * 4096),
        ("files/page", 200, b"<p>page</p>"),
        ("files/made.rpy", 200, b"from a script"),
        ("files/", 200, b"Directory listing"),
        ("files/none", 404, b""),
        ("rewrite/alias", 200, b"hello "),
        ("proxy/x?y=z", 201, b"from behind"),
        ("wsgi/a/b", 200, b"wsgi /a/b 0"),
        ("slow", 200, b"first second"),
        ("template", 200, b"<p>an element</p>"),
        ("producer", 200, b"piece piece piece"),
        ("producer?push=1", 200, b"piece piece piece"),
        ("redirect", 302, b""),
        ("basic", 401, b"Unauthorized"),
        ("vhost", 200, b"default host"),
        ("monster/http/shop.example:8080/hello/x", 200, b"http://shop.example:8080/"),
        # Of a length that is known only when the publisher has said `finish`: otherwise
        # a client may have left by then, which twisted.web calls an error.
        ("subscription/hello/far", 200, b"hello far at"),
    ]

    places: ClassVar[list[Asked]]
    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.places, cls.running = cls.enterClassContext(everywhere())

    def test_twisted(self) -> None:
        """What is asked here is answered so by Twisted's own site."""
        self.assert_right(0)

    def test_worker(self) -> None:
        """In a worker, as children of the root."""
        self.assert_right(1)

    def test_worker_below_a_klein(self) -> None:
        self.assert_right(2)

    def test_core(self) -> None:
        """Below a Klein, of which cores are made."""
        self.assert_right(3)

    def test_cgi_in_a_worker(self) -> None:
        """With a body as well, from a process that the worker starts."""
        for place in self.places[:3]:
            self._cgi(place)

    def test_cgi_in_the_core(self) -> None:
        self._cgi(self.places[3])

    def assert_right(self, number: int) -> None:
        """All resources answer at a place, and nothing is wrong in the log."""
        before = len(self.running.lines)
        wrong = list(self._wrong(self.places[number]))
        log = "\n".join(self.running.lines[before:])
        self.assertFalse(wrong, "\n".join([*wrong, log]))
        self.assertNotIn("Traceback", log)

    def _wrong(self, place: Asked) -> Iterator[str]:
        for path, status, text in self.PLAIN:
            if "monster" in path and place.prefix != "/":
                continue  # it starts again from the site's root
            try:
                code, fields, body = place.ask(path)
            except Exception as error:  # noqa: BLE001 - all that is wrong is told
                yield f"{path}: {error!r}"
                continue
            if code != status or text not in body:
                yield f"{path}: {code} {fields} {body[:300]!r}"
        for check in (
            self._ranges,
            self._host,
            self._basic,
            self._digest,
            self._session,
            self._forms,
            self._xmlrpc,
            self._gzip,
            self._websocket,
            self._head,
        ):
            try:
                check(place)
            except Exception as error:  # noqa: BLE001 - all that is wrong is told
                yield f"{check.__name__}: {error!r}"

    def _ranges(self, place: Asked) -> None:
        for value, expected in (
            ("bytes=10-19", b"0123456789"),
            ("bytes=-5", b"56789"),
            ("bytes=0-1,10-11", b"Content-range: bytes 10-11/100"),
        ):
            code, _, body = place.ask("files/a.txt", Range=value)
            self.assertEqual(code, 206)
            self.assertIn(expected, body)

    def _host(self, place: Asked) -> None:
        self.assertEqual(place.ask("vhost", Host="one.example")[2], b"host one")

    def _basic(self, place: Asked) -> None:
        for password, status in ((b"secret", 200), (b"wrong", 401)):
            word = base64.b64encode(b"alice:" + password).decode()
            code, _, _ = place.ask("basic", Authorization=f"Basic {word}")
            self.assertEqual(code, status)

    def _digest(self, place: Asked) -> None:
        code, fields, _ = place.ask("digest")
        self.assertEqual(code, 401)
        asked = dict(re.findall(r'(\w+)="([^"]*)"', fields["www-authenticate"]))
        uri = f"{place.prefix}digest"
        one = _md5(f"alice:{asked['realm']}:secret")
        answer = _md5(f"{one}:{asked['nonce']}:{_md5(f'GET:{uri}')}")
        code, _, body = place.ask(
            "digest",
            Authorization=(
                f'Digest username="alice", realm="{asked["realm"]}",'
                f' nonce="{asked["nonce"]}", opaque="{asked["opaque"]}", uri="{uri}",'
                f' response="{answer}"'
            ),
        )
        self.assertEqual((code, body), (200, b"for alice"))

    def _session(self, place: Asked) -> None:
        _, fields, body = place.ask("visits")
        self.assertEqual(body, b"1")
        cookie = fields["set-cookie"].partition(";")[0]
        self.assertEqual(place.ask("visits", Cookie=cookie)[2], b"2")

    def _forms(self, place: Asked) -> None:
        kind = "application/x-www-form-urlencoded"
        _, _, body = place.ask("upload?q=1", "POST", b"a=b&a=c", Content_Type=kind)
        self.assertEqual(body, b"(True, [(b'a', [b'b', b'c']), (b'q', [b'1'])])")
        part = (
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n'
            b"Content-Type: text/plain\r\n\r\n%b\r\n--x--\r\n" % (b"z" * 100_000)
        )
        kind = "multipart/form-data; boundary=x"
        _, _, body = place.ask("upload", "POST", part, Content_Type=kind)
        self.assertIn(b"(b'f', [b'" + b"z" * 100_000, body)

    def _cgi(self, place: Asked) -> None:
        code, _, body = place.ask("cgi-bin/tell?a=b")
        self.assertEqual((code, body), (200, b"GET a=b 127.0.0.1 "))
        code, fields, body = place.ask("cgi-bin/tell", "POST", b"the body")
        self.assertEqual((code, fields["x-script"]), (200, "yes"))
        self.assertEqual(body, b"POST  127.0.0.1 the body")

    def _xmlrpc(self, place: Asked) -> None:
        call = xmlrpc.client.dumps((2, 3), "add").encode()
        code, _, body = place.ask("xmlrpc", "POST", call, Content_Type="text/xml")
        self.assertEqual(code, 200)
        self.assertEqual(xmlrpc.client.loads(body)[0], (5,))

    def _gzip(self, place: Asked) -> None:
        if place.prefix != "/":
            return  # a Klein asks no resource how to encode
        _, fields, body = place.ask("gzip", Accept_Encoding="gzip")
        self.assertEqual(fields["content-encoding"], "gzip")
        self.assertLess(len(body), 300)

    def _head(self, place: Asked) -> None:
        for path in ("files/a.txt", "hello/x", "wsgi/"):
            code, _, body = place.ask(path, "HEAD")
            self.assertEqual((code, body), (200, b""), path)

    def _websocket(self, place: Asked) -> None:
        websocket = WSConnection(ConnectionType.CLIENT)
        with _connect(place.port) as stream:
            request = Request(host="shop.example", target=f"{place.prefix}websocket")
            stream.sendall(websocket.send(request))
            events: list[Event] = []
            while not any(isinstance(each, TextMessage) for each in events):
                data = stream.recv(65536)
                assert data, events
                websocket.receive_data(data)
                for event in websocket.events():
                    events.append(event)
                    if isinstance(event, AcceptConnection):
                        stream.sendall(websocket.send(TextMessage("again")))
            self.assertEqual(events[-1].data, "again")  # type: ignore[attr-defined]


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=6)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
