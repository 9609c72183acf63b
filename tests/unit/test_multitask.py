"""The arms, the folds and the figures of benchmarks/multitask.py."""

import gzip
import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import multitask
import numpy as np
import pytest
from kept_trainings import with_changes
from multitask import RECIPE, file_name, is_for, merge
from multitask_judged import cells_of, compared, draws, table_of, translated
from multitask_rows import ALONE, ARMS, BY_TELEPHONE, MIXED, Arm, changes_of, corpora_of
from multitask_speech import FOLDS, Asked, cuts_of, fold_of, in_split

from turnout.config import TrainConfig
from turnout.config.plain import from_plain
from turnout.config.yaml_text import parse_yaml
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of

EVERY = [arm for arms in ARMS.values() for arm in arms]


def config_of(arm: Arm) -> TrainConfig:
    recipe = parse_yaml(RECIPE.read_text("utf-8"))[1]
    return from_plain(TrainConfig, with_changes(recipe, changes_of(arm, 2500)))


@pytest.mark.parametrize("arm", EVERY, ids=lambda arm: arm.name)
def test_arms_have_as_many_active_parameters_as_hard_sharing(arm: Arm) -> None:
    hard = parameters_of(build_model(config_of(ARMS["hard"][0]).model))
    own = parameters_of(build_model(config_of(arm).model))
    near = abs(own.active - hard.active) <= 0.02 * hard.active
    assert near is arm.same_active


def test_the_large_arm_is_as_large_as_smoe() -> None:
    large, smoe = (
        parameters_of(build_model(config_of(ARMS[name][0]).model)).total
        for name in ("hard-large", "smoe")
    )
    assert abs(large - smoe) <= 0.02 * smoe


def test_half_of_what_is_heard_is_narrowband_and_alone_it_is_mixed_alike() -> None:
    arabic, english = MIXED["arabic"], MIXED["english"]
    narrow = {"arabic": arabic * BY_TELEPHONE, "english": english}
    assert sum(narrow.values()) == pytest.approx((arabic + english) / 2)
    alone = ALONE["narrowband"]
    assert alone["english"] / alone["arabic"] == narrow["english"] / narrow["arabic"]


def test_without_english_half_of_the_arabic_is_narrowband() -> None:
    hard, (_, _, narrow, _) = ARMS["hard"][0], ARMS["single"]
    assert corpora_of(hard, ["arabic"]) == {"arabic": MIXED["arabic"]}
    assert changes_of(hard, 10, ["arabic"])["data.augment.narrowband"] == 0.5
    assert changes_of(narrow, 10, ["arabic"])["data.augment.narrowband"] == 1.0


def test_single_tasks_hear_what_the_mixed_run_hears_of_them() -> None:
    assert [arm.cells for arm in ARMS["single"]] == [
        ("wideband transcribe",), ("wideband translate",),
        ("narrowband transcribe",), ("narrowband translate",),
    ]  # fmt: skip
    steps = [changes_of(arm, 2500)["max_steps"] for arm in (*ARMS["single"], *ARMS["single-long"])]
    assert steps == [1250] * 4 + [2500] * 4
    config = config_of(ARMS["single"][3])
    assert (config.data.tasks, config.data.translate_weight) == ("draw", 1.0)
    assert config.data.augment.narrowband == 1.0
    assert config_of(ARMS["smoe-tied"][0]).tie_experts_until == 1500


@pytest.mark.parametrize("count", [5, 27])
def test_every_speaker_is_tested_once_and_never_learned_from_then(count: int) -> None:
    speakers = [f"s{number:02d}" for number in range(count)]
    of_each = [[fold_of(speakers, one, fold) for fold in range(FOLDS)] for one in speakers]
    for found in of_each:
        assert sorted(found) == ["dev", "test", "train", "train", "train"]
    sizes = [[of[fold] for of in of_each].count("test") for fold in range(FOLDS)]
    assert max(sizes) - min(sizes) <= 1


def cut(speaker: str, split: str) -> dict[str, object]:
    said = {"id": speaker, "speaker": speaker, "custom": {"split": split, "bandwidth": "wideband"}}
    return {"id": speaker, "supervisions": [said]}


def test_cuts_of_a_fold_are_of_its_speakers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [cut(f"s{number}", "train") for number in range(10)]
    monkeypatch.setattr("multitask_speech.all_cuts", lambda *_: lines)
    found = cuts_of(tmp_path, tmp_path, "arabic", 3)
    read = {
        split: [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for split, path in found.items()
    }
    assert [one["id"] for one in read["test"]] == ["s3", "s8"]
    assert [one["id"] for one in read["dev"]] == ["s4", "s9"]
    assert len(read["train"]) == 6
    for split, own in read.items():
        assert {one["supervisions"][0]["custom"]["split"] for one in own} == {split}
    assert in_split(lines[0], "dev")["supervisions"][0]["custom"]["bandwidth"] == "wideband"  # type: ignore[index]
    assert lines[0]["supervisions"][0]["custom"]["split"] == "train"  # type: ignore[index]


def asked(name: str, fold: int, speaker: str, language: str = "ar") -> Asked:
    cell = "arabic wideband" if language == "ar" else "english narrowband"
    return Asked(
        id=name,
        cell=cell,
        fold=fold,
        speaker=speaker,
        language=language,
        target="en",
        text="a b c d",
        translation="e f",
        bandwidth=cell.split()[1],
        samples=np.zeros(16, np.float32),
    )


def texts(*found: str) -> dict[str, dict[str, str]]:
    return {
        str(place): {"transcribe": text, "translate": "e f"} for place, text in enumerate(found)
    }


def test_rates_and_changes_by_hand() -> None:
    """Hard sharing: 3 of 8 words wrong; the other: 1 of 8. On average over two cells, translations
    without an error, 18.75 against 6.25 %."""
    spoken = [asked("0", 0, "x"), asked("1", 1, "y")]
    cells = cells_of(spoken)
    assert cells == ("arabic wideband transcribe", "arabic wideband translate")
    tables = {
        "hard": table_of(spoken, texts("a b", "a b c x"), cells),
        "smoe": table_of(spoken, texts("a b c d", "a b c x"), cells),
    }
    found = compared(tables, spoken, "hard")
    transcribed = cells[0]
    assert found["hard"][transcribed]["wer"] == 37.5
    assert found["smoe"][transcribed]["wer"] == 12.5
    assert found["smoe"][transcribed]["relative change"] == pytest.approx(-66.67)
    assert found["smoe"]["average"]["wer"] == 6.25
    assert found["smoe"]["average"]["relative change"] == pytest.approx(-66.67)
    assert found["hard"]["average"]["relative change, interval"] == [0.0, 0.0]
    # Drawn twice, the second fold alone shows no difference, and the first alone the largest.
    assert found["smoe"]["average"]["relative change, interval"] == [-100.0, 0.0]


def test_the_average_is_of_the_corpora_that_are_asked_for() -> None:
    spoken = [asked("0", 0, "x"), asked("1", 0, "y", "en")]
    tables = {"hard": table_of(spoken, texts("a b c x", "x"), cells_of(spoken))}
    rows = compared(tables, spoken, "hard", ["arabic"])["hard"]
    assert rows["english narrowband transcribe"]["wer"] == 100.0
    assert rows["average"]["wer"] == 12.5  # of 25 and 0 %


def test_cells_that_an_arm_is_not_for_are_left_out() -> None:
    spoken = [asked("0", 0, "x"), asked("1", 0, "y", "en")]
    cells = cells_of(spoken)
    single = {"0": {"transcribe": "a b c d"}}
    tables = {
        "hard": table_of(spoken, texts("a b", "a b"), cells),
        "single": table_of(spoken, single, cells),
    }
    found = compared(tables, spoken, "hard")
    assert list(found["single"]) == ["arabic wideband transcribe"]
    assert "average" in found["hard"]
    assert translated(spoken, single) == {}


def test_a_draw_takes_folds_then_speakers_of_each_language_then_utterances() -> None:
    spoken = [
        asked(f"{fold}{speaker}{n}", fold, f"{fold}{speaker}", "en" if speaker == "e" else "ar")
        for fold in range(2)
        for speaker in "abe"
        for n in range(3)
    ]
    for weights in draws(spoken, 50):
        assert weights.sum() == len(spoken)
        english = sum(w for w, one in zip(weights, spoken, strict=True) if one.language == "en")
        assert english == 6
        of_speakers: dict[str, float] = {}
        for weight, one in zip(weights, spoken, strict=True):
            of_speakers[one.speaker] = of_speakers.get(one.speaker, 0) + weight
        assert all(weight % 3 == 0 for weight in of_speakers.values())


def test_an_arm_of_one_task_hears_its_cell_alone() -> None:
    (first, *_) = ARMS["single"]
    assert is_for(first, asked("0", 0, "x"), "transcribe")
    assert not is_for(first, asked("0", 0, "x"), "translate")
    assert not is_for(first, asked("0", 0, "x", "en"), "transcribe")
    found: dict[str, dict[str, str]] = {}
    merge(found, {"0": {"transcribe": "a"}})
    merge(found, {"0": {"translate": "b"}})
    assert found == {"0": {"transcribe": "a", "translate": "b"}}


def test_every_table_has_a_file_of_its_own() -> None:
    plain = {"split": "dev", "steps": 2500, "start": None, "label": ""}
    assert file_name(Namespace(**plain)) == "multitask-dev-2500.json"
    assert file_name(Namespace(**{**plain, "label": "x"})) == "multitask-dev-2500-x.json"
    begun = Namespace(**{**plain, "start": 900, "label": "x"})
    assert file_name(begun) == "multitask-dev-2500-from900-x.json"


def test_arms_begin_from_the_dense_model_of_their_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is trained first, and only once."""
    trained: dict[str, dict[str, Any]] = {}

    def kept_training(name: str, settings: dict[str, Any], runs: Path, threads: int) -> Path:
        assert threads == 1
        trained.setdefault(name, settings)
        return runs / name / "model"

    monkeypatch.setattr(multitask, "kept_training", kept_training)
    monkeypatch.setattr(multitask, "recipe_of", lambda arm, *_: {"arm": arm.name})
    monkeypatch.setattr(multitask, "cuts_digests", lambda _: [])
    monkeypatch.setattr(multitask, "ModelFolder", SimpleNamespace(open=lambda path: path))
    monkeypatch.setattr(multitask, "digest_of", lambda path: f"digest of {path.parent.name}")
    asked = Namespace(
        start=900, steps=400, label="x", runs=tmp_path, threads=1, only_trained=False,
        behind=["optimizer.learning_rate=0.1"],
    )  # fmt: skip
    for row in ("hard", "smoe"):
        multitask.model_of(ARMS[row][0], 2, asked)
    start = trained.pop("start-900-x-fold2")
    assert start["recipe"] == {"arm": "hard", "max_steps": 900}
    assert list(trained) == ["hard-400-from900-x-fold2", "smoe-400-from900-x-fold2"]
    for settings in trained.values():
        assert settings["recipe"]["init_from"] == str(tmp_path / "start-900-x-fold2" / "model")
        assert settings["start"] == "digest of start-900-x-fold2"
        assert settings["recipe"]["optimizer"] == {"learning_rate": 0.1}  # the start has its own
    asked.only_trained = True
    assert multitask.model_of(ARMS["hard"][0], 2, asked) is None
