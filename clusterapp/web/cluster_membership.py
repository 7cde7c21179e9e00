"""The `app.cluster` object of an application, and the HTTP clients for the core."""

from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.web.iweb import IAgent

from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.unix_client import NativeUnixEndpoint
from clusterapp.http.upstream.upstream_tls import client_options
from clusterapp.interfaces import Role
from clusterapp.private_names.reactors import event_loop_of
from clusterapp.settings.model import Settings
from clusterapp.system.descriptor_limit import part_of_descriptors
from clusterapp.system.turn_end import TurnEnd

#: The most idle connections to another process on this machine: the responses of a turn
#: of the loop set all their connections free before the next requests come.
_MOST_IDLE = 256


@dataclass(frozen=True)
class Membership:
    """
    The membership of this process in the cluster: ``app.cluster``.

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
    Return an HTTP agent for the core, on this machine or on another one.

    :param reactor: the reactor of this process.
    :param settings: the settings, with URL and TLS files of a remote core.
    :param core_socket: the path of the core's Unix socket; None for a remote core.
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
    Return an HTTP agent for another process of the cluster on this machine.

    :param reactor: the reactor of this process.
    :param path: the path of that process's Unix socket.
    """
    loop = event_loop_of(reactor)
    if loop is None:
        return CoreAgent(reactor, UNIXClientEndpoint(reactor, path), path=path)
    turn_end = TurnEnd(loop.call_soon)
    endpoint = NativeUnixEndpoint(loop, path, turn_end)
    return CoreAgent(
        reactor,
        endpoint,
        max_idle=part_of_descriptors(_MOST_IDLE),
        turn_end=turn_end,
        path=path,
    )


def core_client(agent: IAgent) -> HTTPClient:
    """Return a treq client on an agent, which stores no cookies."""
    no_domain = DefaultCookiePolicy(allowed_domains=[])
    return HTTPClient(agent, cookiejar=IndexableCookieJar(no_domain))
