"""One certificate and its key, read from PEM files and checked."""

import ssl
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from clusterapp.http.tls.alerts import AlertingContext
from clusterapp.regular import opened, read_regular

#: What `ssl` says of another certificate's key, of the same sort or of another.
_OTHER_KEY = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


class UnusableError(Exception):
    """
    A file, or what is in it, cannot be used.

    :param path: the file.
    :param reason: what is wrong with it, in one line.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{str(path)!r}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Files:
    """
    The files that a server has for one certificate.

    :ivar certificate: PEM file with the certificate, its chain behind it.
    :ivar key: PEM file with its private key.
    :ivar ca: PEM file with the authorities that sign clients' certificates; None
        asks clients for none.
    """

    certificate: Path
    key: Path
    ca: Path | None = None

    def mark(self) -> Hashable:
        """Tell what state the files are in: another one whenever one changes."""
        paths = (self.certificate, self.key, self.ca)
        return tuple(_state(path) for path in paths if path is not None)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """
    A certificate that connections can be served with.

    :ivar path: the file that it came from.
    :ivar mark: the state of its files when it was read.
    :ivar context: for `ssl`, with certificate and key.
    :ivar names: the DNS names that it is for, in lower case, wildcards among them.
    :ivar begins: when it becomes valid.
    :ivar ends: when it expires.
    """

    path: Path
    mark: Hashable
    context: ssl.SSLContext
    names: frozenset[str]
    begins: datetime
    ends: datetime

    def check_dates(self, now: float) -> None:
        """
        Make sure that clients accept it today.

        :param now: seconds since the epoch.
        :raise UnusableError: if it is not valid yet, or no more.
        """
        today = datetime.fromtimestamp(now, UTC)
        if today < self.begins:
            raise UnusableError(self.path, f"not valid before {_date(self.begins)}")
        if today > self.ends:
            raise UnusableError(self.path, f"expired at {_date(self.ends)}")

    def __str__(self) -> str:
        names = ", ".join(sorted(self.names)) or "no name"
        return f"{str(self.path)!r} for {names}, valid until {_date(self.ends)}"


def read(files: Files) -> Certificate:
    """
    Read a certificate and what belongs to it; its dates are not looked at.

    :raise UnusableError: if a file cannot be read or used, or changes meanwhile.
    """
    mark = files.mark()
    leaf, names = _first_certificate(files.certificate)
    found = Certificate(
        path=files.certificate,
        mark=mark,
        context=_context(files),
        names=names,
        begins=leaf.not_valid_before_utc,
        ends=leaf.not_valid_after_utc,
    )
    if files.mark() != mark:
        # What was checked may not be what the context has.
        raise UnusableError(files.certificate, "changed while it was read")
    return found


def _state(path: Path) -> Hashable:
    """Tell which file a path leads to, through links, and when that was changed."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    # The time of the last change of rights is among them: they may be what was wrong.
    return (
        *(found.st_dev, found.st_ino, found.st_size),
        *(found.st_mtime_ns, found.st_ctime_ns),
    )


def _first_certificate(path: Path) -> tuple[x509.Certificate, frozenset[str]]:
    try:
        first = x509.load_pem_x509_certificates(read_regular(path))[0]
        return first, _names(first)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise UnusableError(path, "has no certificate that can be read") from error


def _names(certificate: x509.Certificate) -> frozenset[str]:
    """Give the DNS names; the common name is none of them (RFC 9525 2)."""
    try:
        extension = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        name.lower() for name in extension.value.get_values_for_type(x509.DNSName)
    )


def _context(files: Files) -> ssl.SSLContext:
    context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, files)
    if files.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, files.ca)
    return context


def _load_pair(context: ssl.SSLContext, files: Files) -> None:
    try:
        # Without a passphrase OpenSSL would ask at the terminal for one.
        with opened(files.certificate) as certificate, opened(files.key) as key:
            context.load_cert_chain(_again(certificate), _again(key), password="")
    except ssl.SSLError as error:
        raise _wrong_pair(files, error.reason) from error
    except OSError as error:  # the certificate has just been read
        raise _unreadable(files.key, error) from error


def _wrong_pair(files: Files, reason: str | None) -> UnusableError:
    if reason in _OTHER_KEY:
        return UnusableError(files.key, f"is not the key of {str(files.certificate)!r}")
    if reason is None:  # so `ssl` says that there is no key in the file
        return UnusableError(
            files.key, "has no private key that can be read without a passphrase"
        )
    return UnusableError(
        files.certificate,
        f"OpenSSL refuses it with the key {str(files.key)!r}: "
        + reason.lower().replace("_", " "),
    )


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    try:
        with opened(path) as descriptor:
            context.load_verify_locations(cafile=_again(descriptor))
    except ssl.SSLError as error:
        raise UnusableError(path, "has no certificate that can be read") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _again(descriptor: int) -> str:
    """Name an open file for OpenSSL, which would wait at a FIFO."""
    return f"/proc/self/fd/{descriptor}"


def _unreadable(path: Path, error: OSError) -> UnusableError:
    return UnusableError(path, error.strerror or str(error))


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
