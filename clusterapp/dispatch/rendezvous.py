"""
The slot of a key, by rendezvous hashing (highest random weight).

Each slot has a weight for each key, and the slot with the highest weight gets the key.
So a slot that is added takes keys from all other slots, and moves no key between these;
a slot that is removed moves only its own keys to the remaining slots. All processes
make the same choice, regardless of the order of the slots.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import unpack

#: The number of keys that are cached, and the greatest length of a cached key in bytes.
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 128

_WORD = 0xFFFFFFFF

#: The rounds of `mix`, each a right shift, which moves bits down, and a factor, which
#: moves them up.
#:
#: The constants are from Chris Wellons's search for the integer hash of least bias
#: ("hash-prospector"); the last factor has no effect.
ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97), (15, 1))

#: The prefix of an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"


def slot_of(key: bytes, slots: Sequence[int]) -> int:
    """
    Return the slot of a key.

    :param key: the client's key, of any length.
    :param slots: the numbers of all slots, in any order.
    :raise ValueError: there is no slot.
    """
    if len(key) > _LONGEST_REMEMBERED:
        return _heaviest(key, tuple(slots))
    return _remembered(key, tuple(slots))


def slot_of_address(packed: bytes, slots: Sequence[int]) -> int:
    """
    Return the slot of an IP address, the same one as `clusterapp.dispatch.steering`.

    The hash is 32-bit arithmetic, so that a classic BPF program can compute it.

    :param packed: the address in network byte order, 4 or 16 bytes; an IPv4-mapped IPv6
        address has the slot of its IPv4 address.
    :param slots: the numbers of all slots, in any order.
    :raise ValueError: there is no slot.
    """
    return _remembered_address(packed, tuple(slots))


def mix(word: int) -> int:
    """Return an invertible hash of 32 bits; each bit depends on all of them."""
    for shift, factor in ROUNDS:
        word = (word ^ word >> shift) * factor & _WORD
    return word


def salted(slots: Sequence[int]) -> Sequence[tuple[int, int]]:
    """
    Return each slot's salt and the slot, in the order in which weights are compared.

    A slot's weight for the hash of an address is ``mix(hash ^ salt)``; of equal
    weights the first one wins.
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
    """Return the initial hash object of a slot, which is copied for each key."""
    return blake2b(key=b"slot %d" % slot, digest_size=8)


@lru_cache(_REMEMBERED)
def _salt(slot: int) -> int:
    return int.from_bytes(blake2b(b"slot %d" % slot, digest_size=4).digest())


@lru_cache(_REMEMBERED)
def _remembered_address(packed: bytes, slots: tuple[int, ...]) -> int:
    digest = _address_hash(packed.removeprefix(_MAPPED))
    # `max` returns the first of equal weights, and so does the BPF program.
    _, slot = max(salted(slots), key=lambda pair: mix(digest ^ pair[0]))
    return slot


def _address_hash(packed: bytes) -> int:
    digest = 0
    for word in unpack(f">{len(packed) // 4}I", packed):
        digest = mix(digest ^ word)
    return digest
