"""What is read while the model runs: how much, by whom, and what becomes of errors and ends."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.doubles import hears_every_sound, tone
from tests.unit.transcription.test_recordings import CONFIG, Decoder, transcriber, wav
from turnout.audio.waveform import open_recording
from turnout.decoding.requests import Decoded, Utterance
from turnout.errors import AudioError, Cancelled
from turnout.guidance import Bandwidth
from turnout.text.transcript import Transcript
from turnout.transcription import segments
from turnout.transcription.ahead import Reader, SegmentsAhead, one_at_a_time
from turnout.transcription.segments import AudioSegments

WAIT_SECONDS = 20.0
"""Longer than any machine takes; nothing waits so long unless it fails."""


@pytest.fixture(autouse=True)
def tones_are_speech(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read here are tones."""
    monkeypatch.setattr(segments, "finder", hears_every_sound)


def ahead_of(source: bytes) -> SegmentsAhead:
    return SegmentsAhead(
        lambda asked: AudioSegments(open_recording(source), CONFIG, Bandwidth.WIDEBAND, asked)
    )


def rest_of(found: SegmentsAhead) -> list[tuple[float, float]]:
    taken = iter(found.take, None)
    return [(segment.start, segment.end) for segment in taken]


def test_what_is_read_ahead_is_what_is_read_when_it_is_asked_for() -> None:
    source = wav(tone(9.0))
    at_once, read = ahead_of(source), ahead_of(source)
    for _ in range(3):
        read.read()
    assert read.ready == 3 and read.begins == 0.0
    expected = rest_of(at_once)
    assert len(expected) > 3 and rest_of(read) == expected
    read.read()
    assert read.ended and read.take() is None and read.begins is None


def test_an_error_comes_in_the_place_of_what_it_kept_from_being_read() -> None:
    broken = tone(7.0)
    broken[-1] = np.nan
    found = ahead_of(wav(broken))
    for _ in range(9):
        found.read()
    heard = 0
    with pytest.raises(AudioError, match="NaN"):
        while found.take():
            heard += 1
    assert heard and found.ended and found.take() is None
    nothing = ahead_of(b"no audio")
    nothing.read()
    with pytest.raises(AudioError):
        nothing.take()


def test_what_is_closed_is_released_and_read_no_more() -> None:
    found = ahead_of(wav(tone(9.0)))
    found.read()
    found.close()
    assert found.audio is not None and found.audio.recording._file.closed
    found.read()
    assert found.take() is None and found.ready == 0


def test_reading_silence_ends_when_it_is_stopped() -> None:
    begun = Event()

    def blocks() -> Iterator[np.ndarray]:
        while True:
            begun.set()
            yield np.zeros(80_000, np.float32)

    recording = SimpleNamespace(native_rate=8_000, blocks=blocks, close=lambda: None)
    found = SegmentsAhead(
        lambda asked: AudioSegments(recording, CONFIG, is_cancelled=asked)  # type: ignore[arg-type]
    )
    reader = Reader(2)
    reader.plan([(found, 2)])
    assert begun.wait(WAIT_SECONDS)
    found.stop()
    reader.close()
    with pytest.raises(Cancelled):
        found.take()


def settled(reader: Reader) -> None:
    """Wait until it has nothing more to do."""
    reader._pool.submit(lambda: None).result(WAIT_SECONDS)


def test_no_more_lies_ready_than_is_allowed_and_the_first_come_first() -> None:
    found = [ahead_of(wav(tone(seconds))) for seconds in (9.0, 1.0, 9.0, 9.0)]
    reader = Reader(4)
    reader.plan([(found[0], 1), *((each, 2) for each in found[1:])])
    settled(reader)
    assert [each.ready for each in found] == [1, 1, 2, 0]
    assert found[3].audio is None, "not even opened"
    found[0].take()
    reader.plan([(each, 4) for each in found])
    settled(reader)
    assert [each.ready for each in found] == [1, 1, 2, 0]
    reader.close()


def test_who_asks_whether_to_go_on_asks_alone() -> None:
    inside, together = [0], [0]

    def asked() -> bool:
        inside[0] += 1
        together[0] = max(together[0], inside[0])
        Event().wait(0.001)
        inside[0] -= 1
        return False

    alone = one_at_a_time(asked)
    threads = [threading.Thread(target=lambda: [alone() for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [1]


@dataclass
class Waiting(Decoder):
    """Goes on with a batch once what is behind it was read, and notes how much that was."""

    recordings: list[Any] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        (recordings,) = self.recordings
        settled(recordings._reader)
        parts = (*recordings.waiting, *recordings._coming)
        self.ready.append(sum(one.segments.ready for one in parts))
        return super().__call__(utterances)


def ready_behind(sources: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[int]:
    """How many segments lay ready when each batch was decoded."""
    from turnout.transcription import transcriber as module

    decoder = Waiting()
    made = module.OpenRecordings

    def noted(*given: Any) -> Any:
        decoder.recordings.append(made(*given))
        return decoder.recordings[-1]

    monkeypatch.setattr(module, "OpenRecordings", noted)
    results = list(transcriber(decoder).transcribe_files(sources, **options))
    assert all(isinstance(result, Transcript) for result in results)
    return decoder.ready


def test_a_batch_is_read_ahead_while_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    short = [wav(tone(1.0))] * 6
    assert ready_behind(short, monkeypatch, batch_size=2, language="ar") == [2, 2, 0]
    long = [wav(tone(9.0))]  # of five segments
    assert ready_behind(long, monkeypatch, batch_size=2, language="ar") == [2, 1, 0]
    # Where each segment waits for the language, no more than the next one.
    assert max(ready_behind(long, monkeypatch, batch_size=4)[:1]) == 1


def test_an_iterator_is_not_asked_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    short = (wav(tone(1.0)) for _ in range(4))
    assert ready_behind(short, monkeypatch, batch_size=2, language="ar") == [0, 0]


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    found = transcriber(Decoder()).transcribe_files(
        [wav(tone(9.0)), b"no audio", wav(tone(1.0)), wav(tone(9.0))], batch_size=2, language="ar"
    )
    next(found)
    assert threading.active_count() <= before + 1
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
