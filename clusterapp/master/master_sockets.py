"""The listening sockets and the state folder that a master owns for its children."""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from clusterapp.channel.bootstrap import private_name
from clusterapp.errors import ListenError
from clusterapp.listening.listen_sockets import (
    Listener,
    first_environment,
    inherit,
    listen,
    passed_by_systemd,
    private_unix,
)
from clusterapp.listening.reuseport import Group
from clusterapp.listening.state_folder import StateFolder, default_state
from clusterapp.master.upgrade.new_master import InheritedState
from clusterapp.master.workers.slot_sockets import SlotSockets
from clusterapp.master.workers.worker_count import first_size
from clusterapp.settings.listen import (
    MAX_PORT,
    AnyTlsListen,
    ListenSpec,
    TcpListen,
    parse,
)
from clusterapp.settings.model import Settings
from clusterapp.web.hosting import CORE_SOCKET

#: The name prefix of the folders of compiled templates.
CACHE = "templates"

#: The file name of the control socket, by which clusterctl finds it.
CONTROL_SOCKET = "control"


class Sockets:
    """The listening sockets of one cluster, public and private, and its state."""

    def __init__(
        self, settings: Settings, inherited: InheritedState | None = None
    ) -> None:
        self._settings = settings
        self._inherited = inherited
        self._public: list[Listener] = []
        self._core: dict[str, Listener] = {}
        self._agent: Listener | None = None
        self._state: StateFolder | None = None
        self._caches: dict[int, str] = {}
        self._groups: dict[socket.socket, Group] = {}
        #: Why the state folder is unusable; empty if it is usable.
        self.state_problem = ""
        self._restored: list[str] = []
        self._slot_sockets: list[SlotSockets] = []
        self._ports: list[Listener] = []
        self._bound = False

    @property
    def addresses(self) -> list[str]:
        """The URLs that clients connect to."""
        return [listener.address() for listener in self._public]

    @property
    def public_listeners(self) -> list[tuple[str, ListenSpec, Listener]]:
        """The public listeners, each with its unique name and its specification."""
        specs = self._settings.listeners
        # Two listeners may have one specification: tcp:0 is another port each time.
        return [
            (f"{number} {spec}", spec, listener)
            for number, (spec, listener) in enumerate(
                zip(specs, self._public, strict=True)
            )
        ]

    @property
    def slot_sockets(self) -> Sequence[SlotSockets]:
        """The sockets of every slot that was ever made, in order of slot numbers."""
        return self._slot_sockets

    def slot(self, number: int) -> SlotSockets:
        """
        Return the sockets of a slot; create them on the first call.

        :raise ListenError: if a socket cannot be bound.
        """
        while len(self._slot_sockets) <= number:
            self._slot_sockets.append(self._make_slot_sockets(len(self._slot_sockets)))
        return self._slot_sockets[number]

    def group(self, listener: Listener) -> Group:
        """
        Return the `SO_REUSEPORT` group of a listener, with one socket for each slot.

        :raise ListenError: if the listener cannot have one.
        """
        # Keyed by socket, not by name: tcp:0 is another port each time.
        if listener.socket not in self._groups:
            self._groups[listener.socket] = Group(listener.socket)
        return self._groups[listener.socket]

    @property
    def groups(self) -> Mapping[socket.socket, Group]:
        """The existing `SO_REUSEPORT` groups, keyed by their listeners' sockets."""
        return self._groups

    @property
    def core(self) -> Mapping[str, socket.socket]:
        """The sockets that a core on this machine accepts from, by name."""
        return {name: each.socket for name, each in self._core.items()}

    @property
    def agent(self) -> socket.socket | None:
        """The listening socket for agent checks; None if they are not configured."""
        return None if self._agent is None else self._agent.socket

    @property
    def core_path(self) -> str | None:
        """The path of the core's Unix socket; None if the core is remote."""
        listener = self._core.get(CORE_SOCKET)
        return None if listener is None else listener.path

    def bind(self) -> None:
        """
        Bind the listeners of the settings, unless they are bound already.

        :raise ListenError: if a socket cannot be bound; all are closed again.
        """
        if self._bound:
            return
        self._bound = True
        try:
            for spec in self._settings.listeners:
                self._public.append(self._listen(spec))
                self._inherit_group(self._public[-1])
            for tls in self._settings.core_listeners:
                self._core[str(tls)] = self._listen(tls)
            if self._settings.agent_check is not None:
                self._agent = self._listen(parse(self._settings.agent_check))
            self._bind_first_slots()
        except BaseException:
            self.close()
            raise

    def open_state(self) -> None:
        """
        Create the state folder, and the core's Unix socket unless the core is remote.

        :raise ListenError: if either cannot be created.
        """
        chosen = self._settings.state
        self._state = StateFolder(
            Path(chosen) if chosen is not None else default_state(os.environ)
        )
        if not self._settings.core_is_remote:
            self._core[CORE_SOCKET] = private_unix(self._state.socket(CORE_SOCKET))
            self._state.hold(CORE_SOCKET)

    def restore_state(self) -> list[str]:
        """
        Recreate missing parts of the state folder, if there is one.

        :return: the paths that were recreated since the last call.
        :raise ListenError: if they cannot be recreated.
        """
        if self._state is not None:
            self._restored += self._state.restore()
        self.state_problem = ""
        restored, self._restored = self._restored, []
        return restored

    def inheritable_sockets(self) -> list[tuple[str, socket.socket]]:
        """Return the sockets that a new master inherits, with their specifications."""
        others = [each for name, each in self._core.items() if name != CORE_SOCKET]
        if self._agent is not None:
            others.append(self._agent)
        members = [
            (_member(each.name, slot), member)
            for each in self._public
            if each.socket in self._groups
            for slot, member in enumerate(self._groups[each.socket].members[1:])
        ]
        listeners = [
            (each.name, each.socket) for each in (*self._public, *others, *self._ports)
        ]
        return [*listeners, *members]

    def give_up(self, specs: Iterable[str]) -> None:
        """Keep the paths of listeners on close: they are a new master's now."""
        given = set(specs)
        self._public = [
            replace(each, path=None) if each.name in given else each
            for each in self._public
        ]

    def control(self) -> str:
        """
        Return the default path of the control socket, in the state folder.

        :raise ListenError: if it is not a valid path for a socket.
        """
        assert self._state is not None  # noqa: S101 - it is opened at the start
        return self._state.socket(CONTROL_SOCKET)

    def hold_control(self) -> None:
        """
        Recreate the control socket from now on whenever its path is removed.

        :raise ListenError: if the socket does not exist.
        """
        assert self._state is not None  # noqa: S101 - it is opened at the start
        self._state.hold(CONTROL_SOCKET)

    def cache(self, generation: int) -> str | None:
        """
        Return the folder of the compiled templates of a generation.

        :return: None if there is no state folder.
        """
        if self._state is not None and generation not in self._caches:
            self._restored += self._state.restore()
            name = f"{CACHE}-{generation}"
            self._caches[generation] = self._state.folder(name)
        return self._caches.get(generation)

    def forget_caches(self, but: int) -> None:
        """Remove the template folders of all generations except one."""
        assert self._state is not None  # noqa: S101 - it has made them
        for generation in self._caches.keys() - {but}:
            del self._caches[generation]
            self._state.remove_folder(f"{CACHE}-{generation}")

    def _listen(self, spec: ListenSpec) -> Listener:
        inherited = self._take(spec.socket_name)
        if inherited:
            return inherit(spec, inherited)
        return listen(spec, passed_by_systemd(first_environment()))

    def _take(self, name: str) -> socket.socket | None:
        return None if self._inherited is None else self._inherited.take(name)

    def _make_slot_sockets(self, number: int) -> SlotSockets:
        assert self._state is not None  # noqa: S101 - it is opened at the start
        port = self._port(number)
        self._restored += self._state.restore()
        private = private_unix(self._state.socket(private_name(number)))
        self._state.hold(private_name(number))
        return SlotSockets(number, private, port)

    def _port(self, number: int) -> Listener | None:
        """Return a slot's own port, bound on first use; None if slots have none."""
        first = self._settings.worker_ports
        if first is None:
            return None
        # On the interface of the first listener: load balancers connect there, too.
        interfaces = [
            spec.interface
            for spec in self._settings.listeners
            if isinstance(spec, TcpListen | AnyTlsListen)
        ]
        interface = interfaces[0] if interfaces else "127.0.0.1"
        while len(self._ports) <= number:
            port = first + len(self._ports)
            if port > MAX_PORT:
                raise ListenError(
                    f"worker_ports = {first}: there is no port {port} for slot"
                    f" {len(self._ports)}"
                )
            self._ports.append(self._listen(TcpListen(port, interface)))
        return self._ports[number]

    def _bind_first_slots(self) -> None:
        """Bind the sockets of the first slots while this process may bind any port."""
        settings = self._settings
        size = first_size(settings)
        self._port(size - 1)
        for _, spec, listener in self.public_listeners:
            dispatch = spec.dispatch or settings.dispatch
            if dispatch == "reuseport":
                self.group(listener).member(size - 1)
            elif dispatch == "sticky" and settings.sticky == "client-ip":
                with suppress(ListenError):  # the master dispatches instead
                    self.group(listener).member(size - 1)

    def _inherit_group(self, listener: Listener) -> None:
        """
        Inherit a listener's `SO_REUSEPORT` group, whatever the settings say by now.

        Connections wait in its backlogs: they are lost if no process holds its sockets.
        """
        members: list[socket.socket] = []
        while inherited := self._take(_member(listener.name, len(members))):
            members.append(inherited)
        if members:
            group = Group.inherited([listener.socket, *members])
            self._groups[listener.socket] = group

    def close(self) -> None:
        """Close all sockets and remove the state folder."""
        for slot in self._slot_sockets:
            slot.close()
        self._slot_sockets.clear()
        for group in self._groups.values():
            group.close()
        self._groups.clear()
        for listener in (*self._public, *self._ports, *self._core.values()):
            listener.close()
        self._ports.clear()
        self._public.clear()
        self._core.clear()
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._state is not None:
            self._state.remove()
            self._state = None
            self._caches.clear()
        self._bound = False

    def leave_the_rest(self) -> None:
        """Close inherited sockets that this master has no use for."""
        if self._inherited is not None:
            self._inherited.leave_the_rest()


def _member(listener: str, slot: int) -> str:
    """Return the name of a slot's socket in a listener's group."""
    return f"{listener} for slot {slot}"
