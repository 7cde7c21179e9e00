"""
Classic BPF programs that choose a socket of a reuseport group, in the kernel.

They are for ``SO_ATTACH_REUSEPORT_CBPF``, see socket(7); filter.rst among the kernel's
documents on networking has the instructions. Member 0 of a group is the listener's
first socket, member n + 1 is that of slot n. What a program returns is the number of
the member; a packet that it cannot read goes to member 0.

There are no loops, a conditional jump leads at most 255 instructions ahead, and 16
words of memory, M[], are all there is beside the registers A and X.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from struct import unpack

from clusterapp.dispatch.rendezvous import ROUNDS, salted

#: One instruction, as struct sock_filter: code, jumps if true and false, operand.
Instruction = tuple[int, int, int, int]
Program = Sequence[Instruction]

#: BPF_MAXINSNS: the longest program that the kernel takes.
MOST_INSTRUCTIONS = 4096

# The codes of the instructions: what BPF's own mnemonics stand for.
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

# Places that are no bytes of the packet, as 32 bits: SKF_NET_OFF, where its network
# header begins, and SKF_AD_OFF + SKF_AD_RANDOM, a random word.
NETWORK_HEADER = 0xFFF00000
RANDOM_WORD = 0xFFFFF000 + 56

# RFC 791, section 3.1, and RFC 8200, section 3: where the source address begins.
_IPV4_SOURCE = 12
_IPV6_SOURCE = 8

# What is in M[].
_HASH, _HEAVIEST, _MEMBER = range(3)


def first_only() -> Program:
    """Give every connection to the group's first socket."""
    return [_do(RETURN, 0)]


def at_random(slots: Sequence[int]) -> Program:
    """
    Give each connection to any of some slots, all as likely.

    :raise ValueError: there is no slot, or there are too many for a program.
    """
    if not slots:
        raise ValueError("there is no slot to choose")
    return _checked(_random_choice(slots))


def by_address(
    slots: Sequence[int], spread: Sequence[IPv4Network | IPv6Network] = ()
) -> Program:
    """
    Give a client's connections to the slot that its address has.

    It is what `clusterapp.dispatch.rendezvous.slot_of_address` says. IPv4 is told
    from IPv6 by the packet: sockets that an operator passes may take both.

    :param slots: the numbers of the slots there are.
    :param spread: networks whose connections are distributed at random, such as
        those of proxies, whose address is no client's.
    :raise ValueError: there is no slot, or there are too many of them, or of the
        networks, for a program.
    """
    if not slots:
        raise ValueError("there is no slot to choose")
    # Written from the end, as jumps lead forwards: what is distributed at random goes
    # on behind all of `weighing`, and IPv4 leaps over what reads IPv6.
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
    """Leave the next instruction out where the packet is of IPv4."""
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
    Put the hash of a source address into M[], go on with the rest.

    :param begins: where in the packet the address begins.
    :param words: its length in words of 32 bits.
    :param spread: networks whose sources go on behind the rest instead.
    """
    rest = [*_hashing(begins, words), *rest]
    for network in spread:
        rest = [*_unless_in(network, begins), _do(JUMP, len(rest)), *rest]
    return rest


def _unless_in(network: IPv4Network | IPv6Network, begins: int) -> Program:
    """Leave the next instruction out where the source is not in a network."""
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
    """Do to A what `clusterapp.dispatch.rendezvous.mix` does."""
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
    """Return the member of the slot that weighs most for the hash in M[]."""
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
