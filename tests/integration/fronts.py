"""nginx and HAProxy, run by configurations that `clusterctl export` has written."""

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    Running,
    RunningCluster,
    children_of,
    clean_environment,
    eventually,
)
from tests.ports import free_port

#: What Debian's /etc/nginx/nginx.conf has of interest, with paths of a test's own.
_NGINX = """\
{user}
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    # As Debian's default site.
    server {{ listen {listen} default_server; server_name _; return 418; }}
    include site.conf;
}}
"""

_HAPROXY = """\
global
    stats socket {stats} mode 600 level admin expose-fd listeners
"""


def clusterctl(cluster: RunningCluster, *words: str) -> str:
    """Run a command of ``clusterctl`` on a cluster; return its output."""
    command = cast("list[str]", cluster.process.args)
    state = command[command.index("--state") + 1]
    return subprocess.run(
        [str(SCRIPTS / "clusterctl"), "--state", state, *words],
        env=clean_environment(),
        capture_output=True,
        check=True,
        text=True,
        timeout=DEADLINE,
    ).stdout


class Front:
    """
    A proxy that runs in front of a cluster.

    :param command: starts it in the foreground.
    :param folder: where its files are.
    :param port: where it listens.
    :param reload: the signal that has it read its configuration anew.
    :param also: tells whether what else a test needs of it is there, too.
    """

    def __init__(
        self,
        command: list[str],
        folder: Path,
        port: int,
        reload: signal.Signals,
        also: Callable[[], bool] = lambda: True,
    ) -> None:
        self.port = port
        self._reload = reload
        self.running = Running(command, cwd=folder)
        try:
            eventually(self._listens)
            eventually(also)
        except AssertionError:
            self.close()
            raise AssertionError(self.running.text()) from None

    def reload(self) -> None:
        """Reload the server, and wait until its old worker processes have exited."""
        master = self.running.process.pid
        before = children_of(master)
        self.running.signal(self._reload)
        eventually(lambda: bool(children_of(master) - before))
        eventually(lambda: not children_of(master) & before)

    def close(self) -> None:
        """End it."""
        self.running.close()

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request, on a connection of its own if none is given."""
        used = connection or self.connection()
        try:
            used.request(method, target, body=body, headers=dict(headers or {}))
            response = used.getresponse()
            return response.status, response.headers, response.read()
        finally:
            if connection is None:
                used.close()

    def get(self, target: str, **headers: str) -> bytes:
        """Get what must be there; underscores in names of fields are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, body = self.request("GET", target, headers=named)
        if status != 200:
            raise AssertionError(f"{target}: {status} {body!r}\n{self.running.text()}")
        return body

    def who(self, target: str = "/who", **headers: str) -> dict[str, Any]:
        """Request what a worker reports of itself and of the request's fields."""
        answer: dict[str, Any] = json.loads(self.get(target, **headers))
        return answer

    def connection(self, source: str = "127.0.0.1") -> http.client.HTTPConnection:
        """
        Make a connection that can be kept.

        :param source: the address of this machine's loopback that it comes from.
        """
        return http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=DEADLINE, source_address=(source, 0)
        )

    def _listens(self) -> bool:
        if self.running.process.poll() is not None:
            raise AssertionError(self.running.text())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def nginx(site: str, folder: Path) -> Front:
    """Run nginx with a site as it was printed, but for its port."""
    port = free_port()
    listen = f"127.0.0.1:{port}"
    assert site.count("    listen 80;\n") == 1
    user = "user root;" if os.geteuid() == 0 else ""  # it reads a folder of the test
    (folder / "nginx.conf").write_text(_NGINX.format(user=user, listen=listen))
    (folder / "site.conf").write_text(site.replace("listen 80;", f"listen {listen};"))
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    return Front(command, folder, port, signal.SIGHUP)


def haproxy(site: str, folder: Path) -> Front:
    """Run HAProxy with its proxies as they were printed, but for the port."""
    port = free_port()
    assert site.count("    bind :80\n") == 1
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(stats=folder / "stats"))
    bound = site.replace("bind :80\n", f"bind 127.0.0.1:{port}\n")
    (folder / "site.cfg").write_text(bound)
    command = ["haproxy", "-W", "-db", "-f", "haproxy.cfg", "-f", "site.cfg"]
    return Front(
        command, folder, port, signal.SIGUSR2, lambda: _answers(folder / "stats")
    )


def servers(folder: Path) -> dict[str, dict[str, str]]:
    """Return what HAProxy says of each server, by its statistics."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(folder / "stats"))
        asked.sendall(b"show stat\n")
        text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    heading, *rows = (line.split(",") for line in text.splitlines() if line)
    found = [dict(zip(heading, row, strict=True)) for row in rows]
    ends = {"FRONTEND", "BACKEND"}
    return {row["svname"]: row for row in found if row["svname"] not in ends}


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
