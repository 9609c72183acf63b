"""Transcripts of many recordings on a cluster: each input once, whoever is killed."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.labelling.hearer import Hearer, segment, transcript
from tests.unit.labelling.test_cluster import Here, ray
from tests.unit.labelling.test_label import ROOT, lines
from tests.unit.labelling.test_shards import corpus
from tests.unit.labelling.transcribed import transcribed, writer
from tests.unit.shards.corpus import cut, cuts_file, recording
from turnout.cli import main
from turnout.errors import GuidanceError, StorageError, UsageError
from turnout.files import write_whole
from turnout.guidance import Task
from turnout.labelling.parts import Parts
from turnout.labelling.transcribing import new_name


def here(hearer: Hearer) -> Here:
    """A cluster in this process."""
    return Here(lambda: writer(hearer))


def written(output: Path) -> dict[str, bytes]:
    """What is left for the user."""
    return {path.name: path.read_bytes() for path in output.glob("[!.]*") if path.is_file()}


def test_each_input_has_a_line_and_files_where_they_are_wanted(tmp_path: Path) -> None:
    translated = transcript(
        2.0, segment(0, 2, "ja"), translation=transcript(2.0, segment(0, 2, "yes")),
        task=Task.TRANSCRIBE, warnings=("its data end early",),
    )  # fmt: skip
    good = recording(tmp_path / "a.wav", 2.0)
    cuts = cuts_file(
        tmp_path / "c.jsonl", cut(good, "one/x", 0.0, 2.0, length=2.0),
        cut(tmp_path / "none.wav", "two"), cut(good, "one x", 0.5, 1.0, length=2.0),
    )  # fmt: skip
    out = tmp_path / "out"
    hearer = Hearer(a=translated)
    outcome, told = transcribed(cuts, out, Hearer(), here(hearer), formats=("txt", "json"))
    assert (outcome.inputs, outcome.failures.total(), told) == (3, 1, [2.0, 0.0, 1.0])
    found = lines(out / "transcripts.jsonl.gz")
    assert [(one.get("id"), one.get("text")) for one in found] == [
        ("one/x", "ja"), (None, None), ("one x", "1 seconds"),
    ]  # fmt: skip
    assert found[0]["translation"]["text"] == "yes" and found[0]["audio"] == str(good)
    assert found[0]["segments"][0]["end"] == 2 and "no such file" in found[1]["failed"]
    report = json.loads((out / "report.json").read_text())
    assert report["failed"] == [found[1]["failed"]] and report["inputs"] == 3
    assert report["warnings"] == [f"{good}: its data end early"]
    assert {name for name in written(out) if name.endswith((".txt", "json"))} == {
        "one-x.txt", "one-x.translation.txt", "one-x.json", "one-x-2.txt", "one-x-2.json",
        "report.json",
    }  # fmt: skip
    assert (out / "one-x.translation.txt").read_text() == "yes\n"
    # Other files are of what was heard; nobody is asked.
    again = Hearer()
    transcribed(cuts, out, Hearer(), object(), formats=("srt",))
    assert again.given == [] and (out / "one-x-2.srt").exists()


def test_stopped_anywhere_it_goes_on_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = corpus(tmp_path)  # shards
    transcribed(source, tmp_path / "at once", Hearer(), here(Hearer()))
    write = Parts.write

    class Stopped(BaseException):
        pass

    def stopping(self: Parts, number: int, first: int, rows: list) -> None:
        write(self, number, first, rows)
        raise Stopped

    monkeypatch.setattr(Parts, "write", stopping)
    for _ in range(4):
        with pytest.raises(Stopped):
            transcribed(source, tmp_path / "out", Hearer(), here(Hearer()))
        assert not (tmp_path / "out" / "transcripts.jsonl.gz").exists()
    outcome, told = transcribed(source, tmp_path / "out", Hearer(), object())
    assert (outcome.inputs, told) == (5, [0.0] * 5)
    assert written(tmp_path / "out") == written(tmp_path / "at once")
    assert {one["id"] for one in lines(tmp_path / "out" / "transcripts.jsonl.gz")} == {
        f"cut-{n}" for n in (1, 2, 3, 4, 6)
    }


def test_another_job_is_refused_and_so_is_what_the_model_cannot(tmp_path: Path) -> None:
    recording(tmp_path / "in" / "a.wav", 1.0)
    transcribed(tmp_path / "in", tmp_path / "out", Hearer(), here(Hearer()))
    with pytest.raises(StorageError, match="holds what was heard of another input"):
        transcribed(tmp_path / "in", tmp_path / "out", Hearer("b"), here(Hearer("b")))

    class Refusing(Hearer):
        def transcribe_files(self, *_: object) -> object:  # type: ignore[override]
            raise GuidanceError("not that")

    with pytest.raises(GuidanceError, match="not that"):
        transcribed(tmp_path / "in", tmp_path / "new", Refusing(), object())
    assert not (tmp_path / "new").exists()


def test_the_source_is_not_written_over(tmp_path: Path) -> None:
    recording(tmp_path / "list.wav", 1.0)
    line = json.dumps({"audio_filepath": str(tmp_path / "list.wav"), "id": "list"})
    for name in ("list.json", "report.json"):
        (tmp_path / name).write_text(line)
    actor = Hearer()
    with pytest.raises(UsageError, match="is what is read, and would be written over"):
        transcribed(tmp_path / "report.json", tmp_path, Hearer(), here(actor))
    assert actor.given == []
    transcribed(tmp_path / "list.json", tmp_path, Hearer(), here(actor), formats=("json",))
    assert (tmp_path / "list.json").read_text() == line
    assert json.loads((tmp_path / "list-2.json").read_text())["text"] == "1 seconds"


def test_a_part_that_is_damaged_meanwhile_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Parts.write

    def damaged(parts: Parts, number: int, *more: Any) -> None:
        write(parts, number, *more)
        if number == 0:
            (parts.folder / "000000.jsonl").write_text("{}")

    for name in "abcd":
        recording(tmp_path / "in" / f"{name}.wav", 2.0)
    with monkeypatch.context() as patched:
        patched.setattr(Parts, "write", damaged)
        with pytest.raises(StorageError, match="was written, and cannot be read"):
            transcribed(tmp_path / "in", tmp_path / "out", Hearer(), here(Hearer()))
    assert not (tmp_path / "out" / "transcripts.jsonl.gz").exists()
    again = Hearer()
    outcome, _ = transcribed(tmp_path / "in", tmp_path / "out", Hearer(), here(again))
    assert (outcome.inputs, len(again.given)) == (4, 2)


def test_names_of_files_are_short_and_different(tmp_path: Path) -> None:
    taken: set[str] = set()
    found = [new_name(one, taken) for one in ("a/b.c", "a-b-c", "..", "report", "é" * 200)]
    assert found[:4] == ["a-b-c", "a-b-c-2", "utterance", "report-2"]
    assert found[4].startswith("é" * 37 + "-") and len(found[4]) == 37 + 1 + 12
    assert len(taken) == 5
    # Of three and four bytes a letter, as long as they are not cut, and longer.
    for identity in (letter * count for letter in "語𠀀" for count in (37, 50, 51, 85, 150, 151)):
        write_whole(tmp_path / f"{new_name(identity, taken)}.translation.json", b"")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a.wav", "--actors", "2"], "--actors is for a cluster: give --engine ray as well"),
        (["a.wav", "--engine", "ray"], "needs a folder for what is heard: name one with -o"),
        (["a.jsonl", "b.jsonl", "--engine", "ray", "-o", "out"], "takes one source"),
    ],
)
def test_unusable_arguments_are_one_line(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_what_an_actor_imports_is_quick_and_little() -> None:
    """Each process of a cluster imports it, and each that follows one that died."""
    program = "import sys, turnout.labelling.transcribing; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"torch", "lhotse"} & set(done.stdout.split())


@ray
@pytest.mark.slow
@pytest.mark.parametrize("dies", ["driver", "node"])
def test_a_driver_or_a_node_that_is_killed_changes_nothing(tmp_path: Path, dies: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(1, 7):
        recording(folder / f"r{number}.wav", 3.0)
    recording(folder / "poison.wav", 1.0)
    command = [sys.executable, "-m", "tests.unit.labelling.transcribed", str(folder), str(out)]
    first = subprocess.run(
        [*command, dies], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    if dies == "driver":
        assert first.returncode == -9
        assert not (out / "transcripts.jsonl.gz").exists()
        first = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
    assert first.returncode == 0, first.stderr
    # Ray may have something to say of those that died.
    assert first.stdout.splitlines()[-1].split()[:2] == ["7", "7"], first.stdout
    found = lines(out / "transcripts.jsonl.gz")
    assert [one.get("id") for one in found] == [None, *(f"r{n}" for n in range(1, 7))]
    assert "poison.wav: the process that heard it ended, 2 times" in found[0]["failed"]
    heard = Counter((tmp_path / "out.log").read_text().split("\n"))
    # At most what two actors had in hand is heard again.
    assert sum(heard[f"hearer r{n}"] for n in range(1, 7)) <= 6 + 4
