"""
The slot of a key, by rendezvous hashing (highest random weight).

Each slot weighs each key, and the heaviest has it. So a slot that is added takes keys
from all the others and moves none between them, and one that goes leaves its own keys
to the others and moves nothing else. All processes come to the same choice, whatever
the order in which they name the slots.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import unpack

#: How many keys are remembered, and up to what length in bytes.
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 128

_WORD = 0xFFFFFFFF

#: The rounds of `mix`, each a shift and a factor: bits go down, then up.
#:
#: The figures are those of the search for the integer hash of least bias by Chris
#: Wellons ("hash-prospector"); the last factor leaves all as it is.
ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97), (15, 1))

#: How an IPv6 address begins that stands for an IPv4 one (RFC 4291, 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"


def slot_of(key: bytes, slots: Sequence[int]) -> int:
    """
    Choose the slot of a key.

    :param key: what is known of the client, of any length.
    :param slots: the numbers of the slots there are, in any order.
    :raise ValueError: there is no slot.
    """
    if len(key) > _LONGEST_REMEMBERED:
        return _heaviest(key, tuple(slots))
    return _remembered(key, tuple(slots))


def slot_of_address(packed: bytes, slots: Sequence[int]) -> int:
    """
    Choose the slot of an IP address, as `clusterapp.dispatch.steering` does.

    It is arithmetic on 32 bits, so that a classic BPF program can do the same.

    :param packed: the address in network byte order, 4 or 16 bytes; an IPv4 address
        in an IPv6 one is that IPv4 address.
    :param slots: the numbers of the slots there are, in any order.
    :raise ValueError: there is no slot.
    """
    return _remembered_address(packed, tuple(slots))


def mix(word: int) -> int:
    """Make each bit of 32 depend on all of them, in a way that can be undone."""
    for shift, factor in ROUNDS:
        word = (word ^ word >> shift) * factor & _WORD
    return word


def salted(slots: Sequence[int]) -> Sequence[tuple[int, int]]:
    """
    Give each slot's salt and the slot, in the order in which they are weighed.

    A slot's weight for an address of that hash is ``mix(hash ^ salt)``; of equal
    weights the first counts.
    """
    return [(_salt(slot), slot) for slot in sorted(slots)]


@lru_cache(_REMEMBERED)
def _remembered(key: bytes, slots: tuple[int, ...]) -> int:
    return _heaviest(key, slots)


def _heaviest(key: bytes, slots: tuple[int, ...]) -> int:
    return max(slots, key=lambda slot: (_weight(slot, key), slot))


def _weight(slot: int, key: bytes) -> bytes:
    weighing = _scales(slot).copy()
    weighing.update(key)
    return weighing.digest()


@lru_cache(_REMEMBERED)
def _scales(slot: int) -> blake2b:
    """Begin a slot's hash, which is copied for each key."""
    return blake2b(key=b"slot %d" % slot, digest_size=8)


@lru_cache(_REMEMBERED)
def _salt(slot: int) -> int:
    return int.from_bytes(blake2b(b"slot %d" % slot, digest_size=4).digest())


@lru_cache(_REMEMBERED)
def _remembered_address(packed: bytes, slots: tuple[int, ...]) -> int:
    digest = _address_hash(packed.removeprefix(_MAPPED))
    # `max` takes the first of equals, and so does the kernel's program.
    _, slot = max(salted(slots), key=lambda pair: mix(digest ^ pair[0]))
    return slot


def _address_hash(packed: bytes) -> int:
    digest = 0
    for word in unpack(f">{len(packed) // 4}I", packed):
        digest = mix(digest ^ word)
    return digest
