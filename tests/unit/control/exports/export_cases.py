"""Clusters whose exports are recorded in ``golden_exports/``, one file per program."""

import difflib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from clusterapp.control.arguments import PROGRAMS
from clusterapp.control.exports.facts import HostFacts
from clusterapp.errors import ExportError
from tests.unit.control.exports.exporting import OTHERS, export

GOLDEN = Path(__file__).with_name("golden_exports")

_TLS = "tls:8443:certificate=/etc/tls/shop.pem:key=/etc/tls/shop.key"
_WORKER_PORTS: Mapping[str, Any] = {"worker_ports": 3001}
_LINKED = {"named_folder": "/srv/shop/current", "folder": "/srv/shop/releases/7"}

#: Text with everything that has a meaning in one of the formats.
_ODD = """/srv/a b/"q" 'r' $x ${y} $(z) %n %% #c ;{d} \\e é日"""


def _sticky(key: str, **more: Any) -> Mapping[str, Any]:
    return {"dispatch": "sticky", "sticky": key, **more}


def _static(folder: str, url: str = "/static/") -> Mapping[str, Any]:
    return {"told": {"static": {"url": url, "folder": folder}}}


def _quoted(path: str) -> str:
    """Write a path as a word of a listen spec."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


_LISTENERS: Mapping[str, Mapping[str, Any]] = {
    "TLS": {"listen": (_TLS,)},
    "TLS with worker ports": {"listen": (_TLS,), **_WORKER_PORTS},
    "TLS and TCP": {"listen": (_TLS, "tcp:8080:interface=127.0.0.1")},
    "TLS with client certificates": {"listen": (f"{_TLS}:ca=ca.pem",)},
    "relative TLS files": {"listen": ("tls:443:certificate=a b.pem:key=k/$k.key",)},
    "unix": {"listen": ("unix:/run/shop/a.sock",)},
    "unix elsewhere": {"listen": ("unix:/srv/run/a.sock:mode=660", "tcp:8080")},
    "unix with odd characters": {"listen": (f"unix:{_quoted(_ODD)}/a.sock", "tcp:80")},
    "unix with a backslash": {"listen": ('unix:/run/a "b$x\\\\c.sock',)},
    "unix with a quote": {"listen": ("unix:/run/a'b.sock",)},
    "unix with a newline": {"listen": ("unix:/run/a\nb.sock",)},
    "unix with non-ASCII": {"listen": ("unix:/run/läden/日.sock",)},
    "several": {
        "listen": (
            "unix:/run/a.sock",
            "tcp:80",
            "tcp:81:dispatch=reuseport",
            "tcp:82:interface=[::1]:dispatch=round-robin:proxy=v2",
            _TLS,
        )
    },
    "PROXY v1": {"listen": ("tcp:80:proxy=v1",)},
    "PROXY v2 over TLS": {"listen": (f"{_TLS}:proxy=v2",)},
    "PROXY auto": {"listen": ("tcp:80:proxy=auto",), "health_path": "/healthz"},
    "IPv6": {"listen": ("tcp:8080:interface=[::1]",)},
    "all IPv6": {"listen": ("tcp:8080:interface=[::]",), **_WORKER_PORTS},
    "IPv6 with a zone": {"listen": ("tcp:8080:interface=[fe80::1%eth0]",)},
    "port of the kernel": {"listen": ("tcp:0",)},
    "low port": {"listen": ("tcp:80",), **_WORKER_PORTS},
    "untrusted": {"trusted_proxies": ("10.0.0.1",)},
    "untrusted with worker ports": {"trusted_proxies": ("10.0.0.1",), **_WORKER_PORTS},
}

_STICKINESS: Mapping[str, Mapping[str, Any]] = {
    f"{key}{suffix}": _sticky(key, **more)
    for key in (
        *("client-ip", "cookie", "cookie:sid", "cookie:a$b%c", "cookie:a'b"),
        *("header:X-Session", "header:X_Sid", "header:X.Sid", "query:sid"),
        *("query:s-id", "query:$x", "header:a#b", "header:a'b"),
    )
    for suffix, more in (("", {}), (" with worker ports", _WORKER_PORTS))
}

_WORKERS: Mapping[str, Mapping[str, Any]] = {
    "worker ports": _WORKER_PORTS,
    "gaps": {"told": {"workers": [{"slot": 4}, {"slot": 1}]}, **_WORKER_PORTS},
    "one worker": {"size": 1, **_WORKER_PORTS},
    "no worker": {"size": 0, **_WORKER_PORTS},
    "agent check": {"agent_check": "tcp:9990:interface=127.0.0.1", **_WORKER_PORTS},
    "agent check, sticky": _sticky("client-ip", agent_check="tcp:99", **_WORKER_PORTS),
    "agent check, cookie": _sticky("cookie", agent_check="tcp:99", **_WORKER_PORTS),
    "agent check alone": {"agent_check": "tcp:9990:interface=[::1]"},
    "health path": {"health_path": "/healthz", **_WORKER_PORTS},
    "health path, TLS": {"health_path": "/healthz", "listen": (_TLS,)},
}

_STATIC: Mapping[str, Mapping[str, Any]] = {
    "no static files": {"told": {"static": None}},
    "static max age": {"static_max_age": 3600.5},
    "static with odd characters": _static("/srv/a b/\"q\" 'r' %n #c ;{d} \\e é日"),
    "static with a dollar": _static("/srv/$x"),
    "static with a newline": _static("/srv/a\nb"),
    "static at another URL": _static("/s/", "/a.b+(c)/"),
    "static with non-ASCII": _static("/srv/läden"),
    "X-Accel-Redirect": {"sendfile_header": "X-Accel-Redirect=/internal/static/"},
    "X-Accel-Redirect with odd characters": {
        "sendfile_header": "X-Accel-Redirect=/i/",
        **_static('/srv/a "b" \\c/'),
    },
    "X-Accel-Redirect with a dollar": {
        "sendfile_header": "X-Accel-Redirect=/i/",
        **_static("/srv/$x/"),
    },
    "X-Sendfile": {"sendfile_header": "X-Sendfile"},
}

_PLACES: Mapping[str, Mapping[str, Any]] = {
    "odd folder": {"told": {"started_in": _ODD, "named_folder": _ODD}},
    "folder with a backslash at its end": {"told": {"started_in": "/srv/a\\"}},
    "folder with a space at its end": {"told": {"started_in": "/srv/a "}},
    "folder with a newline": {"told": {"started_in": "/srv/a\nUser=root"}},
    "linked": {
        "told": {
            **_LINKED,
            "static": {"url": "/s/", "folder": "/srv/shop/releases/7/static"},
            "twistd": "/srv/shop/releases/7/venv/bin/twistd",
        },
        "access_log": "log/access.log",
    },
    "linked, elsewhere": {"told": _LINKED},
    "working folder": {"working_folder": _ODD},
    "home": {
        "told": {"twistd": "/home/me/venv/bin/twistd"},
        "here": HostFacts("/bin", "root"),
    },
    "odd programs": {
        "told": {"twistd": "/opt/a b/%n/bin/twistd"},
        "here": HostFacts("/bin", "läden"),
    },
    "programs with a dollar": {"told": {"twistd": "/opt/$x/bin/twistd"}},
    "user with a specifier": {
        "told": {"twistd": "/bin/twistd"},
        "here": HostFacts("/bin", "a%n"),
    },
    "user with a newline": {"here": HostFacts("/bin", "a\nb")},
    "log elsewhere": {"access_log": "/log/a/100% x.log"},
    "log with odd characters": {"access_log": '/log/100% "$x"'},
    "log with non-ASCII": {"access_log": "/löge/日.log"},
    "core's files": {
        "core": "https://core:8443",
        "core_ca": f"{_ODD}/ca.pem",
        "core_cert": "cert.pem",
        "core_key": "/k/$(x).pem",
    },
    "files with two dollars": {"core": "https://core", "core_ca": "/$$(x)/$$b$"},
    "files with emoji": {"core": "https://core", "core_ca": "/😀é.pem"},
    "files with a newline": {"core": "https://core", "core_ca": "/a\nb"},
    "odd name": {"told": {"name": "my.Web_Shop:make.app"}},
    "name with non-ASCII": {"told": {"name": "läden:日"}},
    "name with a newline": {"told": {"name": "shop:app\nevil"}},
    "name with a specifier": {"told": {"name": "shop:a%n"}},
    "name that is a word of YAML": {"told": {"name": "on:app"}},
    "name that is a number": {"told": {"name": "_1:app"}},
    "long name": {"told": {"name": "a_module_with_a_rather_long_name_of_45_letters:a"}},
    "name without letters": {"told": {"name": "___:app"}},
}

_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "all the others": OTHERS,
    "timeouts": {
        "request_timeout": 20, "core_timeout": 90.25, "keepalive_timeout": 2.5,
        "header_timeout": 7, "graceful_timeout": 20, "drain_delay": 15,
        "boot_timeout": 90.5, "max_body": 5000,
    },
    "long core timeout": {"core_timeout": 4000},
    "access log on stdout": {"access_log": "-"},
    "state": {"state": "/s", "control": "/c"},
}  # fmt: skip

CASES: Mapping[str, Mapping[str, Any]] = {
    **_LISTENERS,
    **_STICKINESS,
    **_WORKERS,
    **_STATIC,
    **_PLACES,
    **_SETTINGS,
}


def recorded(program: str) -> str:
    """
    Return the exports of all cases, in the form in which they are recorded.

    The export of a cluster with default settings comes first, whole; each other one
    is its difference from that, or the error that it is refused with.
    """
    base = export(program)
    parts = (_difference(base, program, name) for name in CASES)
    return "".join(chain([base], parts))


def _difference(base: str, program: str, name: str) -> str:
    try:
        text = export(program, **CASES[name])
    except ExportError as error:
        return f"\n=== {name}\nERROR {error}\n"
    lines, others = base.split("\n"), text.split("\n")
    diff = list(difflib.unified_diff(lines, others, n=0, lineterm=""))[2:]
    return "\n".join([f"\n=== {name}", *diff, ""])


if __name__ == "__main__":
    for each in PROGRAMS:
        (GOLDEN / f"{each}.txt").write_text(recorded(each), "utf-8")
