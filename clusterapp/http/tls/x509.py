"""Clients' certificates, as Twisted's transports give them."""

from typing import Any


def pyopenssl_certificate(der: bytes | None) -> Any:
    """
    Make what ``getPeerCertificate`` of Twisted's own transports returns.

    :param der: a certificate in DER; None if the client has shown none.
    :return: an `OpenSSL.crypto.X509`; None if there is none.
    """
    if der is None:
        return None
    # Hardly any application asks for it.
    from OpenSSL import crypto  # noqa: PLC0415

    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


def der_of(certificate: Any) -> bytes | None:
    """
    Write a certificate in DER.

    :param certificate: an `OpenSSL.crypto.X509`, or None.
    """
    if certificate is None:
        return None
    from OpenSSL import crypto  # noqa: PLC0415

    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
