"""Where the parts of a recording lie in its record, and that they are those that were decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile

import turnout
from tests import models
from tests.doubles import hears_every_sound, model_config, tokenizer, tone
from turnout.backends.torch import TorchBackend, load_model
from turnout.config import DecoderConfig, EncoderConfig, ModelConfig, RoutingConfig
from turnout.config.transcription import TranscriptionOptions
from turnout.decoding.requests import Decoded, Hypothesis, Utterance
from turnout.guidance import Task
from turnout.inspection.parts import Part, Way, joined_probabilities, joined_silence, laid_out
from turnout.inspection.record import Layout, RoutingRecord
from turnout.inspection.statistics import statistics_of
from turnout.inspection.trace import inspect_files
from turnout.model_folder import ModelFolder
from turnout.text.transcript import Word

CONFIG = model_config(encoder=EncoderConfig(num_layers=1, routing=RoutingConfig(kind="omni")))
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

STACKS: tuple[Literal["encoder", "decoder"], ...] = ("encoder", "decoder")


def part(start: float, frames: int, value: int = 0) -> Part:
    """Its hidden frame t goes to expert (value + t + k) % 4 in the feed-forward k."""
    steps = np.arange(-(-frames // 4)) + value
    index = np.stack([steps % 4, (steps + 1) % 4])
    return Part(start, np.full((frames, 80), value, np.float32), index)


def test_one_part_is_taken_as_it_is() -> None:
    log_mel, expert_index = laid_out([part(0.0, 9)], CONFIG)
    assert expert_index.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert log_mel.shape == (9, 80)


def test_parts_lie_where_they_belong_and_gaps_have_no_expert() -> None:
    log_mel, expert_index = laid_out([part(0.0, 8), part(0.16, 8, 3)], CONFIG)
    assert expert_index[0].tolist() == [0, 1, -1, -1, 3, 0]
    assert log_mel[:, 0].tolist() == [0] * 16 + [3] * 8


def test_a_part_that_overhangs_by_a_fraction_is_cut() -> None:
    _, expert_index = laid_out([part(0.0, 6), part(0.06, 5)], CONFIG)
    assert expert_index.shape == (2, 3)


def test_a_recording_without_a_part_has_no_experts() -> None:
    log_mel, expert_index = laid_out([], CONFIG)
    assert (log_mel.shape, expert_index.shape) == ((0, 80), (2, 0))


def test_a_recording_is_encoded_once_for_text_and_experts() -> None:
    model = turnout.load(threads=1)
    passes: list[int] = []
    given: Any = model.backend.encode

    def counted(log_mel: np.ndarray, *arguments: Any) -> Any:
        passes.append(len(log_mel))
        return given(log_mel, *arguments)

    model.backend.encode = counted  # type: ignore[method-assign]
    sources = sorted(EXAMPLES.glob("*-*.*"))[:3]
    records = list(inspect_files(model, sources, TranscriptionOptions(batch_size=2)))
    heard = list(turnout.load(threads=1).transcribe_files(sources, word_timestamps=True))
    assert sum(passes) == len(sources)
    for record, source, transcript in zip(records, sources, heard, strict=True):
        assert isinstance(record, RoutingRecord) and isinstance(transcript, turnout.Transcript)
        assert (record.name, record.transcript.text) == (source.name, transcript.text)
        assert record.guidance.bandwidth is transcript.bandwidth
        rows, hidden = record.expert_index.shape
        assert rows and hidden == -(-len(record.log_mel) // 4)
        experts = {turnout.Bandwidth.NARROWBAND: 0, turnout.Bandwidth.WIDEBAND: 1}
        assert (record.expert_index == experts[transcript.bandwidth]).all()


def test_the_decoder_s_expert_is_that_of_the_task_in_the_frames_of_the_words() -> None:
    model = turnout.load(threads=1)
    (record,) = inspect_files(model, [EXAMPLES / "english-1.flac"], TranscriptionOptions())
    assert isinstance(record, RoutingRecord) and record.decoder_index is not None
    layout = Layout.of(model.backend.config, "decoder")
    assert layout.feed_forwards == ("1", "2") and layout.experts == ("transcribe", "translate")
    assert record.decoder_index.shape == (2, record.expert_index.shape[1])
    step = layout.frame_seconds
    inside = np.zeros(record.expert_index.shape[1], bool)
    for word in record.words:
        inside[round(word.start / step) : round(word.end / step)] = True
    assert 0 < inside.sum() < len(inside)
    assert np.array_equal(record.decoder_index[0] == 0, inside)
    assert (record.decoder_index[1, ~inside] == -1).all()
    found = statistics_of([record], layout)
    assert list(found.by_guidance) == ["wideband, en, transcribe"]
    assert found.frames.tolist() == [[inside.sum(), 0]] * 2


def test_a_learned_model_on_pytorch_tells_all_of_its_routers() -> None:
    backend = TorchBackend(load_model(ModelFolder.open(models.saved("switch"))))
    model = turnout.Transcriber(backend, tokenizer())
    heard: list[float] = []
    options = TranscriptionOptions(language="ar")
    (record,) = inspect_files(model, [EXAMPLES / "arabic-1.flac"], options, heard.append)
    assert isinstance(record, RoutingRecord) and heard and heard[-1] > 1
    encoder, decoder = (Layout.of(backend.config, stack, True) for stack in STACKS)
    taken = record.expert_index[0] >= 0
    assert record.probabilities is not None and record.silent is not None
    assert record.probabilities.shape == (*record.expert_index.shape, len(encoder.experts))
    assert np.array_equal(
        record.probabilities[:, taken].argmax(axis=-1), record.expert_index[:, taken]
    )
    assert record.silent.shape == taken.shape
    assert record.token_probabilities is not None and record.decoder_index is not None
    rows, tokens, experts = record.token_probabilities.shape
    assert (rows, tokens, experts) == (2, len(record.tokens), len(decoder.experts))
    last = record.tokens[-1]  # nothing is laid over the last one
    place = round(last.start / decoder.frame_seconds)
    assert np.array_equal(
        record.decoder_index[:, place], record.token_probabilities[:, -1].argmax(axis=-1)
    )
    assert statistics_of([record], decoder).frames.sum() == rows * tokens


def test_silence_and_probabilities_lie_where_their_parts_do() -> None:
    way = Way(TranscriptionOptions(), CONFIG, lambda _: "")
    told = np.full((2, 2, 4), 0.25, np.float32)
    silent = np.array([True, False])
    parts = [replace(part(s, 8), probabilities=told, silent=silent) for s in (0.0, 0.16)]
    found = joined_probabilities(parts, 6, way)
    assert found is not None
    assert found[0, :, 0].tolist() == [0.25, 0.25, 0, 0, 0.25, 0.25]
    silence = joined_silence(parts, 6, way)
    assert silence is not None and silence.tolist() == [True, False, True, True, True, False]
    assert joined_probabilities([part(0.0, 8)], 2, way) is None
    assert joined_silence([part(0.0, 8)], 2, way) is None


class StandIn:
    """A Transcriber whose texts of more than eight seconds are cut; each text is of one token that
    says which pass wrote it, and each frame takes the expert of its pass."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.backend = self
        self.tokenizer = tokenizer()
        self.passes: list[float] = []

    def decoder_probabilities(self) -> None:
        """Only that there is one is looked at."""

    def decode(self, utterances: list[Utterance]) -> list[Decoded]:
        return [self.answer(utterance) for utterance in utterances]

    def answer(self, utterance: Utterance) -> Decoded:
        number, seconds = len(self.passes), utterance.frames / 100
        self.passes.append(seconds)
        task = utterance.request.tasks[0]
        words = (Word(start=0.5, end=seconds / 2, word="abc"[number]),)
        spoken = task is Task.TRANSCRIBE
        told = np.eye(4, dtype=np.float32)[np.full((2, 1), number)] if spoken else None
        heard = Hypothesis(
            task=task, language="ar" if spoken else "en", tokens=(400,),
            text="abc"[number], log_prob=-1.0, cut=seconds > 8, start=0.5, end=seconds / 2,
            words=words if spoken else (), router_probabilities=told,
        )  # fmt: skip
        index = np.full((2, -(-utterance.frames // 4)), number, np.int64)
        return Decoded(language="ar", hypotheses=(heard,), expert_index=index)


def inspected_by(stand_in: Any, seconds: float, path: Path) -> RoutingRecord:
    """The record of a tone."""
    soundfile.write(path, tone(seconds), 16000)
    (record,) = inspect_files(stand_in, [path], TranscriptionOptions(language="ar"))
    assert isinstance(record, RoutingRecord)
    return record


def test_a_text_that_was_written_anew_in_two_parts_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.transcription.segments.finder", hears_every_sound)
    routing = RoutingConfig(kind="switch", num_experts=4)
    made = StandIn(replace(CONFIG, decoder=DecoderConfig(routing=routing)))
    record = inspected_by(made, 10.0, tmp_path / "a.wav")
    whole, first, second = made.passes
    assert whole > 8 and first + second == pytest.approx(whole, abs=0.1)
    assert record.transcript.text == "b c"
    assert {span.text for span in record.letters} == {"b", "c"}
    assert len(record.tokens) == 2
    decoder = statistics_of([record], Layout.of(made.config, "decoder", True))
    assert decoder.frames.tolist() == [[0, 1, 1, 0]] * 2
    assert set(record.expert_index.ravel().tolist()) == {1, 2}


def test_what_is_spoken_is_not_the_language_of_its_translation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.transcription.segments.finder", hears_every_sound)
    made = StandIn(replace(CONFIG, tasks=(Task.TRANSLATE,)))
    known = inspected_by(made, 2.0, tmp_path / "a.wav").guidance
    assert (known.task, known.language, known.target_language) == (Task.TRANSLATE, "ar", "en")
