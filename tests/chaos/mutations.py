"""What is done to the bytes of a message before they are sent."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from google.protobuf.internal.encoder import _VarintBytes

Mutation = Callable[[bytes, Random], bytes]

_VARINTS = [0, 1, 127, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
_LENGTHS = [1, 2, 100, 2**31 - 1, 2**32, 2**63]


def field(number: int, content: bytes) -> bytes:
    """A field of text, bytes or a message on the wire."""
    return _VarintBytes(number << 3 | 2) + _VarintBytes(len(content)) + content


def mutated(payload: bytes, random: Random) -> bytes:
    """The bytes after one to four mutations."""
    for _ in range(random.randint(1, 4)):
        payload = random.choice(MUTATIONS)(payload, random)
    return payload


def _flipped(payload: bytes, random: Random) -> bytes:
    """Some bits are others."""
    changed = bytearray(payload)
    for _ in range(random.randint(1, 3) if changed else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _truncated(payload: bytes, random: Random) -> bytes:
    return payload[: random.randint(0, len(payload))]


def _without(payload: bytes, random: Random) -> bytes:
    """A few bytes are missing."""
    start = random.randint(0, len(payload))
    return payload[:start] + payload[start + random.randint(1, 8) :]


def _doubled(payload: bytes, random: Random) -> bytes:
    """The message stands twice: fields of one value take the last, repeated ones grow, nested ones merge."""
    return payload + payload[: random.choice([len(payload), random.randint(0, len(payload))])]


def _with_noise(payload: bytes, random: Random) -> bytes:
    start = random.randint(0, len(payload))
    return payload[:start] + random.randbytes(random.randint(1, 12)) + payload[start:]


def _with_varint(payload: bytes, random: Random) -> bytes:
    """A field that has any number, or is not known, and a number without measure."""
    number = random.choice([*range(1, 16), 1000, 2**29 - 1])
    return payload + _VarintBytes(number << 3) + _VarintBytes(random.choice(_VARINTS))


def _with_wire_type(payload: bytes, random: Random) -> bytes:
    """A field of another kind than the contract has: fixed, grouped, or of a kind that there is none."""
    kind = random.choice([1, 3, 4, 5, 6, 7])
    return payload + _VarintBytes(random.randint(0, 15) << 3 | kind) + random.randbytes(random.choice([0, 4, 8]))


def _with_length(payload: bytes, random: Random) -> bytes:
    """A field that says it is longer than what follows."""
    tag = _VarintBytes(random.randint(1, 15) << 3 | 2)
    return payload + tag + _VarintBytes(random.choice(_LENGTHS)) + random.randbytes(random.randint(0, 8))


def _endless_varint(payload: bytes, random: Random) -> bytes:
    return payload + b"\xff" * random.randint(1, 12)


def _nested(payload: bytes, random: Random) -> bytes:
    """Messages within messages, up to beyond what protobuf and filters allow."""
    inner = b""
    number = random.choice([1, 2, 3, 4, 5])
    for _ in range(random.choice([3, 16, 17, 60, 99, 101, 400])):
        inner = field(number, inner)
    return payload + field(random.randint(1, 7), inner)


def _noise(payload: bytes, random: Random) -> bytes:
    """Nothing of the message is left."""
    return random.randbytes(random.choice([0, 1, 2, 8, 64, 512]))


MUTATIONS: list[Mutation] = [
    *[_flipped] * 4,
    _truncated,
    _without,
    _doubled,
    _with_noise,
    _with_varint,
    _with_wire_type,
    _with_length,
    _endless_varint,
    _nested,
    _noise,
]
"""Each as likely as the others; bits are flipped more often."""
