"""Reading and checking of one certificate and its key in PEM files."""

import ssl
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from clusterapp.http.tls.alerts import AlertingContext
from clusterapp.system.regular import opened, read_regular

#: The reasons in `ssl` errors for the key of another certificate, of the same key type
#: or of another.
_OTHER_KEY = {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}


class UnusableError(Exception):
    """
    Raised if a certificate file, or its content, cannot be used.

    :param path: the file.
    :param reason: the reason, in one line.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{str(path)!r}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class Files:
    """
    Files of one server certificate.

    :ivar certificate: the PEM file with the certificate, its chain behind it.
    :ivar key: the PEM file with its private key.
    :ivar ca: the PEM file with the authorities that sign client certificates; None if
        clients are not asked for one.
    """

    certificate: Path
    key: Path
    ca: Path | None = None

    def mark(self) -> Hashable:
        """Return the state of the files, which differs whenever a file changes."""
        paths = (self.certificate, self.key, self.ca)
        return tuple(_state(path) for path in paths if path is not None)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """
    Certificate with its key and TLS context, ready to serve connections.

    :ivar path: the file that it was read from.
    :ivar mark: the state of its files when it was read.
    :ivar context: the TLS context, with certificate and key.
    :ivar names: its DNS names in lower case, including wildcards.
    :ivar begins: the start of its validity.
    :ivar ends: its expiry.
    """

    path: Path
    mark: Hashable
    context: ssl.SSLContext
    names: frozenset[str]
    begins: datetime
    ends: datetime

    def check_dates(self, now: float) -> None:
        """
        Check that the certificate is valid at a time.

        :param now: the time, in seconds since the epoch.
        :raise UnusableError: if it is not valid yet, or has expired.
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
    Read a certificate, its key and its authorities; its dates are not checked.

    :param files: the files to read.
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
        # The checked certificate may not be the one in the context.
        raise UnusableError(files.certificate, "changed while it was read")
    return found


def _state(path: Path) -> Hashable:
    """Return the identity and change times of the file at a path, through links."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    # The ctime is included, since it changes with the permissions, which may have been
    # the reason why a file could not be read.
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
    """Return the DNS names; the common name is not used (RFC 9525 2)."""
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
        # An empty passphrase, since OpenSSL would ask for one at the terminal.
        with opened(files.certificate) as certificate, opened(files.key) as key:
            context.load_cert_chain(_again(certificate), _again(key), password="")
    except ssl.SSLError as error:
        raise _wrong_pair(files, error.reason) from error
    except OSError as error:  # of the key: the certificate has just been read
        raise _unreadable(files.key, error) from error


def _wrong_pair(files: Files, reason: str | None) -> UnusableError:
    if reason in _OTHER_KEY:
        return UnusableError(files.key, f"is not the key of {str(files.certificate)!r}")
    if reason is None:  # `ssl` gives no reason if the file contains no key
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
    """Return a path of an open file for OpenSSL, which would block on a FIFO."""
    return f"/proc/self/fd/{descriptor}"


def _unreadable(path: Path, error: OSError) -> UnusableError:
    return UnusableError(path, error.strerror or str(error))


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
