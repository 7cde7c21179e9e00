"""What the kernel does with a classic BPF program, for programs of ours."""

import operator
from collections.abc import Callable, Mapping, Sequence

from clusterapp.dispatch import steering
from clusterapp.dispatch.steering import Instruction, Program

WORD = 0xFFFFFFFF

#: What A becomes of A and the operand.
ARITHMETIC: Mapping[int, Callable[[int, int], int]] = {
    steering.MULTIPLY: lambda a, k: a * k & WORD,
    steering.AND: operator.and_,
    steering.SHIFT_RIGHT: operator.rshift,
    steering.MODULO: operator.mod,
    steering.XOR: operator.xor,
}


class Machine:
    """
    The machine that a program runs on.

    :param packet: the packet, from its network header on.
    :param random: the random word.
    """

    def __init__(self, packet: bytes, random: int) -> None:
        self._packet = packet
        self._random = random
        self._a = self._x = 0
        self._memory: dict[int, int] = {}

    def run(self, program: Program) -> int:
        """Run a program to its end; return what it returns."""
        at = 0
        while True:
            code, if_true, if_false, operand = program[at]
            at += 1
            match code:
                case steering.RETURN:
                    return operand
                case steering.RETURN_A:
                    return self._a
                case steering.JUMP:
                    at += operand
                case steering.JUMP_IF_EQUAL:
                    at += if_true if self._a == operand else if_false
                case steering.JUMP_IF_ABOVE_X:
                    at += if_true if self._a > self._x else if_false
                case _:
                    self._do(code, operand)

    def _do(self, code: int, operand: int) -> None:
        match code:
            case steering.LOAD_WORD:
                self._a = self._load(operand, 4)
            case steering.LOAD_BYTE:
                self._a = self._load(operand, 1)
            case steering.LOAD_MEMORY:
                self._a = self._memory[operand]
            case steering.LOAD_X_MEMORY:
                self._x = self._memory[operand]
            case steering.LOAD:
                self._a = operand
            case steering.STORE:
                self._memory[operand] = self._a
            case steering.COPY_TO_X:
                self._x = self._a
            case steering.XOR_X:
                self._a ^= self._x
            case _:
                self._a = ARITHMETIC[code](self._a, operand)

    def _load(self, place: int, length: int) -> int:
        if place == steering.RANDOM_WORD:
            return self._random
        begins = place - steering.NETWORK_HEADER
        assert 0 <= begins <= len(self._packet) - length
        return int.from_bytes(self._packet[begins : begins + length])


def packet_from(packed: bytes) -> bytes:
    """Make the head of a packet that comes from an address (RFC 791, RFC 8200)."""
    if len(packed) == 4:
        return b"\x45" + bytes(11) + packed + bytes(4)
    return b"\x60" + bytes(7) + packed + bytes(16)


def faults_of(program: Sequence[Instruction]) -> list[str]:
    """Return why the kernel would refuse a program; it checks jumps and operands."""
    faults = []
    for at, (code, if_true, if_false, operand) in enumerate(program):
        if not (0 <= if_true <= 255 and 0 <= if_false <= 255 and 0 <= operand <= WORD):
            faults.append(f"{at}: a field is out of its range")
        leap = operand if code == steering.JUMP else max(if_true, if_false)
        if code not in {steering.RETURN, steering.RETURN_A} and (
            at + 1 + leap >= len(program)
        ):
            faults.append(f"{at}: leads behind the end")
    return faults
