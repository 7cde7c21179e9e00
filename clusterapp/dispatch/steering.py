"""
Classic BPF programs that choose a socket of an SO_REUSEPORT group, in the kernel.

They are for ``SO_ATTACH_REUSEPORT_CBPF``, see socket(7); the kernel's document
networking/filter.rst describes the instructions. Member 0 of a group is the listener's
first socket, member n + 1 is the socket of slot n. A program returns the number of the
member; a packet that it cannot read goes to member 0.

Classic BPF has no loops, a conditional jump skips at most 255 instructions, and the
state is 16 words of memory, M[], and the registers A and X.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from struct import unpack

from clusterapp.dispatch.rendezvous import ROUNDS, salted

#: One instruction, as struct sock_filter: code, jump if true, jump if false, operand.
Instruction = tuple[int, int, int, int]
Program = Sequence[Instruction]

#: BPF_MAXINSNS: the most instructions of a program that the kernel accepts.
MOST_INSTRUCTIONS = 4096

# The codes of the instructions, with their mnemonics.
LOAD = 0x00  # ld  #k
LOAD_WORD = 0x20  # ld  [k]
LOAD_BYTE = 0x30  # ldb [k]
LOAD_MEMORY = 0x60  # ld  M[k]
LOAD_X_MEMORY = 0x61  # ldx M[k]
STORE = 0x02  # st  M[k]
COPY_TO_X = 0x07  # tax
MULTIPLY = 0x24  # mul #k
AND = 0x54  # and #k
SHIFT_RIGHT = 0x74  # rsh #k
MODULO = 0x94  # mod #k
XOR = 0xA4  # xor #k
XOR_X = 0xAC  # xor x
JUMP = 0x05  # ja  k
JUMP_IF_EQUAL = 0x15  # jeq #k
JUMP_IF_ABOVE_X = 0x2D  # jgt x
RETURN = 0x06  # ret #k
RETURN_A = 0x16  # ret a

# Special offsets of loads, as 32 bits: SKF_NET_OFF, the start of the packet's network
# header, and SKF_AD_OFF + SKF_AD_RANDOM, a random word.
NETWORK_HEADER = 0xFFF00000
RANDOM_WORD = 0xFFFFF000 + 56

# The offsets of the source address (RFC 791, section 3.1, and RFC 8200, section 3).
_IPV4_SOURCE = 12
_IPV6_SOURCE = 8

# The words of M[].
_HASH, _HEAVIEST, _MEMBER = range(3)


def first_only() -> Program:
    """Return a program that gives every connection to the group's first socket."""
    return [_do(RETURN, 0)]


def at_random(slots: Sequence[int]) -> Program:
    """
    Return a program that gives each connection to a random slot, all equally likely.

    :raise ValueError: there is no slot, or there are too many for a program.
    """
    if not slots:
        raise ValueError("there is no slot to choose")
    return _checked(_random_choice(slots))


def by_address(
    slots: Sequence[int], spread: Sequence[IPv4Network | IPv6Network] = ()
) -> Program:
    """
    Return a program that gives a client's connections to the slot of its address.

    The slot is that of `clusterapp.dispatch.rendezvous.slot_of_address`. The program
    distinguishes IPv4 and IPv6 by the packet: sockets that an operator passes can be
    dual-stack.

    :param slots: the numbers of all slots.
    :param spread: networks whose connections are distributed at random, such as those
        of proxies, whose address is not a client's.
    :raise ValueError: there is no slot, or there are too many slots or networks for a
        program.
    """
    if not slots:
        raise ValueError("there is no slot to choose")
    # Built from the end, since jumps only go forward: for addresses distributed at
    # random the program jumps behind `weighing`, and for IPv4 over the part for IPv6.
    weighing = _weighing(slots)
    of_six = [network for network in spread if isinstance(network, IPv6Network)]
    of_four = [network for network in spread if isinstance(network, IPv4Network)]
    six = _reading(_IPV6_SOURCE, 4, of_six, weighing)
    to_weighing = _do(JUMP, len(six) - len(weighing))
    four = _reading(_IPV4_SOURCE, 1, of_four, [to_weighing, *six])
    to_six = _do(JUMP, len(four) - len(six))
    return _checked([*_unless_version_4(), to_six, *four, *_random_choice(slots)])


def _do(code: int, operand: int = 0) -> Instruction:
    return code, 0, 0, operand


def _checked(program: Program) -> Program:
    if len(program) > MOST_INSTRUCTIONS:
        raise ValueError(
            f"these slots and networks make a program of {len(program)} instructions;"
            f" the kernel takes {MOST_INSTRUCTIONS}"
        )
    return program


def _unless_version_4() -> Program:
    """Return a program that skips the next instruction if the packet is IPv4."""
    return [
        _do(LOAD_BYTE, NETWORK_HEADER),
        _do(SHIFT_RIGHT, 4),
        (JUMP_IF_EQUAL, 1, 0, 4),
    ]


def _reading(
    begins: int,
    words: int,
    spread: Sequence[IPv4Network | IPv6Network],
    rest: Program,
) -> Program:
    """
    Return a program that stores the hash of the source in M[], followed by the rest.

    :param begins: the offset of the address from the network header, in bytes.
    :param words: the length of the address in words of 32 bits.
    :param spread: networks for whose addresses the program jumps behind the rest.
    :param rest: the program that follows.
    """
    rest = [*_hashing(begins, words), *rest]
    for network in spread:
        rest = [*_unless_in(network, begins), _do(JUMP, len(rest)), *rest]
    return rest


def _unless_in(network: IPv4Network | IPv6Network, begins: int) -> Program:
    """Return a program that skips one instruction if the source is not in a network."""
    masks = _words(network.netmask.packed)
    wanted = _words(network.network_address.packed)
    tested = [index for index, mask in enumerate(masks) if mask]
    program: list[Instruction] = []
    for index in reversed(tested):
        program = [
            _do(LOAD_WORD, NETWORK_HEADER + begins + 4 * index),
            _do(AND, masks[index]),
            (JUMP_IF_EQUAL, 0, len(program) + 1, wanted[index]),
            *program,
        ]
    return program


def _words(packed: bytes) -> Sequence[int]:
    return unpack(f">{len(packed) // 4}I", packed)


def _hashing(begins: int, words: int) -> Program:
    program = [_do(LOAD, 0), _do(STORE, _HASH)]
    for index in range(words):
        program += [
            _do(LOAD_WORD, NETWORK_HEADER + begins + 4 * index),
            _do(LOAD_X_MEMORY, _HASH),
            _do(XOR_X),
            *_mixing(),
            _do(STORE, _HASH),
        ]
    return program


def _mixing() -> Program:
    """Return a program that applies `clusterapp.dispatch.rendezvous.mix` to A."""
    return [
        instruction
        for shift, factor in ROUNDS
        for instruction in (
            _do(COPY_TO_X),
            _do(SHIFT_RIGHT, shift),
            _do(XOR_X),
            _do(MULTIPLY, factor),
        )
    ]


def _weighing(slots: Sequence[int]) -> Program:
    """Return a program that chooses the slot of highest weight for the hash in M[]."""
    (_, first), *_ = weighed = salted(slots)
    program = [
        _do(LOAD, 0),
        _do(STORE, _HEAVIEST),
        _do(LOAD, first + 1),
        _do(STORE, _MEMBER),
    ]
    for salt, slot in weighed:
        program += [
            _do(LOAD_MEMORY, _HASH),
            _do(XOR, salt),
            *_mixing(),
            _do(LOAD_X_MEMORY, _HEAVIEST),
            (JUMP_IF_ABOVE_X, 0, 3, 0),
            _do(STORE, _HEAVIEST),
            _do(LOAD, slot + 1),
            _do(STORE, _MEMBER),
        ]
    return [*program, _do(LOAD_MEMORY, _MEMBER), _do(RETURN_A)]


def _random_choice(slots: Sequence[int]) -> Program:
    program = [_do(LOAD_WORD, RANDOM_WORD), _do(MODULO, len(slots))]
    for index, slot in enumerate(slots):
        program += [(JUMP_IF_EQUAL, 0, 1, index), _do(RETURN, slot + 1)]
    return [*program, _do(RETURN, 0)]
