"""The limit of this process's descriptors: RLIMIT_NOFILE of getrlimit(2)."""

import resource

from twisted.logger import Logger

#: A hard limit below this is logged: each client connection is a descriptor, and
#: connections to the core, files and pipes are some more.
LOW = 4096

#: The soft limit is not raised beyond this, Linux's usual ``fs.nr_open``. Some
#: container runtimes set a billion, and some programs close each possible descriptor
#: when they start another program.
MOST = 2**20

#: Connections of one kind may use one in so many of the descriptors.
_PART_OF_DESCRIPTORS = 4

_log = Logger()


def raise_descriptor_limit() -> None:
    """
    Raise the soft limit of this process and its children to the hard limit.

    The usual soft limit of 1,024 is for programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warn_of_low_limit() -> None:
    """Log a warning if the hard limit is low: it cannot be raised from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LOW:
        _log.warn(
            "a process may have {hard} descriptors at most, and as many connections:"
            " raise the hard limit (ulimit -Hn, LimitNOFILE of systemd)",
            hard=hard,
        )


def part_of_descriptors(most: int) -> int:
    """
    Return the most connections of one kind that may be open at a time.

    The kinds are those of unknown clients, and idle ones to another process.

    :param most: the bound if there are enough descriptors.
    :return: at most a quarter of the descriptors that this process may have; the rest
        is reserved for the connections that are served already.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return most
    return min(most, descriptors // _PART_OF_DESCRIPTORS)
