"""Clips of any number, in any order, in little memory."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.shards.corpus import corpus, sharded, shards_of
from turnout.corpora.clips import Clip, read_clips
from turnout.errors import ShardError, StorageError
from turnout.guidance import Bandwidth
from turnout.shards import spool
from turnout.shards.spool import Spool


def clips(count: int, channels: int = 1) -> Iterator[tuple[Clip, bool]]:
    for number in range(count):
        clip = Clip(
            id=f"{number}", path=f"/recordings/{number // 6}.flac", start=number / 3, duration=1.25,
            channel=number % channels, text="was gesagt wird \u2013 \U0001f600", language="de",
            speaker=None, bandwidth=Bandwidth.NARROWBAND, translations={"en": "what is said"},
            split="train", domain=None, native_rate=8000, recording_duration=1e3,
        )  # fmt: skip
        yield clip, number % 2 == 0


def test_without_a_seed_the_order_is_theirs_and_they_are_the_same() -> None:
    with Spool(clips(50), None) as kept:
        assert [kept[number] for number in range(len(kept))] == list(clips(50))


def test_names_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    clip = replace(next(clips(1))[0], path="/a\udcff.wav")
    with Spool([(clip, True)], 0) as kept:
        assert kept[0] == (clip, True)


def test_a_recordings_channels_follow_each_other() -> None:
    with Spool(clips(24, channels=2), 5) as kept:
        order = [kept[number][0] for number in range(24)]
    places = [(clip.path, clip.channel) for clip in order]
    assert len(set(places)) == 8
    assert sum(a != b for a, b in pairwise(places)) == 7


def spooled(count: int) -> int:
    tracemalloc.start()
    with Spool(clips(count), 0) as kept:
        peak = tracemalloc.get_traced_memory()[1]
        assert len(kept) == count
    tracemalloc.stop()
    return peak


def test_memory_is_some_bytes_a_clip() -> None:
    """Measured 31 with what sorting takes; a clip in memory takes 1,000."""
    spooled(10)
    assert spooled(8_000) / 8_000 < 100


def peak_of_reading(folder: Path) -> int:
    tracemalloc.start()
    for one in shards_of(folder).read():
        assert not isinstance(one, ShardError)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_reading_ten_times_as_many_shards_takes_the_same_memory(tmp_path: Path) -> None:
    peaks = []
    for recordings in (3, 30):
        folder = tmp_path / str(recordings)
        folder.mkdir()
        sharded(corpus(folder, recordings=recordings), folder / "shards")
        peak_of_reading(folder / "shards")
        peaks.append(peak_of_reading(folder / "shards"))
    assert peaks[1] < peaks[0] * 1.3 + 100_000


def test_no_room_for_the_list_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(spool, "TemporaryFile", Full)
    with pytest.raises(StorageError, match=r"TMPDIR.*No space left on device"):
        Spool(clips(1), 0)


def test_the_clips_of_a_file_come_one_by_one(tmp_path: Path) -> None:
    from turnout.corpora.clips import each_clip

    cuts = corpus(tmp_path)
    found = each_clip(cuts)
    assert next(found)[0].id == "cut-0"
    assert [clip for clip, _ in each_clip(cuts)] == read_clips(cuts)
