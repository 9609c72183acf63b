"""What happens to recordings on their way: each function damages one file in one way."""

from collections.abc import Callable
from random import Random

from tests.ogg import with_checksums
from tests.reliability.header_fields import fields_of

Mutation = Callable[[bytes, bytes, Random], bytes]
"""The file, another file, and what is drawn from."""

HEADER_BYTES = 256
FIRST_FIELDS = 40
TRAILER_BYTES = 2048
"""MP4 keeps its tables at the end."""
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 2**32 - 1)
ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".sph", ".m4a", ".webm", ".raw",
           ".aac", ".amr", ".ts", ".txt", ".m3u8", "")  # fmt: skip


def flip_bits(data: bytes, _: bytes, random: Random) -> bytes:
    """1 to 64 bits, anywhere."""
    changed = bytearray(data)
    for _number in range(2 ** random.randrange(7)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite_bytes(data: bytes, _: bytes, random: Random) -> bytes:
    """One to 16 places, each up to 64 bytes of noise or of one value."""
    changed = bytearray(data)
    for _number in range(random.randint(1, 16)):
        place, length = random.randrange(len(changed)), random.randint(1, 64)
        value = random.choice([random.randbytes(length), bytes(length), b"\xff" * length])
        changed[place : place + length] = value[: len(changed) - place]
    return bytes(changed)


def truncate(data: bytes, _: bytes, random: Random) -> bytes:
    """Cut off near a 64th of the file, or within its first bytes."""
    if random.random() < 0.25:
        return data[: random.randrange(HEADER_BYTES)]
    return data[: len(data) * random.randrange(64) // 64 + random.randrange(4)]


def edit_header(data: bytes, _: bytes, random: Random) -> bytes:
    """One to four fields near the beginning or the end, set to values at an edge or to any."""
    changed = bytearray(data)
    for _number in range(random.randint(1, 4)):
        width = random.choice((1, 2, 4, 8))
        limits = (0, HEADER_BYTES) if random.random() < 0.75 else (-TRAILER_BYTES, 0)
        place = max(0, min(random.randrange(*limits) % len(changed), len(changed) - width))
        value = random.choice([random.choice(EDGES), random.randrange(2 ** (8 * width))])
        field = (value % 2 ** (8 * width)).to_bytes(width, random.choice(["little", "big"]))
        changed[place : place + width] = field
    return bytes(changed)


def edit_fields(data: bytes, _: bytes, random: Random) -> bytes:
    """One to three fields of the container's headers, wherever they stand: to values at an edge, or
    near what they say, or near the file's size, either sign."""
    for _number in range(random.randint(1, 3)):
        fields = fields_of(data)
        if not fields:
            return data
        # The first ones say most.
        field = random.choice(fields[:FIRST_FIELDS] if random.random() < 0.7 else fields)
        said, bits = field.read(data), 8 * field.width
        near = [said + 1, said - 1, 2 * said, said // 2, -said, said ^ 1 << random.randrange(bits)]
        sizes = [len(data), len(data) - field.place, -random.randrange(1, len(data) + 1)]
        values = [*near, *sizes, random.choice(EDGES), 2**63 - 1, 2**63, random.randrange(2**bits)]
        data = field.write(data, random.choice(values))
    return data


def splice(data: bytes, other: bytes, random: Random) -> bytes:
    """A part left out, doubled, or from elsewhere."""
    start, end = sorted(random.choices(range(len(data) + 1), k=2))
    first, last = sorted(random.choices(range(len(other) + 1), k=2))
    part = random.choice([b"", data[start:end] * 2, other[first:last]])
    return data[:start] + part + data[end:]


def concatenate(data: bytes, other: bytes, random: Random) -> bytes:
    """Another file behind it, before it, or text."""
    lines = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
    return random.choice([data + other, other + data, data + data, lines + data, data + lines])


def leave(data: bytes, _: bytes, random: Random) -> bytes:
    """Nothing: only the name will be wrong."""
    return data


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    overwrite_bytes,
    truncate,
    edit_header,
    edit_fields,
    splice,
    concatenate,
    leave,
)


def mutate(data: bytes, ending: str, other: bytes, random: Random) -> tuple[bytes, str, str]:
    """A damaged file, the ending of its name, and what was done."""
    mutation = random.choice(MUTATIONS)
    changed = mutation(data, other, random)
    if changed[:4] == b"OggS" and random.random() < 0.75:
        changed = with_checksums(changed)
    wrong = mutation is leave or random.random() < 0.1
    return changed, random.choice(ENDINGS) if wrong else ending, mutation.__name__
