"""Shards at addresses: the same as in a folder, and every trouble is a line without secrets."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import fsspec
import numpy as np
import pytest

from tests.unit.shards.corpus import SMALL, contents, heard, shards_of
from tests.unit.shards.range_server import Served, serving
from turnout.errors import (
    MissingExtra,
    MissingManifest,
    ShardError,
    StorageError,
    TurnoutError,
    UsageError,
)
from turnout.shards import remote
from turnout.shards.address import joined, scrubbed, shown_address, split_name
from turnout.shards.reading import Position, ShardedClip
from turnout.shards.store import open_store
from turnout.shards.writing import make_shards


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.02, 0.05))


@pytest.fixture
def served(made: Path) -> Iterator[Served]:
    with serving(made) as found:
        yield found


def same(found: list[ShardedClip], there: list[ShardedClip]) -> bool:
    return [(one.clip, one.following) for one in found] == [
        (one.clip, one.following) for one in there
    ] and all(np.array_equal(a.samples, b.samples) for a, b in zip(found, there, strict=True))


def test_over_http_the_same_comes_out(served: Served, made: Path) -> None:
    for address in (served.address, f"{served.address}/manifest.json"):
        assert same(heard(shards_of(address)), heard(shards_of(made)))


def test_over_http_going_on_asks_for_what_is_needed_alone(served: Served) -> None:
    shards = shards_of(served.address)
    served.seen.clear()
    found = next(iter(shards.read(Position(2, 1))))
    assert isinstance(found, ShardedClip)
    start, _ = shards.index(2).span(1)
    (index, part) = served.seen[:2]
    assert index[0] == "/shard-000002.index.json"
    assert part == ("/shard-000002.tar", f"bytes={start}-{shards.index(2).bytes - 1}")


def test_a_key_in_the_address_opens_and_is_never_told(served: Served) -> None:
    served.password = "open sesame"
    address = served.address.replace("//", "//me:open%20sesame@") + "?token=abcdef"
    assert len(heard(shards_of(address))) == 8
    assert all(path.endswith("?token=abcdef") for path, _ in served.seen)
    served.wrong = {"shard-000000.tar": "403", "shard-000001.tar": "short",
                    "shard-000002.index.json": "500"}  # fmt: skip
    found = list(shards_of(address).read())
    errors = [str(one) for one in found if isinstance(one, ShardError)]
    assert len(errors) == 3
    served.wrong = {"manifest.json": "500"}
    with pytest.raises(ShardError) as caught:
        shards_of(address)
    for line in (*errors, str(caught.value)):
        assert "sesame" not in line
        assert "me:" not in line
        assert "abcdef" not in line
        assert "\n" not in line
        assert served.address in line


def test_a_store_that_refuses_says_so_once(served: Served) -> None:
    for status in ("401", "403"):
        served.wrong = {"manifest.json": status}
        served.seen.clear()
        with pytest.raises(ShardError, match="the store refused to let us in"):
            shards_of(served.address)
        assert len(served.seen) == 1


def test_a_store_that_is_not_there_is_one_line() -> None:
    begin = monotonic()
    with pytest.raises(ShardError) as caught:
        shards_of("http://127.0.0.1:9/shards")
    reason = "cannot be read (no connection: Connection refused)"
    assert str(caught.value) == f"http://127.0.0.1:9/shards/manifest.json: {reason}"
    assert monotonic() - begin < 15


def test_no_manifest_is_one_line(served: Served) -> None:
    with pytest.raises(MissingManifest, match="no such file"):
        shards_of(f"{served.address}/nothing")


def test_what_fails_for_a_moment_is_asked_for_again(served: Served) -> None:
    served.wrong, served.times = {"shard-000001.tar": "503"}, 2
    assert len(heard(shards_of(served.address))) == 8


@pytest.mark.parametrize(
    ("wrong", "lost", "reason"),
    [
        ("silent", 2, "did not answer within 1 s"),
        ("short", 2, "cannot be read"),
        ("404", 2, "there is no such file"),
        ("500", 2, "500"),
        ("endless", 2, "another SHA-256"),
    ],
)
def test_a_bad_shard_costs_itself_and_no_time(
    served: Served, wrong: str, lost: int, reason: str
) -> None:
    shards = shards_of(served.address, patience=1.0)
    served.wrong = {"shard-000001.tar": wrong}
    begin = monotonic()
    found = list(shards.read())
    assert monotonic() - begin < 20
    errors = [one for one in found if isinstance(one, ShardError)]
    assert sum(one.lost for one in errors) == lost
    assert all(reason in str(one) and "\n" not in str(one) for one in errors)
    assert sum(isinstance(one, ShardedClip) for one in found) == 6


def test_a_server_without_ranges_is_said_to_be_one(served: Served) -> None:
    shards = shards_of(served.address)
    served.wrong = {f"shard-00000{i}.tar": "whole" for i in range(4)}
    # From the beginning it serves; in the midst it would send everything before as well.
    assert isinstance(next(iter(shards.read())), ShardedClip)
    (error, *_) = list(shards.read(Position(0, 1), stop=1))
    assert isinstance(error, ShardError)
    assert "gives whole files alone" in str(error)


def test_http_cannot_be_written(served: Served, cuts: Path) -> None:
    with pytest.raises(UsageError, match="can be read and not written"):
        make_shards(cuts, open_store(served.address), SMALL)


def test_through_fsspec_the_same_bytes_are_written(cuts: Path, made: Path) -> None:
    memory = fsspec.filesystem("memory")
    make_shards(cuts, open_store("memory://bucket/shards"), SMALL)
    files = {
        path.rpartition("/")[2]: memory.cat(path) for path in memory.ls("/bucket/shards", False)
    }
    assert files == contents(made)
    memory.rm("/bucket/shards/shard-000002.tar")
    memory.rm("/bucket/shards/manifest.json")
    make_shards(cuts, open_store("memory://bucket/shards"), SMALL)
    assert len(heard(shards_of("memory://bucket/shards"))) == 8
    with pytest.raises(StorageError, match="memory://bucket/shards: holds shards of other cuts"):
        sharded_elsewhere(cuts)
    memory.rm("/bucket", recursive=True)


def sharded_elsewhere(cuts: Path) -> None:
    from dataclasses import replace

    make_shards(cuts, open_store("memory://bucket/shards"), replace(SMALL, seed=1))


@pytest.mark.parametrize(
    "address", ["nosuch://key:secret@host/x", "zip://archive.zip", "tar://x.tar"]
)
def test_addresses_of_no_store_are_refused(address: str) -> None:
    with pytest.raises(TurnoutError) as caught:
        open_store(address)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UsageError)


SECRET = ("secret", "sig", "a@b", "pass/word", "p?x", "key")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://key:secret@bucket/a", "s3://bucket/a"),
        ("s3://key:pass/word@bucket/a", "s3://bucket/a"),
        ("https://key:secret@host:8/a?sig=secret#key", "https://host:8/a"),
        ("https://host/a?sig=a@b", "https://..."),
        ("https://key:p?x@host/a", "https://..."),
        ("folder/a?b", "folder/a?b"),
    ],
)
def test_addresses_are_shown_without_what_opens_them(address: str, shown: str) -> None:
    assert shown_address(address) == shown
    words = f"GET {address} failed for secret: a@b pass/word"
    found = scrubbed(words, address)
    if "://" in address:
        hidden = [one for one in SECRET if one in address]
        assert not [one for one in hidden if one in found.replace("failed for", "")]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ('URL: "http://127.0.0.1:9/b/a"', 'URL: "http://127.0.0.1:9/b/a"'),
        ("http://me:secret@host:9/a?sig=secret: no", "http://host:9/a no"),
        ("http://me:secret word@host/a", "http://... word@host/a"),
        ('http://me:pass"secret@host/a', "http://host/a"),
    ],
)
def test_other_addresses_in_a_librarys_words_are_shown_without_keys(words: str, shown: str) -> None:
    assert scrubbed(words, "s3://bucket/train") == shown


def test_names_are_joined_before_a_query() -> None:
    assert joined("https://h/a/?k=v", "b") == "https://h/a/b?k=v"
    assert split_name("https://h/a/m.json?k=v") == ("https://h/a?k=v", "m.json")
    assert split_name("a/m.json") == ("a", "m.json")
    assert joined("s3://b/a?c", "d") == "s3://b/a?c/d"


def test_an_address_without_fsspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"s3://bucket/x.*pip install 'turnout\[shards\]'"):
        open_store("s3://bucket/x")


def test_folders_need_no_package_more(cuts: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('fsspec', 'lhotse', 'torch', 'tarfile')));"
        "from turnout.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["shard", str(cuts), "-o", str(tmp_path / "shards")]
    subprocess.run([sys.executable, "-c", code, *words], check=True, timeout=120)
    assert len(heard(shards_of(tmp_path / "shards"))) == 8
