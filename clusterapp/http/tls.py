"""TLS between a worker and a core on another machine, both ends named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_PEM
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from clusterapp.errors import SettingsError


def client_options(
    host: str, *, ca: str | None, certificate: str | None, key: str | None
) -> IOpenSSLClientConnectionCreator:
    """
    Say how to reach a core over TLS; service-identity checks its name.

    :param host: the name that its certificate must be for.
    :param ca: PEM file of the authorities to trust; None for the platform's.
    :param certificate: PEM file with this side's certificate; None to show none.
    :param key: PEM file with that certificate's key.
    :raise SettingsError: if a file cannot be read or used.
    """
    shown = None
    if certificate is not None and key is not None:
        shown = _certificate("core_cert", certificate, "core_key", key)
    trusted = None if ca is None else _authorities("core_ca", ca)
    return ssl.optionsForClientTLS(host, trustRoot=trusted, clientCertificate=shown)


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
    shown = _certificate("core_listen", certificate, "core_listen", key)
    chain = _read_certificates("core_listen", certificate)[1:]
    return ssl.CertificateOptions(
        privateKey=shown.privateKey.original,
        certificate=shown.original,
        extraCertChain=[each.original for each in chain],
        trustRoot=None if ca is None else _authorities("core_listen", ca),
    )


def _certificate(
    name: str, certificate: str, key_name: str, key: str
) -> ssl.PrivateCertificate:
    first = _read_certificates(name, certificate)[0]
    try:
        pair = ssl.KeyPair.load(_read(key_name, key), FILETYPE_PEM)
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(first.original)
        context.use_privatekey(pair.original)
        context.check_privatekey()
    except (SSL.Error, ValueError) as error:
        raise SettingsError(
            f"{key_name} = {key!r}: not the key of {certificate!r}: {error}"
        ) from error
    return cast(
        "ssl.PrivateCertificate",
        ssl.PrivateCertificate.fromCertificateAndKeyPair(first, pair),
    )


def _authorities(name: str, path: str) -> Any:
    return ssl.trustRootFromCertificates(_read_certificates(name, path))


def _read_certificates(name: str, path: str) -> Sequence[ssl.Certificate]:
    end = b"-----END CERTIFICATE-----\n"
    pieces = _read(name, path).replace(b"\r\n", b"\n").split(end)[:-1]
    try:
        found = [ssl.Certificate.loadPEM(piece + end) for piece in pieces]
    except (SSL.Error, ValueError) as error:
        raise SettingsError(f"{name} = {path!r}: not a certificate: {error}") from error
    if not found:
        raise SettingsError(f"{name} = {path!r}: there is no PEM certificate in it")
    return found


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{name} = {path!r}: {error.strerror}") from error
