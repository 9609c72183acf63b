"""Validation: its figures, its ranks, and that `turnout evaluate` counts the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from turnout import load
from turnout.audio.waveform import read_audio
from turnout.config import CorpusConfig, DataConfig, TranscriptionOptions
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import read_corpora
from turnout.corpora.prepare import prepare
from turnout.data.common_clips import alone
from turnout.evaluation.dev_set import DevUtterance, dev_utterances
from turnout.evaluation.evaluate import evaluate
from turnout.evaluation.score_rows import ScoredText, score_rows
from turnout.evaluation.validation import Validation, average_key, rate_name, validate
from turnout.guidance import Bandwidth, Task

EXAMPLES = Path(__file__).parents[3] / "examples"


def text(
    bandwidth: str, language: str, target: str, reference: str, hypothesis: str, **changes: Any
) -> ScoredText:
    same = language == target
    values = {
        "id": reference, "task": Task.TRANSCRIBE if same else Task.TRANSLATE, "language": language,
        "bandwidth": Bandwidth(bandwidth), "target_language": target, "reference": reference,
        "hypothesis": hypothesis, "seconds": 1.0, "speaker": None, "recording": "a.wav",
        "found_bandwidth": Bandwidth(bandwidth),
    }  # fmt: skip
    return ScoredText(**{**values, **changes})


TEXTS = [
    text("narrowband", "en", "en", "one two", "one too"),
    text("narrowband", "en", "en", "one two", "one two"),
    text("wideband", "en", "de", "eins zwei", "eins zwei"),
]


def test_scores_are_per_row_and_averaged_over_rows() -> None:
    found = Validation.of(TEXTS)
    first, second = found.to_plain()
    assert [(row["wer"], row["words"]) for row in (first, second)] == [(25.0, 4), (0.0, 2)]
    assert first["bleu"] is None
    assert second["bleu"] is None, "no line is long enough for it"
    assert found.score == 12.5
    assert Validation.of([]).score is None
    assert list(second) == [
        "bandwidth", "task", "language", "wer", "cer", "bleu", "utterances", "words",
    ]  # fmt: skip
    assert [second[key] for key in ("bandwidth", "task", "language")] == [
        "wideband", "translate", "de",
    ]  # fmt: skip


def test_texts_without_spaces_are_chosen_by_their_characters() -> None:
    """One word of nine characters, one of them wrong: WER is 100 % of it, whatever is learnt."""
    chinese = text("wideband", "zh", "zh", "今天天气很好去公园", "今天天气很坏去公园")
    found = Validation.of([chinese])
    (row,) = found.to_plain()
    assert found.score == pytest.approx(100 / 9)
    assert (row["wer"], row["words"], row["cer"]) == (None, None, found.score)
    assert (rate_name([row]), average_key([row])) == ("CER", "average_cer")
    both = Validation.of([chinese, *TEXTS])
    assert both.score == pytest.approx((100 / 9 + 25 + 0) / 3)
    rows = both.to_plain()
    assert (rate_name(rows), average_key(rows)) == ("error rate", "average_error_rate")
    assert rate_name(found.to_plain()[:0]) == "WER"


def test_no_answer_is_nothing_found() -> None:
    right = {"found_language": "en", "found_bandwidth": Bandwidth.WIDEBAND}
    answered = [text("wideband", "en", "en", "one two", "one two", **right)] * 3
    failed = text("wideband", "en", "en", "one two", "", found_bandwidth=None, served=False)
    (row,) = score_rows([*answered, failed])
    assert (row.bandwidth_found, row.language_found, row.wer.value) == (0.75, 0.75, 25)
    (row,) = score_rows([failed])
    assert (row.bandwidth_found, row.language_found) == (0, 0)
    # A model that tells no language is not blamed for one.
    silent = text("wideband", "en", "en", "one two", "one two")
    assert score_rows([silent, failed])[0].language_found is None


def test_the_order_of_the_texts_changes_nothing() -> None:
    found = Validation.of(TEXTS)
    for order in ((2, 1, 0), (1, 2, 0)):
        assert Validation.of([TEXTS[index] for index in order]) == found


def test_rows_are_logged_by_bandwidth_first() -> None:
    more = [
        text("narrowband", "en", "de", "eins", "eins"),
        text("wideband", "en", "en", "one", "one"),
    ]
    rows = Validation.of([*TEXTS, *more]).to_plain()
    assert [(row["bandwidth"], row["task"]) for row in rows] == [
        (bandwidth, task)
        for bandwidth in ("narrowband", "wideband")
        for task in ("transcribe", "translate")
    ]


def test_languages_translated_into_one_share_a_row() -> None:
    both = [
        text("wideband", "en", "de", "eins zwei", "eins zwei"),
        text("wideband", "fr", "de", "eins zwei", "drei"),
    ]
    (row,) = Validation.of(both).to_plain()
    assert (row["language"], row["wer"], row["utterances"]) == ("de", 50.0, 2)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The English examples in so much noise that some words are misheard."""
    folder = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(0)
    lines = []
    for name, said in json.loads((EXAMPLES / "references.json").read_text("utf-8")).items():
        if said["language"] != "en":
            continue
        rate = 8_000 if said["bandwidth"] == "narrowband" else 16_000
        samples = read_audio(EXAMPLES / name).samples[:: 16_000 // rate]
        for noise in (0.3, 1.0):
            level = noise * np.sqrt(np.square(samples).mean())
            path = folder / f"{name}-{noise}.wav"
            soundfile.write(path, samples + level * rng.standard_normal(len(samples)), rate)
            lines.append(
                {
                    "audio_filepath": path.name, "duration": len(samples) / rate,
                    "text": said["text"], "lang": "en",
                    "translation": said["translation"], "target_lang": said["target_language"],
                }
            )  # fmt: skip
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    return prepare(manifest, folder / "cuts", PrepareConfig(kind="nemo")).splits["cuts"].path


@pytest.fixture(scope="module")
def transcriber():
    return load(backend="torch", device="cpu")


@pytest.fixture(scope="module")
def dev(cuts: Path, transcriber) -> list[DevUtterance]:
    data = DataConfig(dev=(CorpusConfig(cuts=str(cuts)),))
    return dev_utterances(data, transcriber.backend.config, read_corpora(data.dev))


def never() -> bool:
    return False


def test_validation_and_evaluate_count_the_same(cuts: Path, transcriber, dev) -> None:
    """Where both hear the same: without what a telephone was put before, the language told."""
    native = [item for item in dev if ("telephone" in item.clip.path) == _narrow(item)]
    found = validate(native, transcriber.tokenizer, alone, transcriber.backend.model, never)
    assert found is not None
    report = evaluate(transcriber, [cuts], TranscriptionOptions(task="both", language="en"))

    def figures(rows):
        return {
            (row.bandwidth, row.task, row.target_language): (
                row.utterances, row.wer.value, row.wer.errors, row.cer.value, row.bleu.value,
                round(row.hours, 9), row.bandwidth_found,
            )
            for row in rows
        }  # fmt: skip

    assert figures(found.rows) == figures(report.rows)
    assert len(found.rows) == 4
    assert sum(row.wer.value > 0 for row in found.rows) > 1, "nothing to tell apart"


def _narrow(item: DevUtterance) -> bool:
    return item.clip.bandwidth is Bandwidth.NARROWBAND


def test_the_number_of_ranks_changes_no_figure(transcriber, dev) -> None:
    model, tokenizer = transcriber.backend.model, transcriber.tokenizer
    told: list[str] = []

    def first(text: str) -> list[str]:
        told.append(text)
        return [text]

    validate(dev[1::2], tokenizer, first, model, never)
    two = validate(dev[::2], tokenizer, lambda text: [text, told[0]], model, never)
    one = validate(dev, tokenizer, alone, model, never)
    assert one is not None and two is not None
    assert (one.score, one.to_plain()) == (two.score, two.to_plain())


@pytest.mark.parametrize("rank", ["this", "another"])
def test_where_one_rank_is_told_to_stop_none_has_scores(rank: str, transcriber, dev) -> None:
    told = ["null", "[]"] if rank == "another" else ["[]"]
    model, tokenizer = transcriber.backend.model, transcriber.tokenizer
    stopped = lambda: rank == "this"  # noqa: E731
    assert validate(dev[:1], tokenizer, lambda text: [text, *told], model, stopped) is None
