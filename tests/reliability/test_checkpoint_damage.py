"""A damaged checkpoint is refused, its file named, before a weight is used; the one before is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from tests.reliability.corpus import config_of, write_corpus
from tests.reliability.damage import DAMAGES, Damage, flip_a_bit, truncate
from tests.reliability.kills import Point
from tests.reliability.runs import checkpoints_of, error_lines, outcome, same, start
from tests.reliability.tally import Tally
from tests.unit.training.toy import toy_config
from turnout.config import TrainConfig
from turnout.corpora.clips import read_clips
from turnout.data.store import open_store
from turnout.data.variants import VariantConfig
from turnout.errors import TurnoutError
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.training import checkpoints as module
from turnout.training.checkpoints import Checkpoints, read_checkpoint
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.run_folder import TOKENIZER
from turnout.training.train import run_tokenizer

RANKS = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    return config_of(write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 24), max_steps=8)


@pytest.fixture(scope="module")
def killed(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks with checkpoints of steps 2 and 4, killed before it could save step 6."""
    folder = tmp_path_factory.mktemp("killed")
    with start(config, folder, ranks=RANKS, before={0: Point("rename", 6)}) as running:
        assert any(running.wait())
    assert checkpoints_of(folder) == [2, 4]
    return folder


@pytest.mark.counts("T3", "damaged checkpoints")
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_it_is_refused_by_name_and_the_one_before_taken(
    tally: Tally,
    damage: Damage,
    killed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", Ranks(open_fabric(toy_config(tmp_path))))
    expected = read_checkpoint(killed / "run" / "checkpoints" / "step-00000002")
    parsed: list[bytes] = []
    original = module.load
    monkeypatch.setattr(module, "load", lambda data: parsed.append(data) or original(data))
    silent = 0
    for trial in range(tally.size(*DAMAGES[damage])):
        shutil.rmtree(checkpoints.folder, ignore_errors=True)
        shutil.copytree(killed / "run" / "checkpoints", checkpoints.folder)
        rng = tally.random(trial)
        path = damage(checkpoints.path(4), checkpoints.path(2), rng)
        silent += unnoticed(path)
        said: list[str] = []
        parsed.clear()
        with tally.trial(f"{path.name}, {trial}"):
            found = checkpoints.newest(said.append)
            assert found is not None, "nothing was found"
            assert found.step == 2, f"step {found.step} was taken"
            assert found.tensors.keys() == expected.tensors.keys()
            assert all(torch.equal(found.tensors[n], t) for n, t in expected.tensors.items())
            assert len(said) == 1, f"{len(said)} lines were said"
            assert str(path) in said[0], f"the file is not named: {said[0]}"
            data = path.read_bytes() if path.exists() else b""
            rightly = [kept.read_bytes() for kept in checkpoints.path(2).iterdir()].count(data)
            assert parsed.count(data) <= rightly, "it was parsed"
    tally.measure(loaded_silently_by_the_format_alone=silent)
    if damage is flip_a_bit:
        # The negative control: why there is a manifest.
        tally.controlled(silent > 0)


def unnoticed(path: Path) -> bool:
    """Whether safetensors by itself takes the file."""
    if path.suffix != ".safetensors" or not path.exists():
        return False
    try:
        safetensors.torch.load(path.read_bytes())
    except (SafetensorError, ValueError):
        return False
    return True


@pytest.mark.counts("T3", "the run goes on")
def test_the_run_goes_on_from_the_one_before_with_the_same_bits(
    tally: Tally, config: TrainConfig, killed: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    with start(config, whole, ranks=RANKS) as running:
        running.finish()
    for damage in DAMAGES if tally.full else (truncate,):
        folder = tmp_path / damage.__name__
        shutil.copytree(killed, folder)
        checkpoints = folder / "run" / "checkpoints"
        newest, before = (checkpoints / f"step-{step:08d}" for step in (4, 2))
        path = damage(newest, before, tally.random(damage.__name__))
        with (
            tally.trial(damage.__name__),
            start(config, folder, ranks=RANKS) as running,
        ):
            running.finish()
            said = running.stderr(0)
            warned = [line for line in said.splitlines() if "going back" in line]
            assert len(warned) == 1, said[-600:]
            assert str(path.relative_to(folder)) in warned[0], warned[0]
            assert "going on at step 2" in said
            same(outcome(folder), outcome(whole))


@pytest.mark.counts("T3", "one rank cannot read")
def test_what_one_rank_cannot_read_no_rank_takes(
    tally: Tally, config: TrainConfig, killed: Path, tmp_path: Path
) -> None:
    """Ranks that went on from different steps would train on, each on something else."""
    for rank in range(RANKS) if tally.full else (1,):
        folder = tmp_path / str(rank)
        shutil.copytree(killed, folder)
        with (
            tally.trial(f"rank {rank}"),
            start(config, folder, ranks=RANKS, before={rank: cannot_read_step_4}) as running,
        ):
            running.finish()
            said = running.stderr(0)
            assert "step-00000004" in said, said[-600:]
            assert "going on at step 2" in said, said[-600:]


def cannot_read_step_4() -> None:
    """A disk that fails this process alone, once."""
    original = Path.read_bytes
    failed: list[Path] = []

    def read_bytes(self: Path) -> bytes:
        if self.parent.name == "step-00000004" and not failed:
            failed.append(self)
            raise OSError(5, "Input/output error")
        return original(self)

    Path.read_bytes = read_bytes


@pytest.mark.counts("T3", "damaged tokenizer")
def test_a_run_goes_on_with_its_own_tokenizer_alone(
    tally: Tally, config: TrainConfig, killed: Path, tmp_path: Path
) -> None:
    """Other pieces than the run began with would be learned from then on."""
    shutil.copytree(killed, tmp_path / "killed")
    folder = tmp_path / "killed" / "run"
    path, ranks = folder / TOKENIZER, Ranks(open_fabric(toy_config(tmp_path)))
    good = path.read_bytes()
    others = 0
    for trial in range(tally.size(20, 300)):
        data = bytearray(good)
        rng = tally.random(trial)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        others += taken(bytes(data), config)
        with tally.trial(f"bit flipped, {trial}"):
            said = refusal(lambda: run_tokenizer(config, {}, folder, ranks))
            assert said.startswith(f"{path}: is not the tokenizer that this run began with"), said
    with (
        tally.trial("both ranks end"),
        start(config, folder.parent, ranks=RANKS) as running,
    ):
        assert running.wait() == [2, 2]
        for rank in range(RANKS):
            assert [TOKENIZER in line for line in error_lines(running.stderr(rank))] == [True]
    with tally.trial("put back"):
        path.write_bytes(good)
        assert run_tokenizer(config, {}, folder, ranks).to_bytes() == good
    # The negative control: most such files are tokenizers, too.
    tally.controlled(others > 0)
    tally.measure(taken_without_the_digest=others)


def taken(data: bytes, config: TrainConfig) -> bool:
    """Whether it would be trained on with these pieces."""
    try:
        SentencePieceTokenizer.from_bytes(data, config.model.vocabulary)
    except TurnoutError:
        return False
    return True


def refusal(call: Callable[[], object]) -> str:
    """What it says as it refuses; nothing where it does not."""
    try:
        call()
    except TurnoutError as error:
        return str(error)
    return ""


@pytest.mark.counts("T3", "features cut short")
def test_stored_features_that_lack_frames_are_refused(
    tally: Tally, config: TrainConfig, tmp_path: Path
) -> None:
    """Whole rows are missing, or too many: by itself the file is as good as any."""
    clips = read_clips(config.data.train[0].cuts)
    settings = VariantConfig(
        features=config.model.features, telephone_variants=0, narrowband=False, trim=False
    )
    store = open_store(clips, settings, tmp_path)
    path = tmp_path / f"mel-{store.digest}" / "frames.f16"
    good, row = path.read_bytes(), 2 * config.model.features.num_mels
    shaped = 0
    for trial in range(tally.size(20, 300)):
        rows = tally.random(trial).randrange(1, len(good) // row)
        data = good[: row * rows] if trial % 4 else good + bytes(row * rows)
        path.write_bytes(data)
        shaped += np.frombuffer(data, np.float16).reshape(-1, row // 2).size > 0
        with tally.trial(f"{rows} rows, {trial}"):
            said = refusal(lambda: open_store(clips, settings, tmp_path))
            assert said.startswith(f"{path.parent}: the stored mel power is damaged"), said
            assert path.name in said, said
    path.write_bytes(good)
    with tally.trial("put back"):
        assert len(open_store(clips, settings, tmp_path).clips) == len(clips)
    tally.controlled(shaped > 0)
