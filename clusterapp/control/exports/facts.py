"""The facts of one running cluster, from which exports are made."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from clusterapp.dispatch.keys import AffinityKey
from clusterapp.errors import ExportError
from clusterapp.interfaces import StaticFolder
from clusterapp.settings.listen import AnyTlsListen, ListenSpec, TcpListen, parse
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.web.clients.trusted_proxies import TrustedProxies

#: A JSON document that a master has answered with.
Document = Mapping[str, Any]

#: The wildcard addresses, and the loopback address at which such a listener is reached.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - they are looked up

#: A DNS label (RFC 1035, section 2.3.1) has at most 63 characters; names derived from
#: this one are longer.
_LONGEST_LABEL = 40


@dataclass(frozen=True)
class UpstreamAddress:
    """
    An address to which a proxy connects.

    :param host: an IP address; the path of a Unix socket.
    :param port: the port; None for a Unix socket.
    """

    host: str
    port: int | None = None

    @classmethod
    def reported(cls, text: str) -> "UpstreamAddress":
        """Return a listener's address in the status: a URL, or ``unix:`` and a path."""
        if text.startswith("unix:"):
            return cls(text.removeprefix("unix:"))
        url = urlsplit(text)
        return cls.reached(url.hostname or "", url.port)

    @classmethod
    def reached(cls, interface: str, port: int | None) -> "UpstreamAddress":
        """Return the address at which a listener on an interface is reached."""
        return cls(_LOOPBACK.get(interface, interface), port)

    def __str__(self) -> str:
        """Return the address and port, or the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True)
class Public:
    """
    One of the listeners for clients.

    :param spec: its specification.
    :param address: its address on this machine.
    """

    spec: ListenSpec
    address: UpstreamAddress

    @property
    def is_tls(self) -> bool:
        """Whether the listener uses TLS."""
        return isinstance(self.spec, AnyTlsListen)

    @property
    def scheme(self) -> str:
        """The scheme of its URLs."""
        return "https" if self.is_tls else "http"

    @property
    def port_name(self) -> str:
        """The name of its port in a pod."""
        return f"{self.scheme}-{self.address.port}"

    @property
    def interface(self) -> str:
        """The interface of its TCP port; empty if it has none."""
        spec = self.spec
        return spec.interface if isinstance(spec, TcpListen | AnyTlsListen) else ""

    def serves(self, *, with_proxy: bool) -> bool:
        """
        Return whether the listener serves a client that has no certificate.

        :param with_proxy: whether the client can send the PROXY protocol.
        """
        asks_for_certificate = getattr(self.spec, "ca", None) is not None
        return not asks_for_certificate and (with_proxy or self.spec.proxy is None)


@dataclass(frozen=True)
class HostFacts:
    """
    Facts that the master does not report, from this machine.

    :param programs: the folder of this ``clusterctl``.
    :param user: the name of the user that the master runs as.
    """

    programs: str
    user: str


class Facts:
    """
    The facts of a cluster.

    :ivar app: its application, as ``module:name``.
    :ivar settings: its settings.
    :ivar slots: the numbers of its slots.
    :ivar listeners: its listeners for clients.
    :ivar sticky_text: the key of session affinity, as in `--sticky`; None if no
        listener has it.
    :ivar folder: the folder in which it was started, with the operator's name.
    :ivar working_folder: its working folder with the operator's name, symbolic links
        included.
    :ivar resolved_folder: the same with symbolic links resolved, as in its workers.
    :ivar static: the location of its static files, if it has any.
    :ivar twistd: the program that runs the master, with the operator's name.
    :ivar knows_twistd: whether the master has reported it; otherwise it is the one
        beside this ``clusterctl``.
    :ivar host: the facts from this machine.
    """

    def __init__(self, config: Document, status: Document, host: HostFacts) -> None:
        known = [option.name for option in OPTIONS if option.name in config]
        self.settings = Settings(**{name: config[name]["value"] for name in known})
        self.app: str = status["name"]
        self.slots = sorted(worker["slot"] for worker in status["workers"])
        listeners = status["distribution"]["listeners"]
        self.listeners = [
            Public(spec, UpstreamAddress.reported(found["address"]))
            for spec, found in zip(self.settings.listeners, listeners, strict=False)
        ]
        keys = (found["sticky"] for found in listeners)
        self.sticky_text: str | None = next(filter(None, keys), None)
        self.folder: str = status["started_in"]
        self.working_folder: str = status["named_folder"]
        self.resolved_folder: str = status["folder"]
        static, twistd = status["static"], status.get("twistd")
        self.static: StaticFolder | None = static and StaticFolder(
            static["url"], self._renamed(static["folder"])
        )
        self.twistd = self._renamed(twistd or f"{host.programs}/twistd")
        self.knows_twistd = twistd is not None
        self.host = host

    @classmethod
    def read(cls, config: Document, status: Document, host: HostFacts) -> "Facts":
        """
        Return the facts in the documents of a master.

        :param config: the document of its settings.
        :param status: the document of its status.
        :param host: the facts that it does not report.
        :raise SettingsError: if it has settings that this version rejects.
        :raise ExportError: if required facts are missing.
        """
        try:
            return cls(config, status, host)
        except KeyError as error:
            raise ExportError(
                f"the master does not tell its {error}: it is of another version"
            ) from error

    @property
    def programs(self) -> str:
        """The folder of the master's ``twistd`` and ``clusterctl``."""
        return str(PurePath(self.twistd).parent)

    @property
    def is_linked(self) -> bool:
        """Whether the working folder is a symbolic link, which deploys redirect."""
        return self.working_folder != self.resolved_folder

    @property
    def label(self) -> str:
        """The application's name in characters that are valid in all formats."""
        module = self.app.partition(":")[0].rpartition(".")[2]
        label = re.sub("[^a-z0-9]+", "-", module.lower()).strip("-")
        return label[:_LONGEST_LABEL].strip("-") or "app"

    @property
    def workers(self) -> Mapping[int, UpstreamAddress]:
        """The private address of each slot's worker; empty if workers have no ports."""
        first = self.settings.worker_ports
        if first is None:
            return {}
        interfaces = (each.interface for each in self.listeners)
        interface = next(filter(None, interfaces), "127.0.0.1")
        reached = UpstreamAddress.reached
        return {slot: reached(interface, first + slot) for slot in self.slots}

    @property
    def agent(self) -> UpstreamAddress | None:
        """The address of the agent check."""
        spec = self.settings.agent_check
        listener = None if spec is None else parse(spec)
        if not isinstance(listener, TcpListen):
            return None
        return UpstreamAddress.reached(listener.interface, listener.port)

    @property
    def private(self) -> Sequence[UpstreamAddress]:
        """The addresses for balancers: those of workers and of the agent check."""
        return [*self.workers.values(), *([self.agent] if self.agent else ())]

    @property
    def sticky(self) -> AffinityKey | None:
        """The key of session affinity, if any listener has it."""
        text = self.sticky_text
        return None if text is None else AffinityKey.parse(text)

    def public(self, *, with_proxy: bool) -> Public:
        """
        Return the listener that a proxy on this machine should use.

        Unencrypted listeners are preferred, since nothing leaves the machine.

        :param with_proxy: whether the proxy can send the PROXY protocol.
        :raise ExportError: if there is none that it can use.
        """
        fit = [each for each in self.listeners if each.serves(with_proxy=with_proxy)]
        if not fit:
            raise ExportError(
                "no listener can be used by a proxy: each wants the certificates of"
                " clients, or the PROXY protocol where that is not spoken; add one as"
                " in --listen tcp:8080:interface=127.0.0.1, or --worker-ports"
            )
        return min(fit, key=lambda each: each.is_tls)

    def trusts(self, address: UpstreamAddress) -> bool:
        """Return whether workers trust a proxy that connects to an address."""
        trusted = TrustedProxies(self.settings.trusted_proxies)
        return trusted.trusts(None if address.port is None else address.host)

    def _renamed(self, path: str) -> str:
        """Return a path in the working folder with the operator's name of that."""
        if not PurePath(path).is_relative_to(self.resolved_folder):
            return path
        below = PurePath(path).relative_to(self.resolved_folder)
        return str(PurePath(self.working_folder, below))
