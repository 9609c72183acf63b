"""A Whisper checkpoint as the start of a run, through the command line: its shape, its tokenizer,
its padded windows and its graphs stay; a part of its weights moves."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import turnout
from tests import whispers
from turnout.cli import main
from turnout.config import CorpusConfig, DataConfig
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import read_corpora
from turnout.corpora.prepare import prepare
from turnout.data.batch import IGNORED
from turnout.data.loader import Loader
from turnout.hub.convert import convert
from turnout.model_folder import ModelFolder

RATE = 8000
TEXTS = ("Zero one", "Two", "Three four", "Six")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted checkpoint with a window of six seconds."""
    folder = tmp_path_factory.mktemp("whisper")
    theirs = whispers.whisper(3, max_source_positions=300)
    return convert(whispers.save_transformers(folder / "theirs", theirs), folder / "ours")


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings at 8 kHz of 0.4 to 0.7 s, from a table."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    lines = ["path,text,language,speaker"]
    for number in range(12):
        samples = 0.2 * rng.standard_normal(int(RATE * (0.4 + 0.1 * (number % 4))))
        soundfile.write(folder / f"{number}.wav", samples, RATE)
        lines.append(f"{number}.wav,{TEXTS[number % 4]},zh,s{number % 2}")
    (folder / "mine.csv").write_text("\n".join(lines))
    prepare(folder / "mine.csv", folder / "cuts", PrepareConfig())
    return folder / "cuts" / "cuts.jsonl.gz"


def options(base: Path, cuts: Path, output: Path, *more: str) -> list[str]:
    corpus = json.dumps({"cuts": str(cuts), "pack": True})
    return [
        "train", "--init-from", str(base), "--output", str(output), "--data.train", corpus,
        "--max-steps", "2", "--data.batch-seconds", "12", "--device", "cpu", "--threads", "1",
        "--data.augment.telephone-variants", "0", "--data.join.max-pause", "0.1",
        "--optimizer.warmup-steps", "1", *more,
    ]  # fmt: skip


def test_a_checkpoint_is_taught_and_runs_without_torch(
    base: Path, cuts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    more = ("--trainable", "decoder.experts", "--precision", "bfloat16")
    assert main(options(base, cuts, output, *more)) == 0
    before, after = ModelFolder.open(base), ModelFolder.open(output / "model")
    assert after.config == before.config
    assert after.tokenizer_bytes == before.tokenizer_bytes
    for graph in ("encoder.onnx", "decoder.onnx"):
        assert after.read(graph) == before.read(graph)
    stored = load_file(base / "model.safetensors"), load_file(output / "model/model.safetensors")
    assert stored[0].keys() == stored[1].keys()
    moved = {name for name in stored[0] if not torch.equal(stored[0][name], stored[1][name])}
    assert moved and all(n.startswith("decoder.") and ".experts.0." in n for n in moved)
    noise = (np.random.default_rng(1).standard_normal(16_000) / 9).astype(np.float32)
    samples = turnout.Waveform(noise, 16_000)
    asked = {"language": "zh", "beam_size": 1, "temperature_increment_on_fallback": None}
    texts = [
        turnout.load(output / "model", backend=backend).transcribe(samples, **asked).text
        for backend in ("onnx", "torch")
    ]
    assert texts[0] == texts[1]


def test_what_a_batch_asks_and_labels(base: Path, cuts: Path, tmp_path: Path) -> None:
    """As Whisper was trained: start, language, task, no time stamps, then text and end; packed
    utterances fill a window of 600 frames, whose rest is silence."""
    folder = ModelFolder.open(base)
    data = DataConfig(train=(CorpusConfig(cuts=str(cuts), pack=True),), batch_seconds=6)
    clips = read_corpora(data.train)
    loader = Loader(
        data, folder.config, folder.tokenizer, clips, seed=0, rank=0, world_size=1,
        cache_dir=tmp_path,
    )  # fmt: skip
    tokenizer, rows = folder.tokenizer, 0
    heard: list[str] = []
    for batch in loader.batches(0):
        assert batch.log_mel.shape[1:] == (600, 80) and bool(batch.frame_mask.all())
        for tokens, count, labels in zip(
            batch.tokens, batch.token_counts, batch.labels, strict=True
        ):
            asked, told = tokens[: int(count)].tolist(), labels[: int(count)].tolist()
            names = [tokenizer.pieces[i] for i in asked[:4]]
            assert names == [
                "<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"
            ]  # fmt: skip
            assert told[1:3] == [IGNORED, IGNORED] and told[-1] == tokenizer.end
            assert told[3:-1] == asked[4:]
            # Of noise without words, nobody can tell the language.
            text = tokenizer.decode(asked[4:])
            assert told[0] == (asked[1] if text else IGNORED)
            heard.append(text)
            rows += 1
    # Twelve utterances of 6.6 s in all, in windows of six, whatever was replaced by noise.
    assert rows < 5 and any(len(text.split()) > 3 for text in heard)


def test_patterns_and_names_that_are_none(
    base: Path, cuts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert main(options(base, cuts, output, "--trainable", "decoder.expert")) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "did you mean 'decoder.experts'?" in said
    assert main(options(tmp_path / "nothing", cuts, output)) == 2
    assert "nothing" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (output / "model").exists()


def test_the_lower_layers_of_its_encoder_are_taken_under_a_ctc_head(
    base: Path, cuts: Path, tmp_path: Path
) -> None:
    """No decoder, letters of one's own, no padding; experts behind a learned router begin as copies
    of the one feed-forward."""
    output = tmp_path / "run"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        json.dumps(
            {
                "init_from": str(base),
                "init_tokenizer": "new",
                "model": {
                    "features": {"padding": "none"},
                    "vocabulary": {"size": 360, "languages": ["zh"], "translations": []},
                    "encoder": {
                        "num_layers": 1,
                        "routing": {"kind": "omni", "num_experts": 3, "gate": "straight_through"},
                    },
                    "decoder": {"num_layers": 0},
                    "ctc": True,
                },
                "optimizer": {"learning_rate": 1e-9, "warmup_steps": 1, "weight_decay": 0.0},
            }
        )
    )
    corpus = json.dumps({"cuts": str(cuts)})
    command = ["train", "--config", str(recipe), "--output", str(output), "--data.train", corpus]
    assert main([*command, "--max-steps", "1", "--device", "cpu", "--threads", "1"]) == 0
    folder = ModelFolder.open(output / "model")
    assert folder.config.decoder.num_layers == 0
    before = load_file(base / "model.safetensors")
    after = load_file(output / "model/model.safetensors")
    assert not any(name.startswith(("decoder.", "encoder.blocks.1.")) for name in after)
    assert after["ctc_head.weight"].shape[0] == folder.tokenizer.size <= 360
    for name, tensor in after.items():
        if name.startswith("encoder.") and "router" not in name:
            source = re.sub(r"experts\.\d+\.", "experts.0.", name)
            torch.testing.assert_close(tensor, before[source], atol=1e-6, rtol=0)
    assert "encoder.blocks.0.feed_forward.bank.experts.2.up.weight" in after
    samples = (np.random.default_rng(1).standard_normal(16_000) / 9).astype(np.float32)
    turnout.load(output / "model").transcribe(turnout.Waveform(samples, 16_000))
