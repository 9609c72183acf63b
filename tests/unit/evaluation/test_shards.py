"""A model scored on shards: the scores are those of their cuts, and what is broken is counted."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.shards.corpus import corpus, sharded, shards_of
from turnout.audio.waveform import Waveform
from turnout.cli.evaluate import read_sets
from turnout.config import ModelConfig, TranscriptionOptions
from turnout.config.sharding import ShardConfig
from turnout.errors import ShardError
from turnout.evaluation.evaluate import evaluate
from turnout.evaluation.references import read_data
from turnout.evaluation.sets import evaluate_sets
from turnout.evaluation.sources import sources_of
from turnout.guidance import Bandwidth, Task
from turnout.shards.store import Folder
from turnout.text.transcript import Transcript

OPTIONS = TranscriptionOptions(task="transcribe")


class Hears:
    """A Transcriber that hears one word in the texts of three; keeps what it was given."""

    folder = adapted = None
    backend = SimpleNamespace(config=ModelConfig())

    def __init__(self) -> None:
        self.given: list[Any] = []

    def transcribe_files(self, sources: Iterable[Any], options: Any) -> Iterator[Transcript]:
        assert (options.channel, options.track) == (None, None)
        for source in sources:
            self.given.append(source)
            yield Transcript(
                text="text of", language="en", task=Task.TRANSCRIBE, duration_seconds=1.0,
                bandwidth=Bandwidth.WIDEBAND,
            )  # fmt: skip


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Eight cuts, and their shards of two or three in the same order."""
    cuts = corpus(tmp_path)
    sharded(cuts, tmp_path / "shards")
    return cuts, tmp_path / "shards"


def test_shards_have_the_scores_of_their_cuts(both: tuple[Path, Path]) -> None:
    heard = [Hears(), Hears()]
    reports = [
        evaluate(one, [source], OPTIONS, limit=5)  # type: ignore[arg-type]
        for one, source in zip(heard, map(str, both), strict=True)
    ]
    assert reports[0].rows == reports[1].rows
    assert [one.id for one in reports[0].texts] == [one.id for one in reports[1].texts]
    assert len(reports[1].texts) == len(heard[1].given) == 5
    order = [sorted(one.given, key=lambda wave: wave.samples[100]) for one in heard]
    for cut, shard in zip(*order, strict=True):
        assert np.array_equal(cut.samples, shard.samples) and cut.native_rate == shard.native_rate


def test_what_is_not_drawn_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sharded(corpus(tmp_path), tmp_path / "one", ShardConfig(shuffle=False))
    asked: list[tuple[str, int]] = []
    part = Folder.part

    def noted(self: Folder, name: str, start: int, stop: int) -> bytes:
        asked.append((name, stop - start))
        return part(self, name, start, stop)

    monkeypatch.setattr(Folder, "part", noted)
    (clip,) = read_data([str(tmp_path / "one")], 1).clips
    assert clip.id == "cut-6"
    start, stop = shards_of(tmp_path / "one").index(0).span(6)
    assert [size for name, size in asked if name.endswith(".tar")] == [stop - start]


def test_what_is_broken_is_counted_and_the_others_are_scored(both: tuple[Path, Path]) -> None:
    path = both[1] / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:600])
    report = evaluate(Hears(), [str(both[1])], OPTIONS)  # type: ignore[arg-type]
    assert len(report.texts) == 6
    (line,) = report.failed
    assert "shard-000001.tar: is cut short: it ends at byte 600 (2 utterances)" in line
    # Or after the texts were read.
    clips = read_data([str(both[1])]).clips
    (both[1] / "shard-000003.tar").unlink()
    found = [one for _, one in sources_of(clips, OPTIONS)]
    assert [isinstance(one, Waveform) for one in found] == [True] * 4 + [False] * 2
    assert "shard-000003.tar: cannot be read" in str(found[-1])
    for name in (0, 2):
        (both[1] / f"shard-00000{name}.tar").write_bytes(b"")
    with pytest.raises(ShardError, match="shards: nothing of it can be scored: .*cut short"):
        read_data([str(both[1])])


def test_sets_name_shards_and_addresses_lose_what_lets_somebody_in(
    both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "http://me:secret@host/shards?key=secret"
    text = f"sets: [{{name: a, data: ['{both[1]}', '{place}'], channel: {{telephone: true}}}}]"
    (tmp_path / "sets.yaml").write_text(text)
    opened = "turnout.shards.reading.open_store"
    monkeypatch.setattr(opened, lambda *_: Folder(both[1], 20.0))
    report = evaluate_sets(Hears(), read_sets(tmp_path / "sets.yaml"), OPTIONS)  # type: ignore[arg-type]
    written = report.to_json()
    assert json.loads(written)["sets"]["a"]["set"]["data"] == [str(both[1]), "http://host/shards"]
    assert "secret" not in written
    (row,) = report.reports["a"].rows
    assert (row.utterances, row.bandwidth) == (16, Bandwidth.NARROWBAND)
