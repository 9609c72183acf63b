"""The rows, the sets and the figures of benchmarks/omni.py."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kept_trainings import with_changes
from omni import head_recipe, recipe_of, setting_of, split_name
from omni import model_of as trained_model
from omni_judged import AVERAGE, Wanted, draws_of, judged, of_sacrebleu
from omni_made import check_machines, counts_of, curve_of, scored
from omni_rows import KNOBS, ROWS, STARTS, Start, changes_of, check_hybrid, check_row
from omni_speech import IN_DOMAIN, sets_of, written
from omni_table import changes, draw, origins, rates, trainings
from registered import check_registered

from turnout.config import ModelConfig, TrainConfig, preset
from turnout.config.plain import from_plain, to_plain
from turnout.config.yaml_text import parse_yaml
from turnout.evaluation.counting import counted
from turnout.evaluation.report import Report
from turnout.evaluation.score_rows import ScoredText
from turnout.guidance import Bandwidth, Task
from turnout.model.build import build_model
from turnout.model.parameters import parameters_of
from turnout.training.parts import trained_names

LAYERS = 2


def model_of(start: Start, row: str) -> ModelConfig:
    """The shape of a row; a checkpoint's is a small one's."""
    recipe = with_changes(parse_yaml(start.recipe.read_text("utf-8"))[1], changes_of(row, LAYERS))
    if start.pretrained:
        shape = to_plain(preset("whisper-tiny"))
        for part, own in recipe["model"].items():
            shape[part] = {**shape[part], **own} if isinstance(own, dict) else own
        recipe["model"] = shape
    return from_plain(TrainConfig, recipe).model


@pytest.mark.parametrize("start", STARTS.values(), ids=lambda one: one.name)
@pytest.mark.parametrize("row", ROWS)
def test_rows_have_as_many_active_parameters_as_dense(start: Start, row: str) -> None:
    with torch.device("meta"):
        dense, own = (parameters_of(build_model(model_of(start, one))) for one in ("dense", row))
    assert abs(own.active - dense.active) <= 0.02 * dense.active
    assert (own.total > 1.3 * dense.total) is (row != "dense")


@pytest.mark.parametrize(("row", "routers"), [("switch", 2), ("omni", 1), ("omni-blocks", 2)])
def test_rows_share_routers_as_their_names_say(row: str, routers: int) -> None:
    model = build_model(model_of(STARTS["random"], row))
    assert len(model.encoder.routers) == routers
    assert {one for layer in model.encoder.router_of for one in layer} == set(range(routers))


@pytest.mark.parametrize("knob", KNOBS)
def test_each_knob_changes_one_thing_and_nothing_of_dense(knob: str) -> None:
    plain, turned = (changes_of(row, LAYERS) for row in ("omni", f"omni+{knob}"))
    assert len({key for key in turned if turned[key] != plain.get(key)}) == 1
    model_of(STARTS["whisper"], f"switch+{knob}")
    with pytest.raises(ValueError, match="dense has no router"):
        check_row(f"dense+{knob}")


def test_rows_and_knobs_that_are_none_are_named() -> None:
    with pytest.raises(ValueError, match="there is no row moe: choose from dense, switch, omni"):
        check_row("moe")
    with pytest.raises(ValueError, match="there is no knob loud: choose from strong, weak"):
        check_row("omni+loud")


def test_hybrid_is_refused_where_nothing_narrowband_is_heard() -> None:
    recipe = {"data": {"augment": {"narrowband": 0.0}}}
    with pytest.raises(ValueError, match="narrowband=0.25 --label narrow"):
        check_hybrid(["dense", "hybrid"], recipe)
    check_hybrid(["dense", "omni"], recipe)
    check_hybrid(["hybrid"], {"data": {"augment": {"narrowband": 0.25}}})


def arguments(**more: object) -> Namespace:
    asked = {
        "start": "whisper", "layers": 6, "steps": 800, "label": "", "split": "dev", "set": [],
        "quick": False, "runs": Path("/runs"), "frozen": 0, "head": None,
    }  # fmt: skip
    return Namespace(**{**asked, **more})


def test_every_setting_has_a_name_and_a_table_of_its_own() -> None:
    changes = ({}, {"start": "random", "layers": 8}, {"layers": 3}, {"steps": 2}, {"label": "x"})
    assert setting_of(arguments()) == "whisper-800"
    assert setting_of(arguments(layers=3, label="x")) == "whisper3-800-x"
    assert setting_of(arguments(frozen=3, head=400)) == "whisper-above3-800-head400"
    assert split_name(arguments()) == "whisper-dev-800"
    assert len({split_name(arguments(**one)) for one in (*changes, {"split": "test"})}) == 6


def test_rows_of_a_seed_differ_in_their_routing_alone() -> None:
    """Steps, order of data, optimizer and masks are the same."""
    cuts = {"train": ["a"], "dev": ["b"]}
    dense, omni_row = (recipe_of(row, 1, arguments(), cuts) for row in ("dense", "omni"))
    for recipe in (dense, omni_row):
        del recipe["model"]["encoder"]["routing"], recipe["output"]
    assert dense == omni_row
    assert (dense["seed"], dense["max_steps"], dense["validate_every"]) == (1, 800, 800)
    changed = recipe_of("dense", 1, arguments(set=["optimizer.learning_rate=0.5"]), cuts)
    assert changed["optimizer"]["learning_rate"] == 0.5
    assert changed["init_from"] == "/runs/base"


def test_rows_begin_from_one_model_whose_head_alone_was_trained() -> None:
    asked = arguments(frozen=3, head=400, label="x", set=["optimizer.learning_rate=0.5"])
    head = head_recipe(asked, {})
    rows = [recipe_of(row, seed, asked, {}) for row in ("dense", "omni") for seed in (1, 2)]
    assert {one["init_from"] for one in rows} == {f"{head['output']}/model"}
    assert {one["init_tokenizer"] for one in rows} == {"keep"}
    assert {one["optimizer"]["learning_rate"] for one in rows} == {0.5}
    assert (head["init_from"], head["init_tokenizer"]) == ("/runs/base", "new")
    assert (head["trainable"], head["max_steps"]) == (["ctc_head"], 400)
    assert head["optimizer"]["learning_rate"] == 0.003
    assert len({head["output"], *(one["output"] for one in rows)}) == 5


def test_only_trained_trains_no_head_either(tmp_path: Path) -> None:
    asked = arguments(runs=tmp_path, head=400, only_trained=True)
    row = tmp_path / "whisper-800-head400-dense-seed1" / "model"
    row.mkdir(parents=True)
    (row / "SHA256SUMS").touch()
    assert trained_model("dense", 1, asked, {"train": [], "dev": []}) is None


@pytest.mark.parametrize(("row", "routers"), [("dense", 0), ("switch", 2), ("omni", 1)])
def test_frozen_layers_are_neither_trained_nor_routed(row: str, routers: int) -> None:
    layers, frozen = 3, 1
    asked = changes_of(row, layers, frozen)
    recipe = with_changes(parse_yaml(STARTS["random"].recipe.read_text("utf-8"))[1], asked)
    config = from_plain(TrainConfig, recipe)
    with torch.device("meta"):
        model = build_model(config.model)
    assert len(model.encoder.routers) == routers
    names = [name for name, _ in model.named_parameters()]
    trained = trained_names(config.model, names, config.trainable)
    left = {name for name in names if name.startswith(("encoder.blocks.0.", "encoder.subsampling"))}
    assert left == {*names} - {*trained}
    assert not any("experts.1." in name for name in left)
    assert any("blocks.1" in name and "experts.1." in name for name in trained) is (row != "dense")


def test_the_test_split_is_refused_until_its_setting_is_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = ["the setting `whisper-800-x`"]
    monkeypatch.setattr("registered.git", lambda *_: told[0])
    check_registered("dev", "whisper-800")
    with pytest.raises(SystemExit, match="does not name the setting `whisper-800`"):
        check_registered("test", "whisper-800")
    told[0] = "the setting `whisper-800` of"
    check_registered("test", "whisper-800")


def test_texts_are_written_as_librispeech_has_them() -> None:
    assert (
        written('"Talk shop," Ruth-Ann said; GOD\'S (own)!') == "talk shop ruth ann said god's own"
    )


def test_the_sets_are_of_one_split_and_of_its_sounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni_speech.cuts_of", lambda _, runs, name: runs / name)
    monkeypatch.setattr("omni_speech.unpack_set", lambda *_: None)
    found = sets_of(tmp_path, tmp_path, "dev", 7).sets
    assert found[0].name == IN_DOMAIN
    assert len(found) == 11
    assert {one.limit for one in found} == {7}
    assert found[0].data == (str(tmp_path / "librispeech" / "dev.jsonl.gz"),)
    assert found[-1].data == (str(tmp_path / "fsdd" / "dev.jsonl.gz"),)
    channels = [one.channel for one in found if one.channel]
    assert {one.sounds for one in channels} == {"dev"}
    sounds = str(tmp_path / "corpora" / "noise_rooms")
    assert {one.noises or one.rooms for one in channels} == {None, sounds}


def one(name: str, errors: int, corpus: str = "c", words: int = 10) -> dict[str, object]:
    return {
        "id": name, "speaker": name, "corpus": corpus,
        "wer": [errors, words], "cer": [errors, 5 * words],
    }  # fmt: skip


def outside(resamples: int, *sets: str) -> Wanted:
    return Wanted(averages={AVERAGE: sets}, resamples=resamples)


def test_rates_averages_and_changes_by_hand() -> None:
    """Two seeds, one utterance a set: read 2 and 4 of 10 (30 %), two sets out of the domain 6 and 4
    of 10 (50 %), 2 and 8 of 20 (25 %): on average 37.5 %. Omni has half of the errors there."""
    dense = [
        {"read": [one("a", 2)], "noise": [one("a", 6)], "digits": [one("z", 2, "d", 20)]},
        {"read": [one("a", 4)], "noise": [one("a", 4)], "digits": [one("z", 8, "d", 20)]},
    ]
    half = [
        {"read": [one("a", 2)], "noise": [one("a", 3)], "digits": [one("z", 1, "d", 20)]},
        {"read": [one("a", 4)], "noise": [one("a", 2)], "digits": [one("z", 4, "d", 20)]},
    ]
    found = judged({"dense": dense, "omni": half}, outside(200, "noise", "digits"))
    assert found["dense"]["read"]["wer"] == 30.0
    assert found["dense"]["noise"]["wer"] == 50.0
    assert found["dense"][AVERAGE]["wer"] == 37.5
    assert found["dense"][AVERAGE]["cer"] == 7.5
    # Either seed alone: (60 + 10) / 2 and (40 + 40) / 2.
    assert found["dense"][AVERAGE]["wer, interval"] == [35.0, 40.0]
    omni_row = found["omni"]
    assert omni_row[AVERAGE]["wer"] == 18.75
    assert omni_row[AVERAGE]["wer, change to dense"] == -50.0
    assert omni_row[AVERAGE]["wer, change to dense, interval"] == [-50.0, -50.0]
    assert omni_row["read"]["wer, change to dense"] == 0.0
    assert "wer, change to switch" not in omni_row["read"]
    assert "wer, change to dense" not in found["dense"]["read"]


def test_bleu_and_chrf_are_of_the_corpus_and_the_mean_of_the_seeds() -> None:
    """All twelve words right: 100. One sentence right and one empty: every n-gram is right and
    half of the length is missing, 100 * exp(1 - 12 / 6) = 36.79. Without a four-gram there is no
    BLEU."""
    right, texts = "one two three four five six", ["one two three four five six", "a b c d e f"]
    seeds = [texts, [right, ""]]
    rows = []
    for heard in seeds:
        found = counted("bleu", texts, heard, "en").counts.tolist()
        rows.append(
            {"es": [{**one(name, 0), "bleu": own} for name, own in zip("ab", found, strict=True)]}
        )
    wanted = Wanted(
        averages={"all": ["es"]}, metrics={"bleu": of_sacrebleu("bleu")}, bases=["x"], resamples=50
    )
    figures = judged({"x": rows, "y": [rows[1], rows[1]]}, wanted)
    assert figures["x"]["es"]["bleu"] == pytest.approx((100 + 36.79) / 2, abs=0.01)
    assert figures["y"]["all"]["bleu"] == pytest.approx(36.79, abs=0.01)
    assert figures["y"]["es"]["bleu, change to x"] == pytest.approx(-46.2, abs=0.05)
    short = counted("bleu", ["one two"], ["one two"], "en").counts
    assert np.isnan(of_sacrebleu("bleu")(short)).all()


def test_an_utterance_of_several_sets_is_drawn_for_all_of_them_and_no_corpus_is_missed() -> None:
    counts = {
        "read": [one("a", 0), one("b", 10)],
        "noise": [one("a", 0), one("b", 10)],
        "digits": [one("z", 1, "d")],
    }
    draws = draws_of(counts, seeds=1, resamples=50)
    assert draws.utterances.shape == (50, 3)
    assert (draws.utterances[:, 2] == 1).all()
    assert (draws.utterances[:, :2].sum(axis=1) == 2).all()
    assert len(np.unique(draws.utterances[:, 0])) == 3
    found = judged({"dense": [counts]}, outside(200, "noise", "digits"))["dense"]
    assert found["read"]["wer, interval"] == found["noise"]["wer, interval"] == [0.0, 100.0]


def scored_text(name: str, reference: str, hypothesis: str) -> ScoredText:
    return ScoredText(
        id=name,
        task=Task.TRANSCRIBE,
        bandwidth=Bandwidth.WIDEBAND,
        language="en",
        target_language="en",
        reference=reference,
        hypothesis=hypothesis,
        seconds=1.0,
        speaker="x",
        recording=f"/corpora/librispeech/audio/{name}.opus",
    )


def test_errors_are_counted_by_utterance() -> None:
    texts = (scored_text("b", "one two", "one too"), scored_text("a", "one", ""))
    report = Report(model="m", data=(), options={}, rows=(), texts=texts)
    first, second = counts_of(report)
    assert (first["id"], first["wer"], first["cer"]) == ("a", [1, 1], [3, 3])
    assert (second["id"], second["wer"], second["cer"]) == ("b", [1, 2], [1, 7])
    assert second["corpus"] == "librispeech"
    with pytest.raises(SystemExit, match="c: is damaged: every model must hear"):
        counts_of(replace(report, failed=("c: is damaged",)))


def test_what_was_heard_is_kept_by_set_and_by_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "SHA256SUMS").write_text("1")
    heard: list[str] = []

    def hear(_: object, asked: object) -> list[object]:
        heard.append(asked.name)  # type: ignore[attr-defined]
        return [one("a", len(heard))]

    monkeypatch.setattr("omni_made.heard", hear)
    monkeypatch.setattr("omni_made.turnout.load", lambda *_, **__: None)
    monkeypatch.setattr("omni_speech.cuts_of", lambda _, runs, name: runs / name)
    monkeypatch.setattr("omni_speech.unpack_set", lambda *_: None)
    sets = sets_of(tmp_path, tmp_path, "dev")
    found = scored(model, "dev", sets, 1)
    assert scored(model, "dev", sets, 1) == found
    assert len(heard) == 11
    (model / "SHA256SUMS").write_text("2")
    assert scored(model, "dev", sets, 1) != found
    assert len(heard) == 22


def test_rows_of_different_processors_are_not_compared() -> None:
    check_machines([{"processor": "a"}, {"processor": "a"}])
    with pytest.raises(SystemExit, match="trained on a and b, which no table may mix"):
        check_machines([{"processor": "a"}, {"processor": "b"}])


def test_the_curve_is_ctc_alone(tmp_path: Path) -> None:
    lines = [
        {"event": "train", "step": 20, "ctc": 2.51239, "loss": 3.0},
        {"event": "validation", "step": 20, "score": 1.0},
        {"event": "train", "step": 40, "ctc": 1.5, "loss": 2.0},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert curve_of(tmp_path) == [(20, 2.5124), (40, 1.5)]


def content() -> dict[str, object]:
    """What omni.py writes of two rows, made by its own judging."""
    dense = [{"read": [one("a", 2)], "noise": [one("a", 4)]}]
    half = [{"read": [one("a", 2)], "noise": [one("a", 2)]}]
    run = {
        "commit": "0123456789abcdef", "processor": "P", "minutes": 12.5,
        "parameters": {"total": 30_000_000, "active": 20_000_000},
        "loss": [(10, 4.0), (95, 3.0), (100, 2.0)],
    }  # fmt: skip
    return {
        "command": "python x", "split": "dev", "setting": "whisper-800", "seeds": [1],
        "runs": {"dense": {"1": run}, "omni": {"1": run, "2": run}},
        "averages": [AVERAGE],
        "figures": judged({"dense": dense, "omni": half}, outside(50, "noise")),
    }  # fmt: skip


def test_the_table_says_what_the_file_says() -> None:
    made = content()
    assert list(rates(made, "wer"))[3:] == [
        "| noise | 40.0 [40.0, 40.0] | 20.0 [20.0, 20.0] |",
        "| out of domain | 40.0 [40.0, 40.0] | 20.0 [20.0, 20.0] |",
    ]
    beside = "| omni | -50.0 [-50.0, -50.0] | -50.0 [-50.0, -50.0] |"
    head, _, *rows = changes(made, AVERAGE)
    assert head == "| out of domain | WER beside dense, % | CER beside dense, % |"
    assert rows[-1] == beside
    assert list(trainings(made))[-1] == "| omni | 30.0 | 20.0 | 12.5 | 2.500 |"
    assert origins(made).startswith("`whisper-800`, dev, seeds 1; trained at 0123456789 on P")


def test_the_figure_of_losses_is_drawn(tmp_path: Path) -> None:
    draw(content(), tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
