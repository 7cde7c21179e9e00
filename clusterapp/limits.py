"""The descriptors that this process may have: RLIMIT_NOFILE of getrlimit(2)."""

import resource

from twisted.logger import Logger

#: A hard limit below this is told: each connection of a client is a descriptor, and
#: those to the core, files and pipes are some more.
LOW = 4096

#: The soft limit is not raised beyond this, Linux's usual ``fs.nr_open``. Some
#: container runtimes set a billion, and there are programs that close each of them
#: when they start another.
MOST = 2**20

#: The part of the descriptors that connections of unknown clients may have.
_PART_OF_DESCRIPTORS = 4

_log = Logger()


def raise_descriptor_limit() -> None:
    """
    Raise the soft limit of this process, and so of its children, to the hard limit.

    The usual soft limit of 1,024 is for programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warn_of_low_limit() -> None:
    """Log a hard limit that is low: it cannot be raised from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LOW:
        _log.warn(
            "a process may have {hard} descriptors at most, and as many connections:"
            " raise the hard limit (ulimit -Hn, LimitNOFILE of systemd)",
            hard=hard,
        )


def part_of_descriptors(most: int) -> int:
    """
    Return how many connections of unknown clients may be held open at a time.

    :param most: the bound where there are descriptors enough.
    :return: no more than a quarter of the descriptors that this process may have; the
        others are left for what it serves already.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return most
    return min(most, descriptors // _PART_OF_DESCRIPTORS)
