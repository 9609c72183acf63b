"""`train` itself: from cuts on the disk to a model folder, on a corpus of two sounds."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.cut import CutSet

from tests.reliability.runs import write_config
from tests.unit.training.toy import toy_config, toy_model
from turnout.cli import main
from turnout.config import (
    AugmentConfig,
    CorpusConfig,
    DataConfig,
    JoinConfig,
    OptimizerConfig,
    RoutingConfig,
    TrainConfig,
    VocabularyConfig,
)
from turnout.corpora import clips
from turnout.corpora.cuts import read_cuts
from turnout.errors import ConfigError, ModelFolderError, StorageError, TurnoutError
from turnout.guidance import Guide
from turnout.model.build import build_model
from turnout.model_folder import DIGESTS, ModelFolder
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.graphs import kept_graphs
from turnout.training.run_folder import RUN, changed_fields, locked_run
from turnout.training.state import named_weights
from turnout.training.train import train

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""
WORDS = {"low": ("tief", 400), "high": ("hoch", 2500)}


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of half a second."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    found = []
    for number in range(12):
        word = tuple(WORDS)[number % 2]
        translation, pitch = WORDS[word]
        seconds = np.arange(8000) / 16000
        samples = 0.3 * np.sin(2 * np.pi * pitch * seconds) + 0.01 * rng.normal(size=8000)
        path = folder / f"{number}.wav"
        soundfile.write(path, samples, 16000)
        recording = Recording.from_file(path)
        supervision = SupervisionSegment(
            id=str(number), recording_id=recording.id, start=0.0, duration=0.5, text=word,
            language="en", speaker="s", custom={"translations": {"de": translation}},
        )  # fmt: skip
        found.append(
            MonoCut(
                id=str(number), start=0.0, duration=0.5, channel=0, recording=recording,
                supervisions=[supervision],
            )
        )  # fmt: skip
    CutSet.from_cuts(found).to_file(folder / "cuts.jsonl.gz")
    return folder / "cuts.jsonl.gz"


def config_of(cuts: Path, output: Path, **changes: object) -> TrainConfig:
    corpus = CorpusConfig(cuts=str(cuts))
    model = toy_model()
    vocabulary = dataclasses.replace(model.vocabulary, size=400)
    settings: dict[str, object] = {
        "model": dataclasses.replace(model, vocabulary=vocabulary),
        "data": DataConfig(
            train=(corpus,),
            dev=(corpus,),
            batch_seconds=4,
            dev_utterances=3,
            join=JoinConfig(curriculum=()),
            augment=AugmentConfig(telephone_variants=1),
        ),
        "optimizer": OptimizerConfig(warmup_steps=1),
        "max_steps": 4,
        **changes,
    }
    return toy_config(output, **settings)


@pytest.fixture(scope="module")
def trained(cuts: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    config = config_of(cuts, tmp_path_factory.mktemp("runs") / "a")
    train(config)
    return config


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    return load(ModelFolder.open(folder).read("model.safetensors"))


def test_a_file_that_is_trained_and_validated_on_is_read_once(
    cuts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(clips, "read_cuts", lambda path: read.append(path) or read_cuts(path))
    train(config_of(cuts, tmp_path / "run", max_steps=1))
    assert read == [cuts]


def test_a_run_ends_in_a_model_folder_with_its_card(trained: TrainConfig) -> None:
    run = Path(trained.output)
    folder = ModelFolder.open(run / "model")
    assert folder.config.vocabulary.size == folder.tokenizer.size < 400
    card = (run / "model" / "README.md").read_text()
    assert "hours of audio" in card
    assert '"batch_seconds": 4' in card
    assert (run / "training.png").is_file()
    assert list((run / "tensorboard").iterdir())
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    rows = next(line for line in lines if line["event"] == "validation")["rows"]
    found = {(row["bandwidth"], row["task"], row["language"]) for row in rows}
    assert found == {
        (bandwidth, *text)
        for bandwidth in ("narrowband", "wideband")
        for text in (("transcribe", "en"), ("translate", "de"))
    }


def test_started_again_a_finished_run_says_so(trained: TrainConfig, capsys) -> None:
    before = (Path(trained.output) / "model" / "model.safetensors").stat().st_mtime_ns
    assert train(trained) == Path(trained.output) / "model"
    assert "this run is finished" in capsys.readouterr().err
    assert (Path(trained.output) / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_changed_configuration_is_refused_its_fields_named(trained: TrainConfig) -> None:
    data = dataclasses.replace(trained.data, batch_seconds=5)
    changed = dataclasses.replace(trained, data=data, seed=1, log_every=7)
    with pytest.raises(ConfigError, match=r"since this run began: data.batch_seconds, seed: put"):
        train(changed)


def test_a_run_begun_by_an_older_turnout_is_refused_unless_it_is_finished(
    trained: TrainConfig, tmp_path: Path, capsys
) -> None:
    shutil.copytree(trained.output, tmp_path / "run")
    path = tmp_path / "run" / RUN
    run = json.loads(path.read_text())
    del run["format"], run["config"]["seed"]  # as version 0.1 wrote it
    path.write_text(json.dumps(run))
    again = dataclasses.replace(trained, output=str(tmp_path / "run"))
    assert train(again) == tmp_path / "run" / "model"
    assert "this run is finished" in capsys.readouterr().err
    (tmp_path / "run" / "model" / DIGESTS).unlink()
    with pytest.raises(ConfigError, match=r"begun by another turnout .*: go on with that turnout"):
        train(again)
    # Without a checkpoint and a model there is nothing to go on with.
    for name in ("model", "checkpoints"):
        shutil.rmtree(tmp_path / "run" / name)
    train(again)
    assert json.loads(path.read_text())["format"] == 2


def test_a_tokenizer_of_no_kind_is_refused(trained: TrainConfig, tmp_path: Path) -> None:
    shutil.copytree(trained.output, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    path = tmp_path / "run" / RUN
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_kind": ["bpe"]}))
    with pytest.raises(ConfigError, match="is not the tokenizer that this run began with"):
        train(dataclasses.replace(trained, output=str(tmp_path / "run")))


def test_a_mistake_before_the_first_step_may_be_mended(cuts: Path, tmp_path: Path) -> None:
    config = config_of(cuts, tmp_path / "run", max_steps=2)
    wrong = dataclasses.replace(config.data, train=(CorpusConfig(cuts=str(tmp_path / "no.gz")),))
    with pytest.raises(TurnoutError, match=r"no.gz"):
        train(dataclasses.replace(config, data=wrong))
    # A tokenizer is there, of other texts than those of the next attempt.
    vocabulary = dataclasses.replace(config.model.vocabulary, languages=("en", "fr"))
    model = dataclasses.replace(config.model, vocabulary=vocabulary)
    train(dataclasses.replace(config, model=model))


def test_a_run_without_a_corpus_begins_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data.train names no corpus"):
        train(TrainConfig(output=str(tmp_path / "run")))
    assert not list(tmp_path.iterdir())


def test_another_number_of_workers_is_a_warning(trained: TrainConfig, capsys) -> None:
    data = dataclasses.replace(trained.data, workers=1)
    train(dataclasses.replace(trained, data=data))
    assert "warning: data.workers changed" in capsys.readouterr().err


def test_changed_fields_are_dotted() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": None}
    assert changed_fields(before, {"a": {"b": 2, "c": [1, 2]}, "d": 3}) == {"a.b", "d"}
    assert changed_fields(before, {"a": {"b": 1}, "d": None}) == {"a.c"}


def test_init_from_starts_with_a_folders_weights_and_tokenizer(
    trained: TrainConfig, cuts: Path, tmp_path: Path, capsys
) -> None:
    source = Path(trained.output) / "model"
    optimizer = OptimizerConfig(learning_rate=1e-12, weight_decay=0.0)
    config = config_of(
        cuts, tmp_path / "b", init_from=str(source), max_steps=1, optimizer=optimizer
    )
    train(config)
    before, after = weights(source), weights(tmp_path / "b" / "model")
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=1e-6)
    assert (tmp_path / "b" / "tokenizer.model").read_bytes() == (
        source / "tokenizer.model"
    ).read_bytes()
    assert "init_from" not in capsys.readouterr().err


def test_init_from_lists_what_did_not_fit(
    trained: TrainConfig, cuts: Path, tmp_path: Path, capsys
) -> None:
    omni = RoutingConfig(kind="omni", num_experts=2)
    model = dataclasses.replace(
        trained.model, encoder=dataclasses.replace(trained.model.encoder, routing=omni)
    )
    config = config_of(
        cuts,
        tmp_path / "c",
        model=model,
        init_from=str(Path(trained.output) / "model"),
        max_steps=1,
    )
    train(config)
    said = capsys.readouterr().err
    assert "tensors not in the model folder, left random: encoder.routers.*\n" in said


def in_another_language(cuts: Path, folder: Path) -> Path:
    """The same sounds, called otherwise in a language that no model has heard of."""
    folder.mkdir()
    words = {"low": ("grave", "basso"), "high": ("aigu grave", "alto")}
    kept = []
    for cut in CutSet.from_file(cuts):
        said = cut.supervisions[0]
        text, translation = words[str(said.text)]
        custom = {"translations": {"it": translation}}
        other = dataclasses.replace(said, text=text, language="fr", custom=custom)
        kept.append(dataclasses.replace(cut, supervisions=[other]))
    CutSet.from_cuts(kept).to_file(folder / "cuts.jsonl.gz")
    return folder / "cuts.jsonl.gz"


def losses(output: str) -> list[float]:
    lines = (Path(output) / "log.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def test_a_model_goes_on_to_another_language(cuts: Path, tmp_path: Path, capsys) -> None:
    routing = RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,))
    model = toy_model(encoder=routing, dropout=0.0)
    vocabulary = VocabularyConfig(size=400, languages=("en",), translations=(("en", "de"),))
    first = config_of(
        cuts,
        tmp_path / "en",
        model=dataclasses.replace(model, vocabulary=vocabulary),
        optimizer=OptimizerConfig(warmup_steps=5, learning_rate=1e-2),
        max_steps=30,
        validate_every=30,
        checkpoint_every=30,
    )
    train(first)
    capsys.readouterr()
    both = VocabularyConfig(
        size=400, languages=("fr", "en"), translations=(("fr", "it"), ("en", "de"))
    )
    french = config_of(
        in_another_language(cuts, tmp_path / "fr"),
        tmp_path / "scratch",
        model=dataclasses.replace(model, vocabulary=both),
        max_steps=6,
        log_every=2,
        validate_every=6,
    )
    train(french)
    tuned = dataclasses.replace(
        french, output=str(tmp_path / "tuned"), init_from=str(tmp_path / "en" / "model")
    )
    path = write_config(tuned, tmp_path)
    assert main(["train", "--config", str(path)]) == 0
    said = capsys.readouterr().err
    assert re.search(r"a new tokenizer: kept \d\d\d of \d\d\d rows of the vocabulary", said), said
    assert "fr, it: begins as the mean of en, de" in said
    assert "the encoder's experts of fr begin as those of en" in said
    assert "left random" not in said
    for before, after in zip(losses(french.output), losses(tuned.output), strict=True):
        assert after < 0.9 * before
    # Gone on with, it is the same run.
    assert main(["train", "--config", str(path)]) == 0
    folder = ModelFolder.open(tmp_path / "tuned" / "model")
    assert tuple(folder.tokenizer.language_ids) == ("fr", "en", "it", "de")


def test_a_tokenizer_that_lacks_a_language_cannot_be_kept(
    trained: TrainConfig, cuts: Path, tmp_path: Path
) -> None:
    vocabulary = dataclasses.replace(trained.model.vocabulary, languages=("en", "fr"))
    config = config_of(
        cuts,
        tmp_path / "e",
        model=dataclasses.replace(trained.model, vocabulary=vocabulary),
        init_from=str(Path(trained.output) / "model"),
        init_tokenizer="keep",
    )
    with pytest.raises(ConfigError, match="has no id for fr: leave it out, and one is trained"):
        train(config)


def test_init_from_a_folder_that_is_not_there(cuts: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="no model"):
        train(config_of(cuts, tmp_path / "d", init_from=str(tmp_path / "nothing")))


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    ranks = Ranks(open_fabric(toy_config(tmp_path)))
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with (
            pytest.raises(StorageError, match="another process trains in it"),
            locked_run(tmp_path, ranks),
        ):
            pytest.fail("it was let in")
    finally:
        other.kill()
        other.communicate()
    with locked_run(tmp_path, ranks):
        pass


def test_the_weights_of_a_model_are_named_once(trained: TrainConfig) -> None:
    names = named_weights(build_model(trained.model))
    assert len({tensor.data_ptr() for tensor in names.values()}) == len(names)


def test_a_run_at_its_end_needs_no_graphs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_config(tmp_path, init_from=str(tmp_path / "gone"))
    assert kept_graphs(config, build_model(config.model)) == {}
    (told,) = capsys.readouterr().err.splitlines()
    assert "cannot be kept" in told and "`turnout export` writes them" in told
