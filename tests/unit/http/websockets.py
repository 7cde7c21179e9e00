"""What clients of WebSockets send, written by hand (RFC 6455)."""

#: The fields of an opening handshake, with their line ends.
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
#: The first byte of a frame that begins a message, and of those that go on with it.
FIRST, MORE, LAST = 0x02, 0x00, 0x80


def header(first: int, length: int, mask: bytes = b"\0\0\0\0") -> bytes:
    """
    Write the header of a client's frame.

    :param first: its first byte: FIN, the reserved bits and the opcode.
    :param length: the length of its payload.
    :param mask: the key that the payload is masked with; empty for no mask.
    """
    masked = 0x80 if mask else 0
    if length < 126:
        lengths = bytes((masked | length,))
    elif length < 1 << 16:
        lengths = bytes((masked | 126,)) + length.to_bytes(2, "big")
    else:
        lengths = bytes((masked | 127,)) + length.to_bytes(8, "big")
    return bytes((first,)) + lengths + mask


def frame(payload: bytes, first: int = BINARY, mask: bytes = b"\0\0\0\0") -> bytes:
    """Write a client's frame; see `header`."""
    length = len(payload)
    key = ((mask or b"\0") * (length + 1))[:length]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return header(first, length, mask) + number.to_bytes(length, "big")
