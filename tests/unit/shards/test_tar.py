"""Members as everybody's tar reads them, and none but these."""

import tarfile
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.shards.tar import BLOCK, END, MemberError, header_of, member, read_member

NAMES = st.from_regex(r"[0-9]{10}\.[a-z0-9]{1,8}", fullmatch=True)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=2000)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(MEMBERS)
def test_what_is_written_is_read_by_us_and_by_everybody(members: list[tuple[str, bytes]]) -> None:
    data = b"".join(member(name, content) for name, content in members)
    at = 0
    for name, content in members:
        found, at = read_member(memoryview(data), at, name)
        assert found == content
    assert at == len(data)
    with tarfile.open(fileobj=BytesIO(data + END), mode="r:", errorlevel=2) as tar:
        there = [(one.name, tar.extractfile(one)) for one in tar.getmembers()]
        assert [(name, file and file.read()) for name, file in there] == members


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=BLOCK, max_size=BLOCK), st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_no_other_header_is_taken(noise: bytes, place: int, change: int) -> None:
    good = bytearray(member("0000000001.json", b"{}"))
    with pytest.raises(MemberError):
        read_member(memoryview(noise + good[BLOCK:]), 0, "0000000001.json")
    good[place] ^= change
    with pytest.raises(MemberError):
        read_member(memoryview(good), 0, "0000000001.json")


def test_the_largest_size_has_room_and_is_not_believed() -> None:
    header = header_of("a.json", 8**11 - 1)
    assert len(header) == BLOCK
    with pytest.raises(MemberError, match="says that it has 8,589,934,591 bytes, and there are 0"):
        read_member(memoryview(header), 0, "a.json")


@pytest.mark.parametrize(
    ("kind", "what"),
    [(tarfile.SYMTYPE, "a symbolic link"), (tarfile.LNKTYPE, "a hard link"), (b"S", "a sparse"),
     (tarfile.CHRTYPE, "a device"), (tarfile.DIRTYPE, "a folder"), (b"x", "an extended header"),
     (tarfile.REGTYPE, "'other.json', or a header that was not written here")],
)  # fmt: skip
def test_what_else_is_there_is_named(kind: bytes, what: str) -> None:
    info = tarfile.TarInfo("other.json")
    info.type, info.linkname = kind, "elsewhere"
    with pytest.raises(MemberError, match=f"there is {what}.* where a.json should be"):
        read_member(memoryview(info.tobuf(tarfile.USTAR_FORMAT)), 0, "a.json")
