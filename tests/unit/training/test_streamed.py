"""Runs that learn from shards: stopped, gone on with, and with broken ones."""

import dataclasses
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.runs import checkpoints_of
from tests.unit.data.words import write_words
from tests.unit.shards.corpus import sharded
from tests.unit.training.toy import ToySource, toy_config, toy_model, toy_trainer
from turnout.config import AugmentConfig, CorpusConfig, DataConfig, OptimizerConfig, TrainConfig
from turnout.config.sharding import ShardConfig
from turnout.data import epoch as epochs
from turnout.data.batch import Batch
from turnout.data.epoch import Dealing, Part
from turnout.errors import RunStopped
from turnout.model_folder import ModelFolder
from turnout.training.checkpoints import read_manifest
from turnout.training.log import RunLog
from turnout.training.loop import Trainer
from turnout.training.state import RunState
from turnout.training.train import train

BROKEN_PART = 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    cuts = write_words(tmp_path_factory.mktemp("audio"), takes=4)
    sharded(Path(cuts), folder, ShardConfig(shard_size=0.03))
    return folder


@pytest.fixture
def broken(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Shards of which one has no index, and where that is; parts of an epoch have two shards."""
    monkeypatch.setattr(epochs, "SHARDS_AT_ONCE", 2)
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in made.glob("[!.]*"):
        (folder / path.name).write_bytes(path.read_bytes())
    shards = len(list(folder.glob("*.tar")))
    turn = Dealing(0, {0: (shards, shards)}, 1).turns(0, BROKEN_PART, 0)[0]
    index = folder / f"shard-{turn.shard:06d}.index.json"
    index.unlink()
    return folder, made / index.name


def config_of(shards: Path, folder: Path, **changes: Any) -> TrainConfig:
    model = toy_model()
    vocabulary = dataclasses.replace(
        model.vocabulary, size=400, languages=("es",), translations=(("es", "en"),)
    )
    settings: dict[str, Any] = {
        "model": dataclasses.replace(model, vocabulary=vocabulary),
        "data": DataConfig(
            train=(CorpusConfig(shards=str(shards)),),
            batch_seconds=3,
            augment=AugmentConfig(telephone_variants=1),
        ),
        "optimizer": OptimizerConfig(warmup_steps=1, accumulate=2),
        "max_steps": 5,
        "checkpoint_every": 100,
        "validate_every": 100,
        **changes,
    }
    return toy_config(folder / "run", **settings)


def stop_in_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a run stopped within the part that has the broken shard."""
    step = Trainer._step

    def stopped(self: Trainer, batches: list) -> None:
        step(self, batches)
        if self.state.part == BROKEN_PART:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "_step", stopped)


def unfinished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the end of a run out, which is not of the data."""
    module = sys.modules["turnout.training.train"]
    monkeypatch.setattr(module, "finish", lambda *_: {})
    monkeypatch.setattr(module, "save_model", lambda *_, **__: None)


def outcome(folder: Path) -> dict[str, Any]:
    """What of a run has to be the same, to the last bit."""
    step = checkpoints_of(folder)[-1]
    manifest = read_manifest(folder / "run" / "checkpoints" / f"step-{step:08d}")
    steps = (folder / "run" / "steps.jsonl").read_text().splitlines()
    return {"files": manifest["files"], "state": manifest["fields"]["state"], "steps": steps}


def test_a_run_on_shards_ends_in_a_model_folder(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(epochs, "SHARDS_AT_ONCE", 3)
    config = config_of(made, tmp_path, max_steps=None, max_epochs=1)
    optimizer = dataclasses.replace(config.optimizer, accumulate=1)
    data = dataclasses.replace(config.data, batch_seconds=12)
    folder = train(dataclasses.replace(config, optimizer=optimizer, data=data))
    pieces = ModelFolder.open(folder).tokenizer.pieces
    assert {"▁uno", "▁one"} <= set(pieces)
    assert "could not be used" not in capsys.readouterr().err
    state = outcome(tmp_path)["state"]
    # The last part of the epoch is at its end, and every utterance of a second was heard.
    assert (state["epoch"], state["part"], state["lost"]) == (0, 2, 0)
    assert state["seconds"] > 32 * 0.85
    assert state["step"] in range(3, 9)


def test_a_reason_of_many_utterances_is_told_once_in_a_part(tmp_path: Path) -> None:
    """All that lay in a shard that is gone, for one: met by step after step."""

    class Gone(ToySource):
        parts = 2

        def batches(self, epoch: int, start: int, progress: float, part: Part) -> Iterator[Batch]:
            lost = {0: ("gone", "gone"), 2: ("gone",), 3: ("damaged", "gone")}
            for number, batch in enumerate(super().batches(epoch, start, progress, part)):
                yield dataclasses.replace(batch, lost=lost.get(number, ()))

    config = toy_config(tmp_path, max_steps=10, optimizer=OptimizerConfig(warmup_steps=3))
    trainer = toy_trainer(config)
    trainer.loader = Gone()
    trainer.folder.mkdir(exist_ok=True)
    trainer.begin()
    said: list[str] = []
    with RunLog(trainer.folder, trainer.state, {}) as log:
        log.say = said.append
        trainer.run(log)
    told = [line.removeprefix("warning: ") for line in said if "could not be used" in line]
    assert told == [
        "step 1: 2 utterances could not be used (2 so far): gone",
        "step 4: 3 utterances could not be used (5 so far): damaged",
        "step 6: 2 utterances could not be used (7 so far): gone",
        "step 9: 3 utterances could not be used (10 so far): damaged",
    ]


def test_what_is_lost_for_known_reasons_is_counted_at_the_end_of_a_part(tmp_path: Path) -> None:
    said: list[str] = []
    with RunLog(tmp_path, RunState(), {}) as log:
        log.say = said.append
        log.lost(RunState(step=3, lost=1), 1, ["gone"])
        log.lost(RunState(step=4, lost=3), 2, ["gone"])
        log.lost_for_known_reasons(RunState(step=7, lost=3))
        log.lost_for_known_reasons(RunState(step=8, lost=3))
        log.lost(RunState(step=9, lost=4), 1, ["gone"])
    assert said == [
        "warning: step 3: 1 utterance could not be used (1 so far): gone",
        "warning: step 7: 2 utterances could not be used (3 so far): for reasons such as were told "
        "before",
        "warning: step 9: 1 utterance could not be used (4 so far): gone",
    ]


def test_another_number_of_ranks_goes_on_at_about_the_same_place(tmp_path: Path) -> None:
    class Streams(ToySource):
        def parts_on(self, ranks: int) -> int:
            return 12 // ranks

    trainer = toy_trainer(toy_config(tmp_path))
    trainer.loader, Streams.parts = Streams(), 12
    trainer.state = RunState(epoch=2, part=3, position=5, unread=["0/2/7"])
    trainer.dealt_anew(2)
    assert trainer.state == RunState(epoch=2, part=6, position=0)


def test_a_stopped_run_ends_as_one_that_never_was_even_where_a_shard_is_mended(
    broken: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    shards, mended = broken
    unfinished(monkeypatch)
    train(config_of(shards, tmp_path / "a"))
    said = capsys.readouterr().err
    whole = outcome(tmp_path / "a")
    lost = len(json.loads(mended.read_text())["numbers"])
    assert said.count("utterances could not be used") == 1
    assert f"{lost} utterances could not be used ({lost} so far)" in said
    assert f"{mended.name}: cannot be read (No such file or directory)" in said
    assert whole["state"]["lost"] == lost
    config = config_of(shards, tmp_path / "b")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunStopped):
        stop_in_the_part(patch)
        train(config)
    state = outcome(tmp_path / "b")["state"]
    assert (state["part"], len(state["unread"])) == (BROKEN_PART, 1)
    assert state["position"] > 0
    (shards / mended.name).write_bytes(mended.read_bytes())
    shutil.copytree(tmp_path / "b", tmp_path / "stopped")

    def gone_on(*dropped: str) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "b")
        shutil.copytree(tmp_path / "stopped", tmp_path / "b")
        blank, read = dataclasses.asdict(RunState()), RunState.from_fields
        without = {field: blank[field] for field in dropped}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunState, "from_fields", lambda fields: read({**fields, **without}))
            train(config)
        return outcome(tmp_path / "b")

    assert gone_on() == whole
    for field in ("part", "position", "unread"):
        other = gone_on(field)
        assert other["steps"] != whole["steps"], field
        assert other["files"] != whole["files"], field
