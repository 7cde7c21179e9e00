"""Exported configurations of nginx and HAProxy: the facts that matter in each."""

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import ExportError
from tests.unit.control.exports.exporting import export


class NginxTests(SynchronousTestCase):
    """The file for conf.d."""

    def test_public_port(self) -> None:
        text = export("nginx")
        self.assertIn("    server 127.0.0.1:8080;\n", text)
        self.assertIn("    keepalive 32;\n", text)
        self.assertNotIn("hash", text)
        self.assertEqual(text.count("listen "), 1)
        self.assertNotIn("NOT YET RIGHT", text)

    def test_worker_ports(self) -> None:
        text = export("nginx", worker_ports=3001)
        for line in (
            "least_conn;",
            "server 127.0.0.1:3001 max_fails=0;  # slot 0",
            "server 127.0.0.1:3002 max_fails=0;  # slot 1",
            "keepalive 64;",
        ):
            self.assertIn(f"    {line}\n", text)
        self.assertNotIn("8080", text)

    def test_sticky_keys(self) -> None:
        """By worker ports where nginx has a variable for it, else the public port."""
        for sticky, variable in (
            ("client-ip", "$remote_addr"),
            ("header:X-Session_Id", "$http_x_session_id"),
            ("query:sid", "$arg_sid"),
            ("query:s-id", None),
            ("header:X.Session", None),
            ("cookie", None),
        ):
            text = export("nginx", worker_ports=3001, dispatch="sticky", sticky=sticky)
            self.assertEqual("server 127.0.0.1:8080;" in text, variable is None, sticky)
            self.assertEqual("consistent;" in text, variable is not None, sticky)
            if variable is not None:
                self.assertIn(variable, text)
        self.assertNotIn("underscores_in_headers", text)

    def test_unusual_fields(self) -> None:
        """Those that nginx would drop are let through."""
        for sticky, line in (
            ("header:X_Sid", "underscores_in_headers on;"),
            ("header:X.Sid", "ignore_invalid_headers off;"),
        ):
            self.assertIn(line, export("nginx", dispatch="sticky", sticky=sticky))

    def test_limits(self) -> None:
        text = export(
            "nginx", max_body=5000, keepalive_timeout=30, core_timeout=90,
            request_timeout=20,
        )  # fmt: skip
        self.assertIn("client_max_body_size 5000;", text)
        self.assertIn("keepalive_timeout 25s;", text)
        self.assertIn("proxy_read_timeout 100s;", text)
        self.assertIn("proxy_read_timeout 3600s;", export("nginx"))

    def test_static_files(self) -> None:
        text = export("nginx")
        self.assertIn('location "/static/" {', text)
        self.assertIn('root "/srv/shop/static";', text)
        self.assertIn('add_header Cache-Control "no-cache";', text)
        self.assertIn('"max-age=60"', export("nginx", static_max_age=60))

    def test_pattern_of_static_files(self) -> None:
        static = {"url": "/a.b/", "folder": "/s"}
        text = export("nginx", told={"static": static})
        [quoted] = re.findall(r'location ~ "(.*)"', text)
        pattern = quoted.replace("\\\\", "\\").replace("(?<", "(?P<")
        for path, sent in (
            ("/a.b/app.css", True),
            ("/a.b/deep/er/é.js", True),
            ("/axb/app.css", False),
            ("/a.b/.hidden.css", False),
            ("/a.b/.git/app.css", False),
            ("/a.b/../app.css", False),
            ("/a.b//app.css", False),
            ("/a.b/back\\slash.css", False),
            ("/a.b/app.css.php", False),
            ("/a.b/.css", False),
        ):
            self.assertEqual(re.search(pattern, path) is not None, sent, path)

    def test_no_static_files(self) -> None:
        """There are none; or nginx would take the folder's name for a variable."""
        for static in (None, {"url": "/static/", "folder": "/srv/$shop"}):
            self.assertNotIn("static", export("nginx", told={"static": static}))

    def test_by_the_workers_word(self) -> None:
        text = export("nginx", sendfile_header="X-Accel-Redirect=/internal/")
        self.assertIn("location /internal/ {", text)
        self.assertIn('alias "/srv/shop/static/";', text)
        self.assertNotIn("try_files", text)
        error = self.assertRaises(
            ExportError, export, "nginx", sendfile_header="X-Sendfile"
        )
        self.assertIn("X-Sendfile", str(error))

    def test_encrypted_listener(self) -> None:
        text = export("nginx", listen=("tls:8443:certificate=c:key=k",))
        self.assertIn("proxy_pass https://shop;", text)

    def test_names_that_are_no_names(self) -> None:
        path = '/run/a "b\\.sock'
        text = export("nginx", listen=("unix:" + path.replace("\\", "\\\\"),))
        self.assertIn('server "unix:/run/a \\"b\\\\.sock";', text)

    def test_proxy_that_is_not_trusted(self) -> None:
        """It works, and says what is still to be done."""
        self.assertIn("NOT YET RIGHT", export("nginx", trusted_proxies=("10.0.0.1",)))


class HaproxyTests(SynchronousTestCase):
    """HAProxy's proxies."""

    def test_public_port(self) -> None:
        text = export("haproxy", agent_check="tcp:9990")
        self.assertIn("    server public 127.0.0.1:8080\n", text)
        for absent in ("balance", "agent", "httpchk", "NOT YET RIGHT"):
            self.assertNotIn(absent, text)

    def test_health(self) -> None:
        text = export("haproxy", health_path="/healthz")
        self.assertIn("    option httpchk GET /healthz\n", text)

    def test_sticky_keys(self) -> None:
        for sticky, line in (
            ("client-ip", "balance source"),
            ("header:X-Sid", "balance hdr(X-Sid)"),
            ("query:sid", "balance url_param 'sid'"),
            ("cookie:sid", "cookie 'sid' insert indirect nocache httponly"),
        ):
            chosen: Any = {"worker_ports": 3001, "dispatch": "sticky", "sticky": sticky}
            text = export("haproxy", **chosen)
            self.assertIn(f"    {line}", text)
            hashed = not sticky.startswith("cookie")
            self.assertEqual("hash-type consistent" in text, hashed)
            self.assertEqual("server slot1 127.0.0.1:3002 cookie 1" in text, not hashed)
        self.assertIn("balance leastconn", export("haproxy", worker_ports=3001))

    def test_agent(self) -> None:
        """Clients that stay are not moved by a lag."""
        chosen: Any = {"worker_ports": 3001, "agent_check": "tcp:9990"}
        text = export("haproxy", **chosen)
        self.assertIn("agent-addr 127.0.0.1 agent-port 9990", text)
        self.assertIn(r'server slot1 127.0.0.1:3002 agent-send "slot 1\n"', text)
        text = export("haproxy", **chosen, dispatch="sticky", sticky="client-ip")
        self.assertIn(r'agent-send "slot 1 sticky\n"', text)

    def test_how_the_public_port_is_spoken_to(self) -> None:
        for spec, line in (
            ("tcp:80:proxy=v1", "server public 127.0.0.1:80 send-proxy"),
            ("tcp:80:proxy=auto", "server public 127.0.0.1:80 send-proxy-v2"),
            (
                "tls:443:certificate=c:key=k:proxy=v2",
                "server public 127.0.0.1:443 ssl verify none send-proxy-v2",
            ),
            ("unix:/run/a.sock", "server public 'unix@/run/a.sock'"),
        ):
            text = export("haproxy", listen=(spec,))
            self.assertTrue(text.endswith(f"    {line}\n"), text)
            self.assertEqual("check-send-proxy" in text, "proxy=" in spec)

    def test_what_it_cannot_do(self) -> None:
        for chosen in (
            {"sendfile_header": "X-Sendfile"},
            {"listen": ("unix:/run/a'b",)},
            {"listen": ("tls:443:certificate=c:key=k:ca=a",)},
        ):
            self.assertRaises(ExportError, export, "haproxy", **chosen)
