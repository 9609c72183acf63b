"""What benchmarks/whisper_*.py hold beside each other is like, and what they keep is not mistaken
for that of another run."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from heard import Heard, weights_in
from whisper_overlap import Said, errors_of, seam
from whisper_speed import WHOLE_FILE, files_timed, rotated, written, wrong


def test_every_system_comes_first_in_turn() -> None:
    assert [rotated(["a", "b", "c"], number) for number in range(4)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


def test_whole_files_are_heard_alike_and_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """faster-whisper's batched pipeline has a detector by default."""
    asked: list[dict[str, Any]] = []

    def transcribe(_: object, **options: Any) -> tuple[list[str], None]:
        asked.append(options)
        return [SimpleNamespace(text="left"), SimpleNamespace(text="Right.")], None

    batched = SimpleNamespace(BatchedInferencePipeline=lambda whisper: whisper)
    monkeypatch.setitem(sys.modules, "faster_whisper", batched)
    model: Any = SimpleNamespace(transcribe=lambda *_, **__: SimpleNamespace(text=""))
    whisper = SimpleNamespace(transcribe=transcribe)
    samples = np.zeros(16, np.float32)
    texts: dict[str, str] = {}
    rounds = [list(files_timed(model, whisper, samples, n, texts)) for n in range(4)]
    orders = [[row[1] for row in rows] for rows in rounds]
    assert len({order[0] for order in orders}) == 4
    assert {row[0] for rows in rounds for row in rows} == {WHOLE_FILE}
    sequential = [options for options in asked if "batch_size" not in options]
    assert len(sequential) == 4
    assert all(one["vad_filter"] for one in sequential)
    assert not any("without_timestamps" in one for one in asked), "each as it comes"
    assert all(one["temperature"] == 0.0 and one["beam_size"] == 1 for one in asked)
    rates = wrong(texts, ("left or", "right"))
    assert (rates["turnout"], rates["faster-whisper, batched"]) == (100.0, 33.33)
    words = written(texts, ("left or", "right"))
    assert (words["said"], words["turnout"], words["faster-whisper, batched"]) == (3, 0, 2)


def test_what_was_heard_is_not_taken_for_that_of_other_weights_or_lengths(tmp_path: Path) -> None:
    weights, kept = tmp_path / "model.bin", tmp_path / "kept.jsonl"
    texts = iter(("one", "two", "three"))

    def hear(minutes: float, content: bytes) -> str:
        weights.write_bytes(content)
        heard = Heard(kept, f"weights {weights_in(tmp_path)}, {minutes:g} minutes")
        return heard.text("turnout", "a", lambda: next(texts))

    found = [hear(30, b"abc"), hear(30, b"abc"), hear(5, b"abc"), hear(30, b"x")]
    assert found == ["one", "one", "two", "three"]


def test_weights_are_told_apart_by_their_digest(tmp_path: Path) -> None:
    """FIPS 180-4's example."""
    (tmp_path / "model.bin").write_bytes(b"abc")
    assert weights_in(tmp_path) == "ba7816bf8f01cfea"


def test_windows_that_overlap_are_joined_at_the_word_that_both_heard() -> None:
    left = [Said("so", 8.8), Said("the", 9.4), Said("cat", 10.1), Said("the", 10.6)]
    right = [Said("the", 9.3), Said("Cat,", 10.0), Said("the", 10.6), Said("mat", 11.2)]
    assert seam(left, right, 10.0) == (3, 2), "astride the cut, and once"
    assert seam(left, [Said("a", 9.9), Said("mat", 11.2)], 10.0) == (2, 1), "by their middles"
    assert seam([], [Said("mat", 10.2)], 10.0) == (0, 0)


def test_errors_are_counted_of_their_utterances_and_near_cuts() -> None:
    words = [Said("The,", 1.0), Said("hat", 2.0), Said("sat", 7.0), Said("down", 8.0)]
    counts, kinds = errors_of(words, ["the cat", "sat down there"], [2.5])
    assert counts.tolist() == [1, 1]
    assert kinds == {"substituted": 1, "deleted": 1, "inserted": 0, "errors near a cut": 1}
