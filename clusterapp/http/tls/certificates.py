"""Certificates of a TLS listener: chosen by SNI, renewed without a restart."""

import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from twisted.logger import Logger

from clusterapp.errors import SettingsError
from clusterapp.http.tls.certificate_renewal import ErrorLimit, WatchedCertificate
from clusterapp.http.tls.pem import Certificate, Files, UnusableError
from clusterapp.settings.listen import AnyTlsListen, TlsListen
from clusterapp.settings.model import Settings
from clusterapp.system.regular import from_start_folder

#: Seconds between two checks for renewals.
_PAUSE = 1.0

#: The name, in a folder, of the certificate for clients without SNI, or with an unknown
#: name.
_DEFAULT = "default"

#: The file names of certificate and key in a subfolder, as certbot makes them.
_CHAIN, _KEY = "fullchain.pem", "privkey.pem"


class Certificates:
    """
    Certificates of one listener, checked for renewals as connections arrive.

    :param spec: the listener.
    :param now: returns the current time in seconds since the epoch, like `time.time`.
    :raise SettingsError: if a file cannot be used; the message names the file.
    """

    _log = Logger()

    def __init__(
        self, spec: AnyTlsListen, now: Callable[[], float] = time.time
    ) -> None:
        self._spec = spec
        self._now = now
        self._looked = now()
        self._error_limit = ErrorLimit()
        try:
            self._watched = {
                name: WatchedCertificate(files)
                for name, files in _files_of(spec).items()
            }
            for each in self._watched.values():
                each.begin(self._looked)
        except UnusableError as error:
            raise SettingsError(
                f"listen = {str(error.path)!r}: {error.reason}"
            ) from error
        self._choice = Choice(self._served())

    def context(self) -> ssl.SSLContext:
        """
        Return the TLS context for a new connection, which SNI may replace.

        A call is cheap: the files are checked once a second at most.
        """
        now = self._now()
        # A clock that was set back must not stop the checks.
        if not 0 <= now - self._looked < _PAUSE:
            self._looked = now
            self._look(now)
        return self._choice.default

    def _look(self, now: float) -> None:
        try:
            found = _files_of(self._spec)
        except UnusableError as error:
            if self._error_limit.is_due(str(error), now):
                self._log.error(
                    "cannot renew certificates: {error}; still serving what there was",
                    error=error,
                )
            return
        self._error_limit.settle()
        self._watched = {
            name: self._watched.get(name) or WatchedCertificate(files)
            for name, files in found.items()
        }
        for each in self._watched.values():
            each.look(now)
        self._choose(self._served())

    def _served(self) -> dict[str, Certificate]:
        return {
            name: each.served
            for name, each in self._watched.items()
            if each.served is not None
        }

    def _choose(self, served: Mapping[str, Certificate]) -> None:
        if not served:
            return  # the reason is logged for each new certificate
        before = self._choice.served
        for name in before.keys() - served.keys():
            self._log.info(
                "no longer serving the certificate {old}: its files are gone",
                old=before[name],
            )
        self._choice = Choice(served)


class Choice:
    """
    Choice of a certificate by the name in SNI.

    Of several certificates for one name, the one that expires last is chosen.

    :param served: all certificates, at least one, by their names in the folder.
    :ivar default: the context for clients without SNI, or with an unknown name.
    """

    def __init__(self, served: Mapping[str, Certificate]) -> None:
        self.served = served
        self.default = served[min(served, key=_order)].context
        self._contexts = {
            name: each.context
            for each in sorted(served.values(), key=lambda each: each.ends)
            for name in each.names
        }
        switch = self._switch if len(served) > 1 else None
        for each in served.values():
            each.context.sni_callback = switch

    def _switch(
        self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        """Called during a handshake: choose the certificate by SNI (RFC 6066 3)."""
        if name is not None:
            connection.context = self._find(name)

    def _find(self, name: str) -> ssl.SSLContext:
        name = name.lower()
        # A wildcard matches one whole label, the first one (RFC 9525 6.3).
        wildcard = "*." + name.partition(".")[2]
        return self._contexts.get(name) or self._contexts.get(wildcard, self.default)


def certificates_of(
    settings: Settings, now: Callable[[], float] = time.time
) -> Mapping[str, Certificates]:
    """
    Read the certificates of all public TLS listeners.

    :param settings: the settings.
    :param now: returns the current time in seconds since the epoch.
    :return: the certificates by the listener's specification, as text.
    :raise SettingsError: if a file cannot be used; the message names the file.
    """
    return {
        str(spec): Certificates(spec, now)
        for spec in settings.listeners
        if isinstance(spec, AnyTlsListen)
    }


def _files_of(spec: AnyTlsListen) -> Mapping[str, Files]:
    """Return the files that a listener has now, by their names in its folder."""
    ca = None if spec.ca is None else _located(spec.ca)
    if isinstance(spec, TlsListen):
        return {"": Files(_located(spec.certificate), _located(spec.key), ca)}
    folder = _located(spec.certificates)
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
        pairs = {**_pairs_of(folder, seen), **_folders_of(seen)}
    except OSError as error:
        raise UnusableError(folder, error.strerror or str(error)) from error
    if not pairs:
        raise UnusableError(
            folder,
            f"there is no NAME.pem with a NAME.key, nor NAME/{_CHAIN} with a {_KEY}",
        )
    return {name: Files(*pair, ca) for name, pair in pairs.items()}


def _located(path: str) -> Path:
    return Path(from_start_folder(path))


def _pairs_of(
    folder: Path, entries: Iterable[os.DirEntry[str]]
) -> dict[str, tuple[Path, Path]]:
    """Return pairs NAME.pem and NAME.key; a missing half is reported when read."""
    names = [Path(entry.name) for entry in entries]
    stems = {name.stem for name in names if name.suffix in {".pem", ".key"}}
    return {
        f"{stem}.pem": (folder / f"{stem}.pem", folder / f"{stem}.key")
        for stem in stems
    }


def _folders_of(
    entries: Iterable[os.DirEntry[str]],
) -> dict[str, tuple[Path, Path]]:
    """Return the files in folders as certbot makes them; skip folders with neither."""
    folders = [Path(entry) for entry in entries if entry.is_dir()]
    pairs = {folder.name: (folder / _CHAIN, folder / _KEY) for folder in folders}
    return {
        name: pair for name, pair in pairs.items() if any(map(os.path.lexists, pair))
    }


def _order(name: str) -> tuple[bool, str]:
    """Return the sort key: the default first, then all by their names."""
    return name.removesuffix(".pem") != _DEFAULT, name
