"""What an application knows of its cluster, and how it reaches the core."""

from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.iweb import IAgent

from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.unix_client import NativeUnixEndpoint
from clusterapp.http.upstream.upstream_tls import client_options
from clusterapp.interfaces import Role
from clusterapp.settings.model import Settings


@dataclass(frozen=True)
class Membership:
    """
    This process's place in the cluster: ``app.cluster``.

    :param role: whether this is a worker or the core.
    :param slot: the worker's slot; -1 in the core.
    :param generation: the version of code and settings, from 1.
    :param core: a treq client for the core.
    """

    role: Role
    slot: int
    generation: int
    core: HTTPClient


def core_agent(reactor: Any, settings: Settings, core_socket: str | None) -> CoreAgent:
    """
    Make the agent that reaches the core, wherever it is.

    :param reactor: the reactor of this process.
    :param settings: the settings, for a core on another machine.
    :param core_socket: the path of the core's Unix socket on this machine.
    """
    if core_socket is not None:
        return agent_beside(reactor, core_socket)
    url = urlsplit(settings.core)
    host = url.hostname or ""
    options = client_options(
        host,
        ca=settings.core_ca,
        certificate=settings.core_cert,
        key=settings.core_key,
    )
    there = HostnameEndpoint(reactor, host, url.port or 443)
    return CoreAgent(reactor, wrapClientTLS(options, there))


def agent_beside(reactor: Any, path: str) -> CoreAgent:
    """
    Make an agent that reaches another process of the cluster on this machine.

    :param reactor: the reactor of this process.
    :param path: the path of the other one's Unix socket.
    """
    return CoreAgent(reactor, _beside(reactor, path), path=path)


def _beside(reactor: Any, path: str) -> IStreamClientEndpoint:
    """Reach a Unix socket in the way that is fastest on the reactor."""
    if isinstance(reactor, AsyncioSelectorReactor):
        # A child makes its loop the current one before the reactor is there.
        loop = reactor._asyncioEventloop  # noqa: SLF001 - there is no public way to ask
        return NativeUnixEndpoint(loop, path)
    return UNIXClientEndpoint(reactor, path)


def core_client(agent: IAgent) -> HTTPClient:
    """Make a treq client that keeps nobody's cookies, on an agent."""
    no_domain = DefaultCookiePolicy(allowed_domains=[])
    return HTTPClient(agent, cookiejar=IndexableCookieJar(no_domain))
