"""
Real balancers in front of a cluster: Debian's nginx and HAProxy.

Each keeps a few connections to the cluster and sends all its clients' requests on
them, one after the other, names the client in X-Forwarded-For, lets WebSockets
through, and sends nothing twice.
"""

import getpass
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from tests.integration.haproxy import haproxy
from tests.integration.running import DEADLINE, Running, eventually
from tests.ports import free_port

#: How many connections that nobody uses at the moment a balancer keeps.
KEPT = 4

_NGINX = Template("""\
daemon off;
user $user;
pid $folder/pid;
error_log stderr;
worker_processes 1;
events { worker_connections 2048; }
http {
    access_log off;
    client_body_temp_path $folder/bodies;
    proxy_temp_path $folder/answers;
    fastcgi_temp_path $folder/unused;
    scgi_temp_path $folder/unused;
    uwsgi_temp_path $folder/unused;
    keepalive_timeout 600s;
    keepalive_requests 1000000;
    map $$http_upgrade $$connection_field { default upgrade; "" ""; }
    upstream cluster {
        server 127.0.0.1:$upstream;
        keepalive $kept;
    }
    server {
        listen 127.0.0.1:$port;
        location / {
            proxy_pass http://cluster;
            proxy_http_version 1.1;
            proxy_next_upstream off;
            proxy_set_header Host $$http_host;
            proxy_set_header X-Forwarded-For $$remote_addr;
            proxy_set_header Upgrade $$http_upgrade;
            proxy_set_header Connection $$connection_field;
        }
    }
}
""")

_HAPROXY = f"""\
listen cluster
    bind {{bind}}
    mode http
    http-reuse always
    retries 0
    option forwardfor
    timeout client 600s
    server cluster 127.0.0.1:{{upstream}} pool-max-conn {KEPT}
"""


@contextmanager
def balanced_by_haproxy(upstream: int) -> Iterator[int]:
    """Run HAProxy in front of a port, while the block runs; gives its own port."""
    with haproxy(_HAPROXY.replace("{upstream}", str(upstream))) as [(_, port)]:
        yield port


@contextmanager
def balanced_by_nginx(upstream: int) -> Iterator[int]:
    """Run nginx in front of a port, while the block runs; gives its own port."""
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as name:
        port = free_port()
        path = Path(name) / "nginx.conf"
        path.write_text(
            _NGINX.substitute(
                user=getpass.getuser(),
                folder=name,
                port=port,
                upstream=upstream,
                kept=KEPT,
            )
        )
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program is not None, "nginx is not installed"
        command = [program, "-e", "stderr", "-c", str(path)]
        running = Running(command, cwd=Path(name))
        try:
            eventually(lambda: _listens(running, port))
            yield port
        finally:
            running.close()


def _listens(running: Running, port: int) -> bool:
    assert running.process.poll() is None, running.text()
    try:
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()
    except ConnectionRefusedError:
        return False
    return True
