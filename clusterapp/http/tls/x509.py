"""Client certificates, as Twisted's transports return them."""

from typing import Any


def pyopenssl_certificate(der: bytes | None) -> Any:
    """
    Return a certificate as ``getPeerCertificate`` of Twisted's transports returns it.

    :param der: a certificate in DER; None if the client has sent none.
    :return: an `OpenSSL.crypto.X509`, or None.
    """
    if der is None:
        return None
    # Imported here, since hardly any application asks for a certificate.
    from OpenSSL import crypto  # noqa: PLC0415

    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


def der_of(certificate: Any) -> bytes | None:
    """
    Return a certificate encoded in DER, or None.

    :param certificate: an `OpenSSL.crypto.X509`, or None.
    """
    if certificate is None:
        return None
    from OpenSSL import crypto  # noqa: PLC0415

    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
