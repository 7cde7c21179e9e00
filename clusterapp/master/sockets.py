"""All that a master holds open for its children: sockets and the state folder."""

import os
import shutil
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from clusterapp.listening.sockets import (
    Listener,
    first_environment,
    inherit,
    listen,
    passed_by_systemd,
    private_unix,
)
from clusterapp.listening.state import StateFolder, default_state
from clusterapp.master.succession import Inheritance
from clusterapp.settings.listen import ListenSpec
from clusterapp.settings.model import Settings
from clusterapp.web.hosting import CORE_SOCKET

#: The name of the folder of compiled templates.
CACHE = "templates"

#: The name of the control socket, by which clusterctl finds it.
CONTROL_SOCKET = "control"


class Sockets:
    """The listening sockets of one cluster, public and private."""

    def __init__(
        self, settings: Settings, inheritance: Inheritance | None = None
    ) -> None:
        self._settings = settings
        self._inheritance = inheritance
        self._public: list[Listener] = []
        self._core: dict[str, Listener] = {}
        self._state: StateFolder | None = None
        self._caches: dict[int, str] = {}
        self._bound = False

    @property
    def addresses(self) -> list[str]:
        """Where clients find the cluster."""
        return [listener.address() for listener in self._public]

    @property
    def public(self) -> Mapping[str, socket.socket]:
        """The sockets that workers accept from, by the place and name of each."""
        # Two listeners may have one name: tcp:0 is another port each time.
        return {f"{n} {each.name}": each.socket for n, each in enumerate(self._public)}

    @property
    def core(self) -> Mapping[str, socket.socket]:
        """The sockets that a core on this machine accepts from, by name."""
        return {name: each.socket for name, each in self._core.items()}

    @property
    def core_path(self) -> str | None:
        """The path of the core's Unix socket; None if the core is elsewhere."""
        listener = self._core.get(CORE_SOCKET)
        return None if listener is None else listener.path

    def bind(self) -> None:
        """
        Bind what the settings ask for, unless that is done already.

        :raise ListenError: if a socket cannot be had; none is left open then.
        """
        if self._bound:
            return
        self._bound = True
        try:
            for spec in self._settings.listeners:
                self._public.append(self._listen(spec))
            for tls in self._settings.core_listeners:
                self._core[str(tls)] = self._listen(tls)
        except BaseException:
            self.close()
            raise
        if self._inheritance is not None:
            self._inheritance.leave_the_rest()

    def open_state(self) -> None:
        """
        Make the state folder, with the core's socket if that is here.

        :raise ListenError: if that cannot be done.
        """
        chosen = self._settings.state
        self._state = StateFolder(
            Path(chosen) if chosen is not None else default_state(os.environ)
        )
        if not self._settings.core_is_remote:
            self._core[CORE_SOCKET] = private_unix(self._state.socket(CORE_SOCKET))

    def bequeath(self) -> list[tuple[str, socket.socket]]:
        """Give the sockets that a new master is to have, with their specifications."""
        core = [each for name, each in self._core.items() if name != CORE_SOCKET]
        return [(each.name, each.socket) for each in (*self._public, *core)]

    def give_up(self, specs: Iterable[str]) -> None:
        """Leave the paths of listeners alone: they are a new master's."""
        given = set(specs)
        self._public = [
            replace(each, path=None) if each.name in given else each
            for each in self._public
        ]

    def control(self) -> str:
        """
        Tell where the control socket is, unless the operator has said so.

        :raise ListenError: if that cannot be the path of a socket.
        """
        assert self._state is not None  # noqa: S101 - it is opened at the start
        return self._state.socket(CONTROL_SOCKET)

    def cache(self, generation: int) -> str | None:
        """
        Give the folder of what the children of a generation compile.

        :return: None if there is no state folder.
        """
        if self._state is not None and generation not in self._caches:
            name = f"{CACHE}-{generation}"
            self._caches[generation] = self._state.folder(name)
        return self._caches.get(generation)

    def forget_caches(self, but: int) -> None:
        """Remove the folders of generations that are no more, all but one."""
        for generation in self._caches.keys() - {but}:
            shutil.rmtree(self._caches.pop(generation), ignore_errors=True)

    def _listen(self, spec: ListenSpec) -> Listener:
        inherited = self._inheritance and self._inheritance.take(str(spec))
        if inherited:
            return inherit(spec, inherited)
        return listen(spec, passed_by_systemd(first_environment()))

    def close(self) -> None:
        """Close and remove everything."""
        for listener in (*self._public, *self._core.values()):
            listener.close()
        self._public.clear()
        self._core.clear()
        if self._state is not None:
            self._state.remove()
            self._state = None
            self._caches.clear()
        self._bound = False
