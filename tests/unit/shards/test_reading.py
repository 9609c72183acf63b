"""Utterances come out verified, from any place on; what is damaged costs itself alone."""

import json
from pathlib import Path
from threading import Event
from time import monotonic

import numpy as np
import pytest

from tests.unit.shards.corpus import contents, corpus, heard, sharded, shards_of
from turnout.errors import MissingManifest, ShardError, UsageError
from turnout.files import sha256_of
from turnout.shards.manifest import Manifest
from turnout.shards.reading import Position, ShardedClip, Shards
from turnout.shards.store import Folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    sharded(corpus(tmp_path_factory.mktemp("corpus")), folder)
    return folder


def copy(made: Path, folder: Path) -> Path:
    for name, data in contents(made).items():
        (folder / name).write_bytes(data)
    return folder


def assert_equal(one: ShardedClip, other: ShardedClip) -> None:
    assert (one.clip, one.following) == (other.clip, other.following)
    np.testing.assert_array_equal(one.samples, other.samples)


def test_going_on_anywhere_gives_what_reading_through_gives(made: Path) -> None:
    shards = shards_of(made)
    through = heard(shards)
    assert len(through) == 8
    for number, one in enumerate(through[:-1]):
        rest = list(shards.read(one.following))
        assert len(rest) == len(through) - number - 1
        for found, there in zip(rest, through[number + 1 :], strict=True):
            assert isinstance(found, ShardedClip)
            assert_equal(found, there)
    assert list(shards.read(through[-1].following)) == []


def test_a_part_of_the_shards_is_read_alone(made: Path) -> None:
    shards = shards_of(made)
    through = heard(shards)
    some = list(shards.read(Position(1), stop=3))
    for found, there in zip(some, through[2:6], strict=True):
        assert isinstance(found, ShardedClip)
        assert_equal(found, there)


class Counting(Folder):
    """Knows what was asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 20.0)
        self.asked: list[tuple[str, int, int]] = []

    def part(self, name: str, start: int, stop: int) -> bytes:
        self.asked.append((name, start, stop))
        return super().part(name, start, stop)


def test_going_on_costs_no_more_the_farther_it_is(made: Path) -> None:
    """An index and a part, wherever it is: nothing before it is read."""
    manifest = shards_of(made).manifest
    for place in (Position(0, 0), Position(0, 1), Position(2, 1), Position(3, 1)):
        store = Counting(made)
        next(iter(Shards(store, manifest).read(place)))
        (index, part) = store.asked
        assert index == (manifest.shards[place.shard].index, 0, index[2])
        assert part[0] == manifest.shards[place.shard].name
        assert (part[1] > 0) == (place.utterance > 0)


def test_the_manifest_or_its_folder_may_be_named(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    for address in (made, made / "manifest.json", "manifest.json", ".", made.as_uri()):
        assert len(heard(shards_of(address))) == 8


def lost_and_found(folder: Path, patience: float = 20.0) -> tuple[list[str], list[ShardError]]:
    found = list(shards_of(folder, patience).read())
    errors = [one for one in found if isinstance(one, ShardError)]
    assert all("\n" not in str(one) for one in errors)
    clips = [one.clip.id for one in found if isinstance(one, ShardedClip)]
    # Each utterance is there, or is counted.
    assert len(clips) + sum(one.lost for one in errors) == 8
    return clips, errors


def test_every_flipped_bit_costs_one_utterance(made: Path, tmp_path: Path) -> None:
    folder = copy(made, tmp_path)
    path = folder / "shard-000001.tar"
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data) - 1024, 40).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        clips, (error,) = lost_and_found(folder)
        assert error.lost == 1
        assert len(clips) == 7
        assert "another SHA-256" in str(error)
        assert str(path) in str(error)


def test_a_shard_that_is_cut_short_costs_what_it_lacks(made: Path, tmp_path: Path) -> None:
    folder = copy(made, tmp_path)
    path = folder / "shard-000001.tar"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 2000])
    clips, (error,) = lost_and_found(folder)
    assert error.lost == 1
    assert "is cut short: it ends at byte" in str(error)
    assert clips == ["cut-0", "cut-1", "cut-2", "cut-4", "cut-5", "cut-6", "cut-7"]


@pytest.mark.parametrize("name", ["shard-000002.tar", "shard-000002.index.json"])
def test_a_missing_file_costs_its_shard(made: Path, tmp_path: Path, name: str) -> None:
    folder = copy(made, tmp_path)
    (folder / name).unlink()
    clips, (error,) = lost_and_found(folder)
    assert (error.lost, len(clips)) == (2, 6)
    assert "No such file" in str(error)


def test_a_changed_index_is_not_believed(made: Path, tmp_path: Path) -> None:
    folder = copy(made, tmp_path)
    path = folder / "shard-000000.index.json"
    path.write_bytes(path.read_bytes().replace(b'"following": 2', b'"following": 3'))
    clips, (error,) = lost_and_found(folder)
    assert (error.lost, len(clips)) == (2, 6)
    assert "is not what the manifest lists" in str(error)


def test_a_store_that_stands_still_costs_a_shard_and_a_moment(made: Path) -> None:
    stuck = Event()

    class Stuck(Folder):
        def part(self, name: str, start: int, stop: int) -> bytes:
            if name == "shard-000001.tar":
                from turnout.shards.store import within

                return within(self._patience, lambda: bytes(stuck.wait()), name)
            return super().part(name, start, stop)

    begin = monotonic()
    shards = Shards(Stuck(made, 0.5), shards_of(made).manifest)
    found = list(shards.read())
    stuck.set()
    assert monotonic() - begin < 10
    (error,) = (one for one in found if isinstance(one, ShardError))
    assert error.lost == 2
    assert "did not answer within 0.5 s: left out of it: 2 utterances" in str(error)
    assert sum(isinstance(one, ShardedClip) for one in found) == 6


def test_a_pipe_in_a_shards_place_holds_nothing_up(made: Path, tmp_path: Path) -> None:
    import os

    folder = copy(made, tmp_path)
    (folder / "shard-000001.tar").unlink()
    os.mkfifo(folder / "shard-000001.tar")
    clips, (error,) = lost_and_found(folder)
    assert (error.lost, len(clips)) == (2, 6)


MANIFESTS = {
    "is no manifest": ["", "[]", "null", "{", "{}", '{"shards": 3}', "[" * 100_000],
    "names no shard": ["shards"],
    "its format is 2": ["format"],
    "where shard-000000.tar should be": ["../../etc/passwd", "/dev/zero", "shard-000001.tar"],
}


@pytest.mark.parametrize(
    ("reason", "change"), [(reason, one) for reason, some in MANIFESTS.items() for one in some]
)
def test_manifests_of_others_are_refused_in_one_line(
    made: Path, tmp_path: Path, reason: str, change: str
) -> None:
    folder = copy(made, tmp_path)
    path = folder / "manifest.json"
    if reason == "is no manifest":
        path.write_text(change)
    else:
        content = json.loads(path.read_text())
        if change == "shards":
            content["shards"] = []
        elif change == "format":
            content["job"]["format"] = 2
        else:
            content["shards"][0]["name"] = change
        path.write_text(json.dumps(content))
    with pytest.raises(ShardError, match=reason) as caught:
        shards_of(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    for address in (tmp_path, tmp_path / "none", tmp_path / "none.json"):
        with pytest.raises(MissingManifest, match="no such file"):
            shards_of(address)
    for address in ("zip://a.zip::https://host/x", "simplecache::s3://bucket/x"):
        with pytest.raises(UsageError, match="an address inside another is not opened"):
            shards_of(address)


def forged(folder: Path, change: dict[str, object]) -> None:
    """Index 0 with other values, and the manifest with its digest."""
    index = folder / "shard-000000.index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["shards"][0]
    entry["index_bytes"], entry["index_sha256"] = (
        index.stat().st_size,
        sha256_of(index.read_bytes()),
    )
    if "bytes" in change:
        entry["bytes"] = change["bytes"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


BAD_INDEXES: list[dict[str, object]] = [
    {"offsets": [0]}, {"offsets": [512, 1024]}, {"offsets": [0, 17]}, {"offsets": [1024, 0]},
    {"offsets": [0, 2**50]}, {"offsets": [0, -512]}, {"numbers": [1, 0]}, {"numbers": [0, 0]},
    {"numbers": [], "offsets": [], "samples": [], "digests": []}, {"samples": [0, 16000]},
    {"samples": "many"}, {"bytes": 2**60}, {"bytes": 0}, {"bytes": -1}, {"digests": [1, 2]},
    {"following": 0}, {"more": 1},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD_INDEXES)
def test_an_index_that_cannot_be_costs_its_shard(
    made: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    folder = copy(made, tmp_path)
    forged(folder, change)
    clips, (error,) = lost_and_found(folder)
    assert (error.lost, len(clips)) == (2, 6)
    assert "is no index of shards that turnout wrote" in str(error)


def test_a_forged_number_of_samples_costs_one(made: Path, tmp_path: Path) -> None:
    folder = copy(made, tmp_path)
    forged(folder, {"samples": [16001, 16000]})
    clips, (error,) = lost_and_found(folder)
    assert (error.lost, len(clips)) == (1, 7)
    assert "differ about its samples" in str(error)


def test_the_manifest_counts(made: Path) -> None:
    manifest: Manifest = shards_of(made).manifest
    assert sum(shard.seconds for shard in manifest.shards) == manifest.seconds == 8.0
