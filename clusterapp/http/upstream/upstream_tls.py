"""TLS between a worker and a core on another machine, both ends named."""

import re
from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from clusterapp.errors import SettingsError
from clusterapp.regular import read_regular

#: A certificate in a file that may hold much else (RFC 7468 2).
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL
)


def client_options(
    host: str, *, ca: str | None, certificate: str | None, key: str | None
) -> IOpenSSLClientConnectionCreator:
    """
    Say how to reach a core over TLS; service-identity checks its name.

    :param host: the name that its certificate must be for.
    :param ca: PEM file of the authorities to trust; None for the platform's.
    :param certificate: PEM file with this side's certificate, its chain behind it;
        None to show none.
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
    Say how to serve over TLS, as a rule to those with a certificate only.

    :param certificate: PEM file with the certificate, its chain behind it.
    :param key: PEM file with the certificate's key.
    :param ca: PEM file of the authorities that sign clients' certificates; None
        asks clients for none.
    :raise SettingsError: if a file cannot be read or used.
    """
    return ssl.CertificateOptions(
        **_shown("core_listen", certificate, "core_listen", key),
        trustRoot=None if ca is None else _authorities("core_listen", ca),
    )


def _shown(name: str, certificate: str, key_name: str, key: str) -> dict[str, Any]:
    """Give the options of `ssl.CertificateOptions` that are one's own certificate."""
    first, *chain = (each.original for each in _read_certificates(name, certificate))
    pem = _read(key_name, key)
    try:
        # Without a passphrase OpenSSL would ask at the terminal for one.
        own = crypto.load_privatekey(crypto.FILETYPE_PEM, pem, passphrase=b"")
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(first)
        context.use_privatekey(own)  # which is compared to the certificate
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
