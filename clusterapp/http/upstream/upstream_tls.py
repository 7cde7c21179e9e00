"""TLS between a worker and a core on another machine, with mutual authentication."""

import re
from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from clusterapp.errors import SettingsError
from clusterapp.system.regular import read_regular

#: A PEM certificate in a file that may contain other objects (RFC 7468 2).
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL
)


def client_options(
    host: str, *, ca: str | None, certificate: str | None, key: str | None
) -> IOpenSSLClientConnectionCreator:
    """
    Return the TLS client options for a core; service-identity checks its name.

    :param host: the host name that its certificate must be valid for.
    :param ca: PEM file of the trusted authorities; None for the platform's.
    :param certificate: PEM file with the client certificate, followed by its chain;
        None to send none.
    :param key: PEM file with that certificate's key.
    :raise SettingsError: if a file cannot be read or used.
    """
    shown = {}
    if certificate is not None and key is not None:
        shown = _shown("core_cert", certificate, "core_key", key)
    trusted = None if ca is None else _authorities("core_ca", ca)
    return ssl.optionsForClientTLS(
        host, trustRoot=trusted, extraCertificateOptions=shown
    )


def server_options(
    *, certificate: str, key: str, ca: str | None
) -> ssl.CertificateOptions:
    """
    Return the TLS server options, usually with client certificates required.

    :param certificate: PEM file with the certificate, followed by its chain.
    :param key: PEM file with the certificate's key.
    :param ca: PEM file of the authorities that sign clients' certificates; None to
        require no client certificate.
    :raise SettingsError: if a file cannot be read or used.
    """
    return ssl.CertificateOptions(
        **_shown("core_listen", certificate, "core_listen", key),
        trustRoot=None if ca is None else _authorities("core_listen", ca),
    )


def _shown(name: str, certificate: str, key_name: str, key: str) -> dict[str, Any]:
    """Return the options of `ssl.CertificateOptions` for one's own certificate."""
    first, *chain = (each.original for each in _read_certificates(name, certificate))
    pem = _read(key_name, key)
    try:
        # Without a passphrase OpenSSL would prompt for one at the terminal.
        own = crypto.load_privatekey(crypto.FILETYPE_PEM, pem, passphrase=b"")
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(first)
        context.use_privatekey(own)  # compares it to the certificate
    except (SSL.Error, crypto.Error, ValueError) as error:
        raise SettingsError(
            f"{key_name} = {key!r}: not the key of {certificate!r}: {error}"
        ) from error
    return {"privateKey": own, "certificate": first, "extraCertChain": chain}


def _authorities(name: str, path: str) -> Any:
    return ssl.trustRootFromCertificates(_read_certificates(name, path))


def _read_certificates(name: str, path: str) -> Sequence[ssl.Certificate]:
    try:
        found = [
            ssl.Certificate.loadPEM(each) for each in _PEM.findall(_read(name, path))
        ]
    except (SSL.Error, crypto.Error, ValueError) as error:
        raise SettingsError(f"{name} = {path!r}: not a certificate: {error}") from error
    if not found:
        raise SettingsError(f"{name} = {path!r}: there is no PEM certificate in it")
    return found


def _read(name: str, path: str) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        raise SettingsError(f"{name} = {path!r}: {error.strerror}") from error
