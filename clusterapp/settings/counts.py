"""The kinds of value that supervision needs: numbers of things, and paths of URLs."""

import re
from dataclasses import dataclass

from clusterapp.settings.kinds import FilePath, Kind
from clusterapp.settings.listen import MOST_PORTS
from clusterapp.settings.problems import WrongValueError
from clusterapp.settings.words import decimal

#: More of anything than one master could have.
_MOST = 10**12


#: A path of a URL (RFC 3986, section 3.3), without its rarer signs.
_URL_PATH = re.compile(r"/[A-Za-z0-9/._~-]*")

#: The value that stands for no control socket.
OFF = "off"


class Count(Kind):
    """A number of things, at least one."""

    metavar = "N"

    def read(self, text: str) -> object:
        """Read a number."""
        number = decimal(text)
        return text if number is None else number

    def check(self, value: object) -> int:
        """Judge a number; True and False are none."""
        if type(value) is int and 0 < value <= _MOST:
            return value
        raise WrongValueError(value, "must be a number from 1 up")


class Port(Kind):
    """A TCP port."""

    metavar = "PORT"

    def read(self, text: str) -> object:
        """Read a number."""
        number = decimal(text)
        return text if number is None else number

    def check(self, value: object) -> int:
        """Judge a port that can be asked for by its number."""
        if type(value) is int and 0 < value <= MOST_PORTS:
            return value
        raise WrongValueError(value, f"must be a port, from 1 to {MOST_PORTS}")


class UrlPath(Kind):
    """The path of a URL."""

    metavar = "/PATH"

    def check(self, value: object) -> str:
        """Judge a path that needs no escapes."""
        if isinstance(value, str) and _URL_PATH.fullmatch(value):
            return value
        raise WrongValueError(value, "must be the path of a URL, as in /healthz")


@dataclass(frozen=True)
class ControlPlace(FilePath):
    """The path of the control socket, or ``off``."""

    metavar = "PATH|off"
