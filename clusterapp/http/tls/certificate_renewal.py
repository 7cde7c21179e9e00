"""Renewal of one certificate: valid new files replace it, invalid ones do not."""

from collections.abc import Hashable

from twisted.logger import Logger

from clusterapp.http.tls.pem import Certificate, Files, UnusableError, read

#: Seconds for which files may be invalid before that is logged: the certificate and its
#: key are replaced one after the other.
SETTLING = 5.0

_log = Logger()


class ErrorLimit:
    """Rate limit of an error message: once per error, after it lasts for a while."""

    def __init__(self) -> None:
        self._subject: Hashable = None
        self._since = 0.0
        self._is_logged = False

    def is_due(self, subject: Hashable, now: float) -> bool:
        """
        Record an error, and return whether it is to be logged now.

        :param subject: the error; the time begins anew for a different one.
        :param now: the current time, in seconds since the epoch.
        """
        if subject != self._subject:
            self._subject, self._since, self._is_logged = subject, now, False
        if self._is_logged or now - self._since < SETTLING:
            return False
        self._is_logged = True
        return True

    def settle(self) -> None:
        """Record that the error is over."""
        self._subject = None


class WatchedCertificate:
    """
    Served certificate, and the files that are checked for its renewals.

    :param files: the files that the certificate is read from.
    :ivar served: the certificate that is served now; None before the first valid one.
    """

    def __init__(self, files: Files) -> None:
        self.served: Certificate | None = None
        self._files = files
        self._error_limit = ErrorLimit()

    def begin(self, now: float) -> None:
        """
        Read the certificate for the first time.

        A certificate that is not valid today is served with a warning: clients that
        verify its dates refuse it by themselves, and other clients are not locked out
        by a restart, or by a clock that is wrong.

        :param now: the current time, in seconds since the epoch.
        :raise UnusableError: if the certificate cannot be served.
        """
        self.served = read(self._files)
        try:
            self.served.check_dates(now)
        except UnusableError as error:
            _log.warn("serving a certificate that is not valid: {error}", error=error)

    def look(self, now: float) -> None:
        """
        Check the files for a renewal, and serve it if it is valid.

        :param now: the current time, in seconds since the epoch.
        """
        mark = self._files.mark()
        if self.served is not None and self.served.mark == mark:
            self._error_limit.settle()
            return
        # Files that were invalid before are read again: a certificate that was not
        # valid yet becomes valid without a change of its files.
        try:
            renewed = read(self._files)
            renewed.check_dates(now)
        except UnusableError as error:
            self._refuse(error, mark, now)
        else:
            self._serve(renewed)

    def _refuse(self, error: UnusableError, mark: Hashable, now: float) -> None:
        if not self._error_limit.is_due(mark, now):
            return
        if self.served is None:
            _log.error("cannot serve a new certificate: {error}", error=error)
        else:
            _log.error(
                "cannot renew a certificate: {error}; still serving {old}",
                error=error,
                old=self.served,
            )

    def _serve(self, certificate: Certificate) -> None:
        self._error_limit.settle()
        self.served = certificate
        _log.info("now serving the certificate {new}", new=certificate)
