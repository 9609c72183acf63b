"""The rows, the cells and the figures of benchmarks/pretrained.py."""

import gzip
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pretrained_speech
import pytest
import soundfile
import torch
from heard import Heard
from pretrained import Bench, file_name, recipe_of, setting_of
from pretrained_judged import TAUGHT, TRANSLATED, UNTAUGHT, counts_of, figures_of
from pretrained_rows import ARMS, EVERYTHING, FEED_FORWARDS, OWN, changes_of, check_active
from pretrained_speech import Asked, Places, called, cuts_of, taught_cells
from teach_speech import LANGUAGES
from whisper_speech import VOICES, Spoken

from turnout.config import ModelConfig, TrainConfig, VocabularyConfig, preset
from turnout.config.plain import from_plain, to_plain
from turnout.corpora.clips import read_clips
from turnout.guidance import Bandwidth, Task
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of
from turnout.training.parts import trained_names

SPOKEN = (*OWN, "de")


def arguments(**more: object) -> Namespace:
    asked = {
        "steps": 400, "trained": FEED_FORWARDS, "label": "", "split": "dev", "set": [],
        "quick": False, "runs": Path("/runs"),
    }  # fmt: skip
    return Namespace(**{**asked, **more})


def recipe(row: str, tmp_path: Path, **more: object) -> dict[str, Any]:
    cuts = tmp_path / "train.jsonl.gz"
    cuts.write_bytes(gzip.compress(b'{"duration": 3.0}'))
    return recipe_of(row, 1, Bench(arguments(**more), Path("/base"), [cuts], [], Heard(None)))


def model_of(row: str) -> ModelConfig:
    """A small checkpoint's shape, routed as the row is."""
    vocabulary = VocabularyConfig(size=51865, languages=SPOKEN, translations=())
    shape = replace(preset("whisper-tiny"), vocabulary=vocabulary)
    plain = {"model": to_plain(shape)}
    for key, value in ARMS[row].items():
        _, stack, _, name = key.split(".")
        plain["model"][stack]["routing"][name] = value
    return from_plain(TrainConfig, plain).model


@pytest.mark.parametrize("row", ARMS)
def test_rows_have_the_active_and_the_trained_parameters_of_hard_sharing(row: str) -> None:
    """Of each path; experts are trained, and a base that nobody is sent to is not."""
    with torch.device("meta"):
        hard, own = (build_model(model_of(name)) for name in ("hard", row))
    sizes = {name: parameters_of(model).active for name, model in (("hard", hard), (row, own))}
    check_active(sizes)
    shapes = {name: parameter.numel() for name, parameter in own.named_parameters()}
    patterns = changes_of(row, FEED_FORWARDS)["trainable"]
    trained = trained_names(own.config, list(shapes), patterns)
    assert all(".bank.experts." in name for name in trained)
    in_one = {name for name in trained if ".experts.1." in name} or trained
    assert bool(own.config.encoder.routing.experts_for) is (row == "smoe-language")
    if row in ("smoe", "smoe-language", "hybrid"):
        alone = {name for name, _ in hard.named_parameters() if ".bank.experts." in name}
        assert sum(shapes[name] for name in in_one) == sum(
            parameter.numel() for name, parameter in hard.named_parameters() if name in alone
        )
    assert any(".experts.0." in name for name in trained) is (row != "smoe-language")
    assert changes_of(row, EVERYTHING)["trainable"] == []


def test_rows_that_are_not_alike_are_refused() -> None:
    check_active({"hard": 100, "smoe": 102})
    with pytest.raises(SystemExit, match="smoe has 103 active parameters and hard 100: rows of"):
        check_active({"hard": 100, "smoe": 103})


def test_experts_of_a_language_are_those_that_are_taught() -> None:
    assert (*LANGUAGES, "en") == OWN
    config = model_of("smoe-language")
    names = config.expert_map(config.encoder.routing)
    assert [names.name(index) for index in range(names.num_groups)] == ["base", *OWN]


def test_rows_of_a_seed_differ_in_routing_and_what_is_trained_alone(tmp_path: Path) -> None:
    hard, smoe = (recipe(row, tmp_path) for row in ("hard", "smoe"))
    assert smoe.pop("model")["encoder"]["routing"] == {
        "kind": "supervised", "guided_by": ["bandwidth"],
    }  # fmt: skip
    for own in (hard, smoe):
        del own["output"]
    assert hard == smoe
    assert hard["data"]["window"] == "speech"
    assert "pack" not in hard["data"]["train"][0]
    padded = recipe("hard", tmp_path, set=['data.window="padded"'], label="padded")
    assert padded["data"]["window"] == "padded"
    assert padded["data"]["train"][0]["pack"]
    assert (hard["seed"], hard["max_steps"], hard["validate_every"]) == (1, 400, 400)


def test_every_setting_has_a_name_and_a_table_of_its_own() -> None:
    changes = ({}, {"steps": 2}, {"trained": EVERYTHING}, {"label": "x"}, {"split": "test"})
    assert setting_of(arguments()) == "pretrained-400"
    assert setting_of(arguments(trained=EVERYTHING, label="x")) == "pretrained-400-everything-x"
    assert file_name(arguments()) == "pretrained-dev-400.json"
    assert len({file_name(arguments(**one)) for one in changes}) == 5


def spoken(name: str, text: str = "uno dos", source: str = "prompts-es") -> Spoken:
    code = source.rpartition("-")[2] if source.startswith("prompts") else "en"
    place = f"prompts/{code}/{name}" if source.startswith("prompts") else f"{source}/{name}"
    return Spoken(place, source, "voice", code, text, np.zeros(1600, np.float32))


def test_a_prompt_is_one_in_all_languages_bandwidths_and_tasks() -> None:
    narrow, wide = Bandwidth
    asked = [
        Asked(spoken("a"), narrow, "one two"),
        Asked(spoken("a", "un deux", "prompts-fr"), wide),
        Asked(spoken("b", "ONE TWO", "librispeech"), wide),
    ]
    counts = counts_of(asked, lambda _, task: "one two" if task is Task.TRANSLATE else "uno")
    assert list(counts) == [
        "es narrowband transcribe", "es narrowband translate", "fr wideband transcribe",
        "en wideband transcribe",
    ]  # fmt: skip
    (first,), (translated,), (french,), (english,) = counts.values()
    assert first["wer"] == (1, 2)
    assert translated["chrf"][1] == translated["chrf"][2] > 0  # all n-grams of the reference
    assert {(one["corpus"], one["id"]) for one in (first, translated, french)} == {("prompts", "a")}
    assert (english["corpus"], english["id"], english["speaker"]) == (
        "librispeech", "librispeech/b", "voice",
    )  # fmt: skip
    assert first["speaker"] is None


def test_averages_and_changes_by_hand() -> None:
    """Of four words hard sharing has two wrong by telephone and all else, S-MoE half of these. In
    translations half of the n-grams are right, or all of them."""

    def counts(errors: dict[str, int], chrf: list[float]) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = {}
        others = ["en wideband transcribe", "de wideband transcribe"]
        for cell in (*taught_cells(Task.TRANSCRIBE), *others):
            known = {"id": "a", "speaker": None, "corpus": "x", "wer": (errors[cell.split()[1]], 4)}
            found[cell] = [known]
        for cell in taught_cells(Task.TRANSLATE):
            found[cell] = [{"id": "a", "speaker": None, "corpus": "x", "chrf": chrf, "bleu": BLEU}]
        return found

    half, full = [2.0, 2.0, 1.0] * 6, [2.0, 2.0, 2.0] * 6
    rows = {
        "hard": [counts({"narrowband": 2, "wideband": 4}, half)],
        "smoe": [counts({"narrowband": 1, "wideband": 2}, full)],
    }
    found = figures_of(rows, resamples=20)
    hard, smoe = found["hard"], found["smoe"]
    # Five cells of narrowband, four of wideband.
    assert hard[TAUGHT]["wer"] == pytest.approx((5 * 50 + 4 * 100) / 9, abs=0.01)
    assert smoe[TAUGHT]["wer, change to hard"] == -50.0
    assert smoe[TAUGHT]["wer, change to hard, interval"] == [-50.0, -50.0]
    assert (hard[UNTAUGHT]["wer"], smoe[UNTAUGHT]["wer"]) == (100.0, 50.0)
    assert (hard[TRANSLATED]["chrf"], smoe[TRANSLATED]["chrf"]) == (50.0, 100.0)
    assert smoe["es wideband translate"]["chrf, change to hard"] == 100.0
    assert "wer" not in smoe[TRANSLATED]
    assert "chrf" not in smoe[TAUGHT]


BLEU = [4.0, 4.0, 4.0, 3.0, 2.0, 1.0, 4.0, 3.0, 2.0, 1.0, 1.0]
"""Of four words, all right, as sacrebleu counts them."""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A prompt at both bandwidths, and one noise for training."""
    voice = tmp_path / "usr/share/asterisk/sounds" / VOICES["es"]
    voice.mkdir(parents=True)
    rng = np.random.default_rng(0)
    soundfile.write(voice / "a.wav", rng.uniform(-0.1, 0.1, 8000), 8000)
    sounds = tmp_path / "runs" / "corpora" / "noise_rooms"
    sounds.mkdir(parents=True)
    soundfile.write(sounds / "rain.wav", rng.uniform(-0.1, 0.1, 32000), 16000)
    return Places(tmp_path, tmp_path, tmp_path / "runs")


def test_what_is_learned_from_says_bandwidth_and_translation(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = np.random.default_rng(1).uniform(-0.1, 0.1, 16000).astype(np.float32)
    monkeypatch.setattr(pretrained_speech, "g722", lambda _: wide)
    monkeypatch.setattr(pretrained_speech, "train_of", lambda *_: [spoken("a")])
    monkeypatch.setattr("teach_speech.texts_of", lambda *_: {"a": "one two three"})
    clips = [read_clips(cuts_of(places, "es", bandwidth))[0] for bandwidth in Bandwidth]
    assert [(clip.bandwidth, clip.native_rate) for clip in clips] == [
        ("narrowband", 8000), ("wideband", 16000),
    ]  # fmt: skip
    assert {(clip.text, clip.translations["en"]) for clip in clips} == {
        ("uno dos", "one two three")
    }
    english = replace(spoken("b", "ONE", "librispeech"), samples=wide)
    monkeypatch.setattr(pretrained_speech, "train_of", lambda *_: [english])
    (clip,) = read_clips(cuts_of(places, "en", Bandwidth.NARROWBAND))
    assert (clip.bandwidth, dict(clip.translations)) == (Bandwidth.NARROWBAND, {})
    heard, _ = soundfile.read(clip.path, dtype="float32")
    arrived = called(english, "train", places).samples
    assert np.abs(heard - arrived).max() < 2**-14
    spectrum = np.abs(np.fft.rfft(arrived))
    assert spectrum[4200:].sum() < 0.05 * spectrum[300:3400].sum()
