"""The exported configuration in nginx."""

import re

from tests.integration.exporting import IMMUTABLE, ExportCase
from tests.integration.fronts import clusterctl, nginx
from tests.integration.running import eventually


class NginxTests(ExportCase):
    """nginx, as Debian has it."""

    program, start = "nginx", staticmethod(nginx)

    def test_public_port(self) -> None:
        self.assert_serves(self.front(self.cluster()))

    def test_unix_socket(self) -> None:
        """Where there is nothing else that is not encrypted, or expects more."""
        path = self.folder / "a b.sock"
        running = self.cluster("--listen", f"unix:{path}")
        site = clusterctl(running, "export", "nginx")
        address = re.search(r"server (127\S+);", site)
        assert address is not None
        front = nginx(site.replace(address[1], f'"unix:{path}"'), self.folder)
        self.addCleanup(front.close)
        self.assertEqual(front.get("/counted"), b"the core")

    def test_worker_ports(self) -> None:
        running = self.with_ports()
        front = self.front(running)
        self.assert_serves(front)
        self.assert_nothing_is_lost(running, front)

    def test_largest_body(self) -> None:
        front = self.front(self.cluster("--max-body", "1000"))
        self.assertEqual(front.request("POST", "/length", b"x" * 1000)[2], b"1000")
        self.assertEqual(front.request("POST", "/length", b"x" * 1001)[0], 413)

    def test_known_by_a_field(self) -> None:
        """A client stays, whatever becomes of its worker, and of nginx."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "header:X_Sid")
        front = self.front(running)

        def ask(key: str) -> int:
            _, _, body = front.request("GET", "/who", headers={"X_Sid": key})
            return int(re.findall(rb'"slot": (\d+)', body)[0])

        self.assert_stays(running, front, ask)

    def test_known_by_a_parameter(self) -> None:
        self.assert_known_by_a_parameter()

    def test_known_by_the_address(self) -> None:
        self.assert_known_by_the_address()

    def test_known_by_a_cookie(self) -> None:
        """By the server itself, at its public port, for nginx cannot."""
        running = self.with_ports("--dispatch", "sticky", "--sticky", "cookie:sid")
        front = self.front(running)
        for _ in range(8):
            _, headers, body = front.request("GET", "/who")
            cookie = headers["Set-Cookie"].partition(";")[0]
            slot = int(re.findall(rb'"slot": (\d+)', body)[0])
            for _ in range(4):
                self.assertEqual(front.who(Cookie=cookie)["slot"], slot)

    def test_static_files(self) -> None:
        """The proxy sends what it may, as a worker would; a worker sends the rest."""
        (self.folder / "secret.css").write_text("not below the folder")
        (self.static / "link.css").symlink_to("../secret.css")
        (self.static / ".hidden.css").write_text("hidden")
        (self.static / "deep").mkdir()
        (self.static / "deep" / "a b.txt").write_text("déjà vu", "utf-8")
        (self.static / "data.xyz").write_text("rare")
        running = self.cluster("--static-max-age", "3600")
        front = self.front(running)
        marked = running.get("/stylesheet").decode()
        for target, by_nginx in (
            ("/static/app.css", True),
            ("/static/deep/a%20b.txt", True),
            ("/static/data.xyz", False),
            (marked, False),
            ("/static/none.css", False),
            ("/static/link.css", False),
            ("/static/.hidden.css", False),
            ("/static/deep", False),
        ):
            ours_status, ours, our_body = running.request("GET", target)
            status, headers, body = front.request("GET", target)
            self.assertEqual((status, body), (ours_status, our_body), target)
            for name in ("Content-Type", "Cache-Control", "X-Content-Type-Options"):
                self.assertEqual(headers[name], ours.get(name), (target, name))
            # Both make an entity tag, and not the same.
            own = headers["ETag"] is not None and headers["ETag"] != ours.get("ETag")
            self.assertEqual(own, by_nginx, target)

    def test_static_files_in_time(self) -> None:
        """A fingerprint is for ever if it fits; a file that is edited shows at once."""
        running = self.cluster()
        front = self.front(running)
        marked = front.get("/stylesheet").decode()
        for target, caching in (("/static/app.css", "no-cache"), (marked, IMMUTABLE)):
            _, headers, body = front.request("GET", target)
            self.assertEqual(body, b"body { margin: 0 }")
            self.assertEqual(headers["Cache-Control"], caching)
        packed = {"Accept-Encoding": "gzip"}
        _, headers, body = front.request("GET", "/static/app.css", headers=packed)
        self.assertEqual((headers["Content-Encoding"], body[:2]), ("gzip", b"\x1f\x8b"))
        self.assertEqual(headers["Vary"], "Accept-Encoding")
        (self.static / "app.css").write_text("body { margin: 1px }")
        self.assertEqual(front.get("/static/app.css"), b"body { margin: 1px }")
        eventually(
            lambda: front.request("GET", marked)[1]["Cache-Control"] != IMMUTABLE
        )

    def test_static_files_by_the_workers_word(self) -> None:
        prefix = "X-Accel-Redirect=/internal/static/"
        front = self.front(self.cluster("--sendfile-header", prefix))
        marked = front.get("/stylesheet").decode()
        _, headers, body = front.request("GET", marked)
        self.assertEqual((headers["Cache-Control"], body[:4]), (IMMUTABLE, b"body"))
        self.assertEqual(front.request("GET", "/internal/static/app.css")[0], 404)
