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
    :param sticky: the current key of session affinity, as in `--sticky`; None if it is
        off.
    """

    spec: ListenSpec
    address: UpstreamAddress
    sticky: str | None

    @property
    def is_tls(self) -> bool:
        """Whether the listener uses TLS."""
        return isinstance(self.spec, AnyTlsListen)


@dataclass(frozen=True)
class HostFacts:
    """
    Facts that the master does not report, from this machine.

    :param programs: the folder of this ``clusterctl``.
    :param user: the name of the user that the master runs as.
    """

    programs: str
    user: str


@dataclass(frozen=True)
class Facts:
    """
    The facts of a cluster.

    :param app: its application, as ``module:name``.
    :param settings: its settings.
    :param slots: the numbers of its slots.
    :param listeners: its listeners for clients.
    :param folder: the folder in which it was started, with the operator's name.
    :param working_folder: its working folder with the operator's name, symbolic links
        included.
    :param resolved_folder: the same with symbolic links resolved, as in its workers.
    :param static: the location of its static files, if it has any.
    :param twistd: the program that runs the master, with the operator's name.
    :param knows_twistd: whether the master has reported it; otherwise it is the one
        beside this ``clusterctl``.
    :param host: the facts from this machine.
    """

    app: str
    settings: Settings
    slots: Sequence[int]
    listeners: Sequence[Public]
    folder: str
    working_folder: str
    resolved_folder: str
    static: StaticFolder | None
    twistd: str
    knows_twistd: bool
    host: HostFacts

    @classmethod
    def read(
        cls,
        config: Mapping[str, Mapping[str, Any]],
        status: Mapping[str, Any],
        host: HostFacts,
    ) -> "Facts":
        """
        Return the facts in the documents of a master.

        :param config: the document of its settings.
        :param status: the document of its status.
        :param host: the facts that it does not report.
        :raise SettingsError: if it has settings that this version rejects.
        :raise ExportError: if required facts are missing.
        """
        try:
            known = [option.name for option in OPTIONS if option.name in config]
            settings = Settings(**{name: config[name]["value"] for name in known})
            listeners = status["distribution"]["listeners"]
            static, twistd = status["static"], status.get("twistd")
            resolved, named = status["folder"], status["named_folder"]
            return cls(
                app=status["name"],
                settings=settings,
                slots=sorted(worker["slot"] for worker in status["workers"]),
                listeners=[
                    Public(spec, _address(found["address"]), found["sticky"])
                    for spec, found in zip(settings.listeners, listeners, strict=False)
                ],
                folder=status["started_in"],
                working_folder=named,
                resolved_folder=resolved,
                static=static
                and StaticFolder(
                    static["url"], _renamed(static["folder"], resolved, named)
                ),
                twistd=_renamed(twistd or f"{host.programs}/twistd", resolved, named),
                knows_twistd=twistd is not None,
                host=host,
            )
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

    def keeps(self, path: str) -> bool:
        """Return whether a path is below the working folder by its name."""
        return PurePath(path).is_relative_to(self.working_folder)

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
        reached = UpstreamAddress.reached
        return {slot: reached(self.interface, first + slot) for slot in self.slots}

    @property
    def interface(self) -> str:
        """The interface of the workers' ports: that of the first TCP listener."""
        specs = (each.spec for each in self.listeners)
        tcp = [each for each in specs if isinstance(each, TcpListen | AnyTlsListen)]
        return tcp[0].interface if tcp else "127.0.0.1"

    @property
    def agent(self) -> UpstreamAddress | None:
        """The address of the agent check."""
        spec = self.settings.agent_check
        listener = None if spec is None else parse(spec)
        if not isinstance(listener, TcpListen):
            return None
        return UpstreamAddress.reached(listener.interface, listener.port)

    @property
    def sticky(self) -> AffinityKey | None:
        """The key of session affinity, if any listener has it."""
        text = self.sticky_text
        return None if text is None else AffinityKey.parse(text)

    @property
    def sticky_text(self) -> str | None:
        """The same key, as in `--sticky`."""
        known = (each.sticky for each in self.listeners)
        return next((text for text in known if text is not None), None)

    def public(self, *, with_proxy: bool) -> Public:
        """
        Return the listener that a proxy on this machine should use.

        Unencrypted listeners are preferred, since nothing leaves the machine.

        :param with_proxy: whether the proxy can send the PROXY protocol.
        :raise ExportError: if there is none that it can use.
        """
        fit = [
            each
            for each in self.listeners
            if (with_proxy or each.spec.proxy is None) and not _asks_for_more(each.spec)
        ]
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


def _asks_for_more(spec: ListenSpec) -> bool:
    """Return whether a listener requires client certificates."""
    return isinstance(spec, AnyTlsListen) and spec.ca is not None


def _renamed(path: str, resolved: str, named: str) -> str:
    """Return a path in a folder with the operator's name of that folder."""
    if not PurePath(path).is_relative_to(resolved):
        return path
    return str(PurePath(named, PurePath(path).relative_to(resolved)))


def _address(text: str) -> UpstreamAddress:
    """Parse an address of a master's status: a URL, or ``unix:`` and a path."""
    kind, _, path = text.partition(":")
    if kind == "unix":
        return UpstreamAddress(path)
    parts = urlsplit(text)
    return UpstreamAddress.reached(parts.hostname or "", parts.port)
