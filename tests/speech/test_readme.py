"""Every command of the README that works on recordings is run, word for word, in a folder that has
what its reader has: the checkout's recipes and examples, a CSV of recordings, a call."""

import json
import shlex
import shutil
import tarfile
from pathlib import Path

import pytest
import soundfile

from turnout.cli import main

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "../shared/data/fsdd.tar"
SHORT = [
    *("--max-steps", "3"),
    *("--validate-every", "3"),
    *("--model.encoder.num-layers", "1"),
    *("--model.encoder.d-model", "32"),
    *("--model.decoder.num-layers", "1"),
    *("--data.batch-seconds", "20"),
    *("--threads", "1"),
]
"""What a test changes of a training: its size."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    found: list[str] = []
    inside: list[str] | None = None
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        fence = line.strip()
        if inside is None and fence.startswith("```"):
            inside = [fence.removeprefix("```")]
        elif inside is not None and fence == "```":
            if inside[0] == language:
                found.append("\n".join(inside[1:]))
            inside = None
        elif inside is not None:
            inside.append(fence if not language else line)
    return found


def commands() -> list[list[str]]:
    """The lines that call turnout, as words."""
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("turnout ")]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who follows the README."""
    if not ARCHIVE.is_file():
        pytest.skip("real recordings are needed: fsdd.tar in ../shared/data")
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with tarfile.open(ARCHIVE) as tar:
        manifest = tar.extractfile("fsdd/manifest.jsonl")
        assert manifest is not None
        rows = [json.loads(line) for line in manifest]
        lines = ["path,text,translation,language,target_language,speaker"]
        for number, row in enumerate(rows[::41]):
            file = tar.extractfile(f"fsdd/{row['audio_filepath']}")
            assert file is not None
            (tmp_path / f"{number}.flac").write_bytes(file.read())
            lines.append(f"{number}.flac,{row['text']},{row['translation']},en,de,{row['speaker']}")
    (tmp_path / "recordings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    samples, rate = soundfile.read(tmp_path / "0.flac")
    soundfile.write(tmp_path / "call.wav", samples, rate)
    return tmp_path


def expanded(words: list[str], folder: Path) -> list[str]:
    """Wildcards as a shell would have them."""
    return [
        str(path.relative_to(folder)) if path else word
        for word in words
        for path in (sorted(folder.glob(word)) if "*" in word else [None])
    ]


def test_from_a_csv_to_a_model_that_transcribes(
    reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = commands()
    assert {words[0] for words in run} == {
        "transcribe", "prepare", "train", "evaluate", "export", "inspect",
    }  # fmt: skip
    for words in run:
        short = SHORT if words[0] == "train" else []
        status = main([*expanded(words, reader), *short])
        printed = capsys.readouterr()
        assert status == 0, f"{shlex.join(words)}: {printed.err}"
        assert "Traceback" not in printed.err
    assert len(list((reader / "out").iterdir())) > 10
    assert (reader / "runs/quickstart/model/encoder.onnx").is_file()
    assert (reader / "call.png").is_file() or list(reader.glob("call*.png"))


def test_the_python_example(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("Transcript(ar, ")


def test_the_words_that_synthesis_is_shown_with(reader: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "`turnout synthesize recipes/words_en.yaml --output corpus`" in text
    assert (reader / "recipes/words_en.yaml").is_file()
