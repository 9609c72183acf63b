"""A segment whose decoding failed is decoded anew in halves."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.doubles import (
    model_config,
    tone,
)
from tests.unit.transcription.test_recordings import (
    Decoder,
    run,
    tones_are_speech,
    transcriber,
    wav,
)
from turnout.config import FeatureConfig, TranscriptionOptions
from turnout.decoding.requests import Decoded, Utterance
from turnout.text.transcript import Transcript
from turnout.transcription.recordings import OpenRecording

__all__ = ["tones_are_speech"]

LONG = model_config(window_seconds=16.0)


@dataclass
class Failing(Decoder):
    """Fails on what is longer than so many seconds; writes how long it is otherwise."""

    most_seconds: float = 5.0
    cut: bool = False
    lengths: list[list[float]] = field(default_factory=list)

    def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
        found = []
        self.lengths.append([utterance.frames / 100 for utterance in utterances])
        for utterance, seconds in zip(utterances, self.lengths[-1], strict=True):
            (one,) = self.answer(utterance.request).hypotheses
            bad = seconds > self.most_seconds
            changes = {"cut": self.cut and bad, "failed": bad and not self.cut}
            one = replace(one, text=f"{seconds:.1f}", start=None, end=None, words=(), **changes)
            found.append(Decoded(language=utterance.request.language or "ar", hypotheses=(one,)))
        return found


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("language", ["auto", "ar"])
def test_a_segment_that_fails_is_decoded_anew_in_halves(cut: bool, language: str) -> None:
    samples = tone(44.0)
    samples[6 * 16_000 : round(6.5 * 16_000)] *= 0.01
    decoder = Failing(cut=cut)
    (result,) = run([wav(samples)], decoder, LONG, language=language, batch_size=4)
    assert isinstance(result, Transcript)
    times = [(segment.start, segment.end) for segment in result.segments]
    assert times[0][0] == 0.0 and times[-1][1] == pytest.approx(44.0)
    assert 6.0 < times[0][1] < 6.5 or 6.0 < times[1][1] < 6.5
    for (_, end), (start, _) in itertools.pairwise(times):
        assert end == pytest.approx(start)
    for (start, end), segment in zip(times, result.segments, strict=True):
        assert float(segment.text) == pytest.approx(end - start, abs=0.06)
        assert end - start <= 6.0, "it was not halved"
    assert [segment.id for segment in result.segments] == list(range(len(times)))
    assert max(map(len, decoder.lengths)) <= 4


def test_halves_that_fail_are_not_halved_for_ever() -> None:
    decoder = Failing(most_seconds=0.0, cut=True)
    (result,) = run([wav(tone(30.0))], decoder, LONG, language="ar")
    assert isinstance(result, Transcript)
    kept = [segment.end - segment.start for segment in result.segments]
    assert sum(kept) == pytest.approx(30.0) and max(kept) <= 6.0
    assert sum(map(len, decoder.lengths)) < 2 * len(kept)
    assert all(segment.cut for segment in result.segments)


def test_segments_come_in_order_while_one_is_decoded_anew() -> None:
    config = model_config(window_seconds=8.0)

    class First(Failing):
        def __call__(self, utterances: Sequence[Utterance]) -> list[Decoded]:
            answers = super().__call__(utterances)
            self.most_seconds = 99.0  # the first batch's first one alone
            return [
                answers[0],
                *(
                    replace(a, hypotheses=(replace(a.hypotheses[0], failed=False),))
                    for a in answers[1:]
                ),
            ]

    decoder = First()
    found = transcriber(decoder, config).segments(wav(tone(40.0)), language="ar", batch_size=3)
    starts = [segment.start for segment in found]
    assert starts == sorted(starts) and starts[0] == 0.0
    assert len(decoder.lengths[0]) == 3
    assert len(starts) == sum(map(len, decoder.lengths)) - 1


def test_halves_of_padded_features_are_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    config = model_config(window_seconds=16.0, features=FeatureConfig(padding="window"))
    recording = OpenRecording(wav(tone(16.0)), TranscriptionOptions(language="ar"), config)
    taken = recording.take()
    assert taken is not None
    segment, utterance = taken
    assert segment.log_mel is None and segment.samples is not None
    assert recording.give(segment, Failing()([utterance])[0]) == []
    shapes = []
    while (half := recording.take()) is not None:
        shapes.append((half[1].log_mel.shape, half[1].frames))
        recording.give(half[0], Decoder().answer(half[1].request))
    assert [shape for shape, _ in shapes] == [(1600, 80)] * 2
    assert sum(frames for _, frames in shapes) == pytest.approx(1600, abs=1)
    assert isinstance(recording.result, Transcript)
