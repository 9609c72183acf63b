"""Every command of the README that works on recordings is run, word for word, in a folder that has
what its reader has: the checkout's recipes and examples, a CSV of recordings, a call.

The recordings are real ones where they are at hand, and else the English examples.
"""

import csv
import json
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import soundfile

from tests.traced import remembered
from turnout.cli import main
from turnout.hub.convert import convert

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT / "../shared/data/fsdd.tar"
CHECKPOINTS, NAMED = os.environ.get("TURNOUT_TEST_WHISPER"), "whisper-base"
"""A folder with a copy of what the README fetches; without it those commands are left out."""
SMALL = [
    *("--model.encoder.num-layers", "1"),
    *("--model.encoder.d-model", "32"),
    *("--model.decoder.num-layers", "1"),
    *("--data.batch-seconds", "20"),
    *("--threads", "1"),
]
"""What a test changes of a training: its size."""
SOON_TRACED = ["--model.encoder.block", "transformer", "--model.encoder.subsampling", "stack4"]
"""Of what is exported; the others are as the recipe has it."""
THREE_STEPS = [*SMALL, *SOON_TRACED, "--max-steps", "3", "--validate-every", "3"]
ONE_STEP = [*SMALL, "--max-steps", "1", "--validate-every", "1"]
FEW_VOICES = ["--speakers", "6", "--sentences-per-speaker", "3"]
COLUMNS = ("path", "text", "translation", "language", "target_language", "speaker")


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
    """The lines that call turnout, as words; those of a checkpoint from the hub where there is a
    copy of it."""
    lines = [line for block in blocks("") for line in block.splitlines()]
    found = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("turnout ")]
    # A server runs until it is stopped: what is asked of it is run in tests/unit/serving.
    found = [words for words in found if words[0] != "serve"]
    return [words for words in found if CHECKPOINTS or NAMED not in words]


def command(verb: str) -> list[str]:
    """The first command of this verb."""
    return next(words for words in commands() if words[0] == verb)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who follows the README."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    rows = real_recordings(tmp_path) if ARCHIVE.is_file() else example_recordings()
    write_table(tmp_path / "recordings.csv", COLUMNS, rows)
    samples, rate = soundfile.read(tmp_path / rows[0]["path"])
    soundfile.write(tmp_path / "call.wav", samples, rate)
    return tmp_path


def real_recordings(folder: Path) -> list[dict[str, str]]:
    """Some of the spoken digits, unpacked into the folder: a row for each."""
    with tarfile.open(ARCHIVE) as tar:
        manifest = tar.extractfile("fsdd/manifest.jsonl")
        assert manifest is not None
        rows = [json.loads(line) for line in manifest][::41]
        for row in rows:
            row["path"] = Path(row["audio_filepath"]).name
            file = tar.extractfile(f"fsdd/{row['audio_filepath']}")
            assert file is not None
            (folder / row["path"]).write_bytes(file.read())
    return [{**row, "language": "en", "target_language": "de"} for row in rows]


def example_recordings() -> list[dict[str, str]]:
    """A row for each of the English examples; its voice is its speaker."""
    said = json.loads((ROOT / "examples/references.json").read_text(encoding="utf-8"))
    return [
        {**row, "path": f"examples/{name}", "speaker": row["voice"]}
        for name, row in said.items()
        if row["language"] == "en"
    ]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """A CSV of these columns of the rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def succeed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must not fail; what it printed, remarks behind."""
    status = main(words)
    printed = capsys.readouterr()
    assert status == 0, f"{shlex.join(words)}: {printed.err}"
    assert "Traceback" not in printed.err
    return printed.out + printed.err


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
    if CHECKPOINTS:
        # A folder of that name goes before the hub.
        convert(Path(CHECKPOINTS) / "base", reader / NAMED)
    run = commands()
    assert {words[0] for words in run} == {
        "transcribe", "prepare", "train", "evaluate", "export", "inspect", "synthesize",
    }  # fmt: skip
    with remembered():
        for words in run:
            if words[0] != "synthesize":
                short = THREE_STEPS if words[0] == "train" else []
                succeed([*expanded(words, reader), *short], capsys)
    assert len(list((reader / "out").iterdir())) > 10
    assert (reader / "runs/quickstart/model/encoder.onnx").is_file()
    assert (reader / "call.png").is_file() or list(reader.glob("call*.png"))


def test_the_python_example(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example, _of_the_server = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("Transcript(ar, ")


def test_another_routing_takes_one_word(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (option,) = re.findall(r"takes one word, `([^`]+)`", text)
    succeed(command("prepare"), capsys)
    succeed([*command("train"), *option.split(), *ONE_STEP], capsys)
    config = json.loads((reader / "runs/quickstart/model/config.json").read_text())
    assert config["model"]["encoder"]["routing"]["kind"] == option.split()[-1] == "omni"


def test_two_columns_are_enough(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (reader / "recordings.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    write_table(reader / "recordings.csv", ("path", "text"), rows)
    printed = succeed(command("prepare"), capsys)
    assert "dealt by recording" in printed
    made = {path.name for path in (reader / "corpus").glob("[!.]*")}
    assert made == {f"{name}.jsonl.gz" for name in ("train", "dev", "test")}


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words_that_nobody_recorded_are_joined_and_trained_on(
    reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    succeed([*command("synthesize"), *FEW_VOICES], capsys)
    recipe = reader / "recipes/quickstart.yaml"
    text, places = re.subn(r"(cuts: [^},]+)", r"\1, join: true", recipe.read_text("utf-8"))
    assert places == 2
    recipe.write_text(text, "utf-8")
    succeed([*command("train"), *ONE_STEP], capsys)
    assert (reader / "runs/quickstart/model/model.safetensors").is_file()
