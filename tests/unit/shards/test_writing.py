"""What goes into shards comes out of them; and the same command gives the same bytes."""

import json
import resource
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.unit.shards.corpus import (
    SMALL,
    contents,
    corpus,
    cut,
    cuts_file,
    heard,
    recording,
    sharded,
    shards_of,
    wanted,
)
from turnout.config.sharding import ShardConfig
from turnout.corpora.clips import read_clips
from turnout.errors import ConfigError, ManifestError, MissingManifest, StorageError
from turnout.files import sha256_of
from turnout.shards import writing
from turnout.shards.store import open_store
from turnout.shards.writing import make_shards

ROOT = Path(__file__).parents[3]


def assert_same(cuts: Path, folder: Path) -> None:
    """The same clips and the same samples, in the order of the cuts."""
    found = heard(shards_of(folder))
    there = wanted(cuts)
    assert [one.clip for one in found] == [clip for clip, _ in there]
    for one, (_, samples) in zip(found, there, strict=True):
        np.testing.assert_array_equal(one.samples, samples)
        assert one.samples.dtype == np.float32


def test_the_same_clips_come_out_as_went_in_to_the_bit(tmp_path: Path) -> None:
    cuts = corpus(tmp_path)
    manifest = sharded(cuts, tmp_path / "shards")
    assert len(manifest.shards) == 4
    assert (manifest.utterances, manifest.seconds) == (8, 8.0)
    assert_same(cuts, tmp_path / "shards")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_U8", "ULAW"])
@pytest.mark.parametrize("channel", [None, 1])
def test_every_whole_number_of_a_recording_is_kept(
    tmp_path: Path, subtype: str, channel: int | None
) -> None:
    many = 1 if channel is None else 2
    path = recording(tmp_path / "a.wav", channels=many, subtype=subtype)
    one = cut(path, "a", 0.25, 1.5, channels=list(range(many)), channel=channel or 0)
    cuts = cuts_file(tmp_path / "cuts.jsonl", one)
    sharded(cuts, tmp_path / "shards")
    assert_same(cuts, tmp_path / "shards")


def test_what_24_bits_cannot_hold_is_rounded_and_said_to_be(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", rate=44100)
    cuts = cuts_file(tmp_path / "cuts.jsonl", cut(path, "a", 0.5, rate=44100))
    sharded(cuts, tmp_path / "shards")
    (found,) = heard(shards_of(tmp_path / "shards"))
    ((clip, samples),) = wanted(cuts)
    assert found.clip == clip
    np.testing.assert_allclose(found.samples, samples, rtol=0, atol=2.0**-24)
    labels = labels_of(tmp_path / "shards" / "shard-000000.tar")
    assert [one["exact"] for one in labels] == [False]


def test_files_that_are_whole_utterances_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    whole = recording(tmp_path / "whole.wav", rate=44100)
    longer = recording(tmp_path / "longer.wav")
    told = {"rate": 44100, "duration": 3.0}
    made = (cut(whole, "whole", **told), cut(longer, "part"), cut(longer, "part2", 1.0, 2.0))
    cuts = cuts_file(tmp_path / "cuts.jsonl", *made)
    sharded(cuts, tmp_path / "shards", replace(SMALL, audio="kept"))
    assert_same(cuts, tmp_path / "shards")
    labels = [one for p in sorted((tmp_path / "shards").glob("*.tar")) for one in labels_of(p)]
    assert [one["form"] for one in labels] == ["kept", "flac", "flac"]
    with tarfile.open(tmp_path / "shards" / "shard-000000.tar") as tar:
        file = tar.extractfile("0000000000.wav")
        assert file is not None
        assert file.read() == whole.read_bytes()


def test_a_file_that_is_longer_than_its_cut_says_is_not_kept(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", seconds=9.0)
    cuts = cuts_file(tmp_path / "cuts.jsonl", cut(path, "a", 0.0, 3.0))
    assert read_clips(cuts)[0].whole
    sharded(cuts, tmp_path / "shards", replace(SMALL, audio="kept"))
    assert_same(cuts, tmp_path / "shards")


def test_opus_is_small_as_long_as_the_clip_and_the_same_each_time(tmp_path: Path) -> None:
    seconds = np.arange(3 * 16000) / 16000
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * seconds), 16000)
    cuts = cuts_file(tmp_path / "cuts.jsonl", cut(path, "a", 0.1, 2.345))
    config = replace(SMALL, audio="opus")
    sharded(cuts, tmp_path / "one", config)
    sharded(cuts, tmp_path / "two", config)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    (found,) = heard(shards_of(tmp_path / "one"))
    ((clip, samples),) = wanted(cuts)
    assert found.clip == clip
    assert len(found.samples) == len(samples)
    error = found.samples[800:-800] - samples[800:-800]
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(samples**2))


def test_the_shards_are_plain_tar_files_with_the_digests_of_the_manifest(tmp_path: Path) -> None:
    manifest = sharded(corpus(tmp_path), tmp_path / "shards")
    for shard in manifest.shards:
        path = tmp_path / "shards" / shard.name
        assert (shard.bytes, shard.sha256) == (path.stat().st_size, sha256_of(path.read_bytes()))
        with tarfile.open(path) as tar:
            names = tar.getnames()
        assert [name.rsplit(".")[1] for name in names] == ["json", "flac"] * shard.utterances
    assert json.loads((tmp_path / "shards" / "manifest.json").read_text())["utterances"] == 8


def labels_of(path: Path) -> list[dict]:
    """The labels in a shard, as any reader of tar files finds them."""
    with tarfile.open(path) as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")]
        return [json.loads(tar.extractfile(name).read()) for name in names]  # type: ignore[union-attr]


def test_no_path_of_this_machine_is_told(tmp_path: Path) -> None:
    cuts = cuts_file(
        tmp_path / "cuts.jsonl",
        cut(recording(tmp_path / "a.wav"), "a"),
        cut(tmp_path / "none.wav", "b"),
    )
    manifest = sharded(cuts, tmp_path / "shards")
    assert len(manifest.left_out) == 1
    assert not [name for name, data in contents(tmp_path / "shards").items()
                if str(tmp_path).encode() in data]  # fmt: skip


def test_recordings_are_mixed_by_the_seed_and_stay_together(tmp_path: Path) -> None:
    cuts = corpus(tmp_path, recordings=8)
    orders = []
    for seed in (0, 0, 1):
        folder = tmp_path / f"shards-{len(orders)}"
        sharded(cuts, folder, replace(SMALL, shuffle=True, seed=seed))
        orders.append([one.clip.id for one in heard(shards_of(folder))])
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    plain = [f"cut-{number}" for number in range(16)]
    for order in orders:
        assert order != plain
        assert sorted(order) == sorted(plain)
        pairs = [(order[i], order[i + 1]) for i in range(0, 16, 2)]
        assert sorted(pairs) == sorted((f"cut-{i}", f"cut-{i + 1}") for i in range(0, 16, 2))


def test_bad_recordings_are_named_and_the_others_done(tmp_path: Path) -> None:
    good, noise = recording(tmp_path / "good.wav"), tmp_path / "noise.wav"
    noise.write_bytes(b"no sound at all" * 100)
    made = [cut(good, "good-1"), cut(tmp_path / "none.wav", "missing"), cut(good, "good-2"),
            cut(good, "late", 2.5, 9.0), cut(noise, "noise")]  # fmt: skip
    lines: list[str] = []
    store = open_store(str(tmp_path / "shards"))
    manifest = make_shards(cuts_file(tmp_path / "c.jsonl", *made), store, SMALL, lines.append)
    assert [one.clip.id for one in heard(shards_of(tmp_path / "shards"))] == ["good-1", "good-2"]
    assert [line.split()[0] for line in manifest.left_out] == ["missing", "late", "noise"]
    assert [line.split(":")[0] for line in lines] == ["missing", "late", "noise"]
    assert all("\n" not in line for line in lines)


def test_unknown_bandwidths_are_measured(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    cuts = cuts_file(tmp_path / "c.jsonl", cut(path, "a", custom={}))
    sharded(cuts, tmp_path / "shards")
    assert_same(cuts, tmp_path / "shards")


def test_nothing_is_written_of_cuts_that_cannot_be_used(tmp_path: Path) -> None:
    missing = cuts_file(tmp_path / "missing.jsonl", cut(tmp_path / "none.wav", "a"))
    broken = tmp_path / "broken.jsonl"
    broken.write_text(missing.read_text() + "{}\n")
    empty = cuts_file(tmp_path / "empty.jsonl")
    for cuts, reason in ((missing, "no cut of it can be heard: a "), (empty, "holds no cut"),
                         (broken, "MonoCut was expected")):  # fmt: skip
        with pytest.raises(ManifestError, match=reason):
            sharded(cuts, tmp_path / "shards")
    with pytest.raises(MissingManifest):
        sharded(tmp_path / "none.jsonl", tmp_path / "shards")
    assert not contents(tmp_path / "shards")


def test_other_shards_are_never_written_over(tmp_path: Path) -> None:
    cuts = corpus(tmp_path)
    sharded(cuts, tmp_path / "shards")
    before = contents(tmp_path / "shards")
    with pytest.raises(StorageError, match="holds shards of other cuts") as caught:
        sharded(cuts, tmp_path / "shards", replace(SMALL, seed=3))
    assert "\n" not in str(caught.value)
    (tmp_path / "shards" / "manifest.json").rename(tmp_path / "manifest.json")
    with pytest.raises(StorageError, match="holds shards of other cuts"):
        sharded(cuts, tmp_path / "shards", replace(SMALL, audio="opus"))
    (tmp_path / "manifest.json").rename(tmp_path / "shards" / "manifest.json")
    assert contents(tmp_path / "shards") == before


@pytest.mark.parametrize("name", ["shard-000001.tar", "shard-000002.index.json", "manifest.json"])
def test_what_is_missing_is_made_again(tmp_path: Path, name: str) -> None:
    cuts = corpus(tmp_path)
    sharded(cuts, tmp_path / "shards")
    before = contents(tmp_path / "shards")
    (tmp_path / "shards" / name).unlink()
    sharded(cuts, tmp_path / "shards")
    assert contents(tmp_path / "shards") == before


def test_a_file_in_the_folders_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        sharded(corpus(tmp_path), tmp_path / "file" / "shards")
    assert "\n" not in str(caught.value)


def test_without_room_it_stops_in_one_line_and_goes_on_later(tmp_path: Path) -> None:
    cuts = corpus(tmp_path)
    sharded(cuts, tmp_path / "at once")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StorageError, match=r"shard-000000\.tar: cannot be written") as caught:
            sharded(cuts, tmp_path / "shards")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not contents(tmp_path / "shards")
    sharded(cuts, tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "at once")


def test_two_at_once_do_not_write_one_folder(tmp_path: Path) -> None:
    cuts = corpus(tmp_path)
    store = open_store(str(tmp_path / "shards"))
    with store.reserved(), pytest.raises(StorageError, match="another process writes shards"):
        sharded(cuts, tmp_path / "shards")
    sharded(cuts, tmp_path / "shards")


def test_a_shard_has_a_limited_number_of_utterances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_UTTERANCES", 1)
    assert len(sharded(corpus(tmp_path), tmp_path / "shards").shards) == 8


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), 1e9])
def test_sizes_that_cannot_be_are_refused(size: float) -> None:
    with pytest.raises(ConfigError, match="shard_size"):
        ShardConfig(shard_size=size)


def test_killed_at_any_point_and_started_again_the_bytes_are_the_same(tmp_path: Path) -> None:
    """At each beginning and end of every file that is written, and within each, whatever kills."""
    made = [cut(tmp_path / "none.wav", "bad-0")]
    for number in range(5):
        path = recording(tmp_path / f"{number}.wav")
        made += [cut(path, f"cut-{number}"), cut(tmp_path / "none.wav", f"bad-{number}")]
    cuts = cuts_file(tmp_path / "cuts.jsonl", *made)
    sharded(cuts, tmp_path / "at once")
    told = subprocess.run(
        [sys.executable, "-m", "tests.unit.shards.killed", str(cuts), str(tmp_path / "killed")],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=300,
    ).stdout.split()  # fmt: skip
    folders = [tmp_path / "killed" / name for name in told]
    before = contents(tmp_path / "at once")
    assert len(folders) == 4 * len(before)
    assert [folder.name for folder in folders if contents(folder) != before] == []
