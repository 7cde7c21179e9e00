"""One certificate that is watched: a good renewal replaces it, a bad one does not."""

from collections.abc import Hashable

from twisted.logger import Logger

from clusterapp.http.tls.pem import Certificate, Files, UnusableError, read

#: Seconds that files may be bad without a word: their certificate and their key are
#: replaced one after the other.
SETTLING = 5.0

_log = Logger()


class Complaint:
    """When to say that something is bad: once, after it has been so for a while."""

    def __init__(self) -> None:
        self._subject: Hashable = None
        self._since = 0.0
        self._said = False

    def is_due(self, subject: Hashable, now: float) -> bool:
        """
        Hear what is bad, and tell whether it is time to say so.

        :param subject: what is bad, in what way; the time begins anew for another.
        :param now: seconds since the epoch.
        """
        if subject != self._subject:
            self._subject, self._since, self._said = subject, now, False
        if self._said or now - self._since < SETTLING:
            return False
        self._said = True
        return True

    def settle(self) -> None:
        """Hear that all is well."""
        self._subject = None


class Watched:
    """
    A certificate, and the files in which its renewals are found.

    :param files: where it is read from.
    :ivar served: what is served now; None before the first good one.
    """

    def __init__(self, files: Files) -> None:
        self.served: Certificate | None = None
        self._files = files
        self._complaint = Complaint()

    def begin(self, now: float) -> None:
        """
        Read the certificate for the first time.

        One that is not valid today is served with a warning: clients that insist
        on a valid one refuse it by themselves, and the others are not locked out
        by a restart, or by a clock that is wrong.

        :param now: seconds since the epoch.
        :raise UnusableError: if it cannot be served.
        """
        self.served = read(self._files)
        try:
            self.served.check_dates(now)
        except UnusableError as error:
            _log.warn("serving a certificate that is not valid: {error}", error=error)

    def look(self, now: float) -> None:
        """
        Look for a renewal, and serve it if it is good.

        :param now: seconds since the epoch.
        """
        mark = self._files.mark()
        if self.served is not None and self.served.mark == mark:
            self._complaint.settle()
            return
        # What was bad before is read again: time may heal it, without a change.
        try:
            renewed = read(self._files)
            renewed.check_dates(now)
        except UnusableError as error:
            self._refuse(error, mark, now)
        else:
            self._serve(renewed)

    def _refuse(self, error: UnusableError, mark: Hashable, now: float) -> None:
        if not self._complaint.is_due(mark, now):
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
        self._complaint.settle()
        self.served = certificate
        _log.info("now serving the certificate {new}", new=certificate)
