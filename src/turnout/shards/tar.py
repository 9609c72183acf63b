"""Members of a tar file, as `tar` and WebDataset read them: written in one way, and taken in no
other.

A member is made of a header of 512 bytes and its data, filled up with zeros. What is read is
compared with what would have been written for the same name and size, so that links, devices,
sparse files, extended headers, absolute names and sizes that lie have nowhere to be. Nothing is
ever put on a disk. This file knows nothing of sound.
"""

from turnout.errors import shown

BLOCK = 512
END = bytes(2 * BLOCK)
"""Of a whole tar file."""
KIND, MAGIC = 156, slice(257, 265)
SIZE = slice(124, 136)
USTAR = b"ustar\x0000"
LARGEST_SIZE = 8**11 - 1
KINDS = {
    "1": "a hard link",
    "2": "a symbolic link",
    "3": "a device",
    "4": "a device",
    "5": "a folder",
    "6": "a pipe",
    "7": "a file of another kind",
    "S": "a sparse file",
    "L": "a long name",
    "K": "a long link",
    "x": "an extended header",
    "X": "an extended header",
    "g": "an extended header",
    "V": "a volume's label",
    "M": "another volume's part",
    "D": "a list of names",
}
"""What the mark of a member that is no file means."""


class MemberError(ValueError):
    """A member is none that was written here; says why."""


def header_of(name: str, size: int) -> bytes:
    """The header of a plain file: no owner, no time, so that the same data are the same bytes."""
    fields = (
        name.encode("ascii").ljust(100, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,
        f"{size:011o}\0".encode(),
        b"00000000000\0",
    )
    begin = b"".join(fields)
    rest = (b"0" + bytes(100) + USTAR).ljust(BLOCK - len(begin) - 8, b"\0")
    total = sum(begin) + sum(rest) + 8 * ord(" ")
    return begin + f"{total:06o}\0 ".encode() + rest


def member(name: str, data: bytes) -> bytes:
    """A file as it lies in a tar."""
    return header_of(name, len(data)) + data + bytes(-len(data) % BLOCK)


def read_member(block: memoryview, at: int, name: str) -> tuple[memoryview, int]:
    """The data of the file of this name whose header lies `at`, and where the next one begins.

    Raises MemberError for anything else, and where the data would not end within `block`.
    """
    header = bytes(block[at : at + BLOCK])
    size = _size(header, name)
    begin = at + BLOCK
    end = begin + size + -size % BLOCK
    if end > len(block):
        rest = max(len(block) - begin, 0)
        raise MemberError(f"{name} says that it has {size:,} bytes, and there are {rest:,}")
    if any(block[begin + size : end]):
        raise MemberError(f"{name} is followed by what is none of its data")
    return block[begin : begin + size], end


def _size(header: bytes, name: str) -> int:
    """The size that a header states, all else being as it would have been written."""
    if len(header) < BLOCK:
        raise MemberError(f"it ends where {name} should be")
    try:
        size = int(header[SIZE][:-1].decode("ascii"), 8)
    except ValueError:
        size = -1
    if 0 <= size <= LARGEST_SIZE and header == header_of(name, size):
        return size
    kind = chr(header[KIND])
    if header[MAGIC][:5] != USTAR[:5]:
        raise MemberError(f"there is no member of a tar file where {name} should be")
    if kind in KINDS:
        raise MemberError(f"there is {KINDS[kind]} where {name} should be")
    found = header[:100].split(b"\0")[0].decode("utf-8", "replace")
    raise MemberError(
        f"there is {shown(found)}, or a header that was not written here, where {name} should be"
    )
