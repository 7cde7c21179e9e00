"""A real HAProxy, for tests that put one in front of a cluster."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.running import DEADLINE, Running

_DEFAULTS = """\
defaults
    timeout connect 10s
    timeout client 30s
    timeout server 30s
"""


@contextmanager
def haproxy(*sections: str) -> Iterator[list[tuple[str, int]]]:
    """
    Run HAProxy, with a port for each section of its configuration.

    :param sections: the sections; ``{bind}`` in each becomes its address to bind.
    :return: the addresses of the sections, in which clients may connect at once.
    """
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None, "HAProxy is not installed"
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in sections]
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as name:
        # It inherits the sockets, so that no port can be taken meanwhile.
        written = [
            section.replace("{bind}", f"fd@{port.fileno()}")
            for section, port in zip(sections, ports, strict=True)
        ]
        file = Path(name) / "haproxy.cfg"
        file.write_text("\n".join([_DEFAULTS, *written, ""]))
        running = Running(
            [program, "-db", "-f", str(file)],
            cwd=Path(name),
            pass_fds=[port.fileno() for port in ports],
        )
        try:
            yield [port.getsockname() for port in ports]
        finally:
            for port in ports:
                port.close()
            running.close()
            assert "[ALERT]" not in running.text(), running.text()


def through(address: tuple[str, int], *, source: str = "127.0.0.1") -> socket.socket:
    """Connect to a port of HAProxy from an address of this machine's loopback."""
    return socket.create_connection(address, DEADLINE, (source, 0))
