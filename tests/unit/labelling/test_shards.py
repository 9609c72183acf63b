"""Shards in, and shards with the labels out: what is in them, what is lost, how work goes on."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.labelling.hearer import Hearer, labelled, models, segment, transcript
from tests.unit.labelling.test_cluster import Here
from tests.unit.labelling.test_label import ROOT, lines
from tests.unit.shards.corpus import (
    contents,
    cut,
    cuts_file,
    heard,
    recording,
    sharded,
    shards_of,
)
from turnout.config.sharding import ShardConfig
from turnout.errors import ShardError, StorageError, TurnoutError, UsageError
from turnout.labelling.inputs import open_inputs, parts_of
from turnout.shards.reading import ShardedClip
from turnout.shards.store import Folder

THREE = ShardConfig(shard_size=0.11, shuffle=False)
OPUS = ShardConfig(shard_size=0.02, audio="opus", shuffle=False)
LONG = transcript(6.0, segment(0.5, 2.5, "one"), segment(3.5, 5.75, "two"))


class Listener(Hearer):
    """Hears two segments in six seconds."""

    def _said(self, stem: str, seconds: float) -> Any:
        return LONG if seconds == 6.0 else super()._said(stem, seconds)


def corpus(folder: Path, config: ShardConfig = THREE) -> Path:
    """Shards of two, two and one utterances, of one to six seconds; one is all of a recording."""
    one = recording(folder / "one.wav", 10.0)
    two = recording(folder / "two.wav", 4.0)
    made = [
        cut(two, "cut-4", 0.0, 4.0, length=4.0) if seconds == 4
        else cut(one, f"cut-{seconds}", 0.5, float(seconds), length=10.0)
        for seconds in (1, 3, 2, 4, 6)
    ]  # fmt: skip
    sharded(cuts_file(folder / "cuts.jsonl", *made), folder / "shards", config)
    return folder / "shards"


def everything(output: Path) -> dict[str, bytes]:
    """What a labelling leaves for its user, the shards too."""
    own = {path.name: path.read_bytes() for path in output.glob("[!.]*") if path.is_file()}
    return own | {f"shards/{name}": data for name, data in contents(output / "shards").items()}


def sounds(folder: Path) -> list[bytes]:
    """Of all shards' members, as other programs read them."""
    found: list[bytes] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as file:
            for one in file:
                body = file.extractfile(one)
                assert body is not None
                found += [body.read()] if not one.name.endswith(".json") else []
    return found


def test_shards_become_shards_with_the_texts_that_were_heard(tmp_path: Path) -> None:
    source, out = corpus(tmp_path, OPUS), tmp_path / "out"
    report, told = labelled(source, out, Listener(), max_characters_per_second=8.0)
    assert (report.inputs, report.kept.labels, report.dropped.labels) == (5, 5, 1)
    assert sorted(told) == [1.0, 2.0, 3.0, 4.0, 6.0]
    assert not (out / "cuts.jsonl.gz").exists()
    assert [one["custom"] for one in lines(out / "dropped.jsonl.gz")] == [
        {"shard": 0, "utterance": 0}
    ]
    assert str(tmp_path) not in json.dumps(lines(out / "dropped.jsonl.gz"))
    before, after = heard(shards_of(source)), heard(shards_of(out / "shards"))
    assert [(one.clip.id, one.clip.text) for one in after] == [
        ("cut-3", "3 seconds"), ("cut-2", "2 seconds"), ("cut-4", "4 seconds"),
        ("cut-6-00000", "one"), ("cut-6-00004", "two"),
    ]  # fmt: skip
    for old, new in zip(before[1:4], after[:3], strict=True):
        # Of Opus that was made anew not one sample would be the same.
        assert np.array_equal(old.samples, new.samples)
        wanted = replace(old.clip, text=new.clip.text)
        assert new.clip == wanted
    assert sounds(out / "shards")[:3] == sounds(source)[1:4]
    # Parts of what is longer than the window, with the same quarter of a second as of recordings.
    spans = [(0.25, 2.75), (3.25, 6.0)]
    for new, (start, end) in zip(after[3:], spans, strict=True):
        wanted = before[4].samples[round(16000 * start) : round(16000 * end)]
        assert np.abs(new.samples - wanted).max() <= 2**-23
        assert (new.clip.start, new.clip.duration) == (0.5 + start, end - start)
        assert not new.clip.whole and new.clip.translations == {}
    with tarfile.open(out / "shards" / "shard-000000.tar") as file:
        body = file.extractfile("0000000000.json")
        assert body is not None
        said = json.loads(body.read())
    assert {name: said[name] for name in ("labelled_by", "confidence", "language_probability")} == {
        "labelled_by": "hearer", "confidence": -0.25, "language_probability": 0.9877,
    }  # fmt: skip


def test_killed_at_any_point_and_started_again_the_shards_are_the_same(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    labelled(source, tmp_path / "at once", Hearer())
    parts = len(list((tmp_path / "at once" / "heard").glob("0*.jsonl")))
    words = [str(source), str(tmp_path), str(2 * (1 + parts)), "alone"]
    told = subprocess.run(
        [sys.executable, "-m", "tests.unit.labelling.killed", *words],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=300,
    ).stdout.splitlines()  # fmt: skip
    before = everything(tmp_path / "at once")
    made = len(shards_of(source).manifest.shards)
    assert made == len(shards_of(tmp_path / "at once" / "shards").manifest.shards) == 3
    # Behind the job and the parts: four files, the mark, the shards, their indexes and manifest.
    assert len(told) == 2 * (4 + 1 + 2 * made + 1)
    assert [line for line in told if everything(tmp_path / line.split()[0]) != before] == []
    assert {int(line.split()[1]) for line in told} == {5}  # nothing is heard twice


def test_what_is_broken_is_counted_once_and_the_rest_is_labelled(tmp_path: Path) -> None:
    source, out = corpus(tmp_path), tmp_path / "out"
    tars = sorted(source.glob("*.tar"))
    first = bytearray(tars[0].read_bytes())
    first[3000] ^= 1  # the sound of its first utterance
    tars[0].write_bytes(first)
    tars[1].write_bytes(tars[1].read_bytes()[:5000])
    (source / "shard-000002.index.json").unlink()
    report, told = labelled(source, out, Hearer())
    of_each = [one.utterances for one in shards_of(source).manifest.shards]
    assert of_each == [2, 2, 1]
    assert len(told) == report.inputs == 5
    assert report.failures.total() == 1 + 2 + 1
    told_of = [
        "shard-000000.tar: utterance 0 is not what its index lists",
        "shard-000001.tar: is cut short",
        "shard-000001.tar: is cut short",
        "shard-000002.index.json: cannot be read",
    ]
    assert [said in line for said, line in zip(told_of, report.failed, strict=True)] == [True] * 4
    assert [one.clip.text for one in heard(shards_of(out / "shards"))] == ["3 seconds"]
    # What failed is not tried again.
    again = Hearer()
    assert labelled(source, out, again)[0].failed == report.failed
    assert again.given == []
    # In one part with others, all that lies behind a break has one line.
    report.failures.clear()
    report.failures.update({"x": 2, "y": 1})
    assert report.failed == ["x (2 inputs)", "y"]


def test_sound_that_broke_between_hearing_and_writing_is_told(tmp_path: Path) -> None:
    source, out = corpus(tmp_path), tmp_path / "out"

    class Breaking(Hearer):
        def transcribe_files(self, sources: Iterable[Any], options: Any) -> Iterator[Any]:
            yield from super().transcribe_files(sources, options)
            if self.given[-1] == 6.0:  # the last
                path = source / "shard-000001.tar"
                path.write_bytes(path.read_bytes()[:-20000])

    report, _ = labelled(source, out, Breaking())
    made = shards_of(out / "shards").manifest
    assert made.utterances + len(made.left_out) == report.kept.labels == 5
    assert list(made.left_out) == report.failed and str(tmp_path) not in str(made.left_out)
    assert "cut-4: shard-000001.tar: is cut short" in report.failed[0]


def test_another_choice_replaces_its_own_shards_and_nobody_elses(tmp_path: Path) -> None:
    source, out = corpus(tmp_path), tmp_path / "out"
    labelled(source, out, Hearer())
    assert len(heard(shards_of(out / "shards"))) == 5
    again = Hearer()
    labelled(source, out, again, max_characters_per_second=3.5)
    assert again.given == []
    assert [one.clip.id for one in heard(shards_of(out / "shards"))] == [
        "cut-3",
        "cut-4",
        "cut-6-00000",
    ]
    assert len(list((out / "shards").glob("*.tar"))) == 2
    labelled(source, out, again, max_characters_per_second=0.1)
    assert contents(out / "shards") == {}
    with pytest.raises(UsageError, match="is what is read, and would be written over"):
        labelled(source, tmp_path, Hearer())
    other = tmp_path / "other"
    labelled(corpus(other), tmp_path / "out2", Hearer())
    (tmp_path / "out2" / "shards.json").unlink()
    mine = contents(tmp_path / "out2" / "shards")
    with pytest.raises(StorageError, match="holds shards that are not of these labels"):
        labelled(other / "shards", tmp_path / "out2", Hearer())
    assert contents(tmp_path / "out2" / "shards") == mine


def test_shards_that_cannot_be_written_are_refused_before_anything_is_heard(
    tmp_path: Path,
) -> None:
    source, hearer = corpus(tmp_path), Hearer()
    (tmp_path / "file").write_text("")
    for place, reason in (
        ("http://127.0.0.1:9/labelled", "can be read and not written"),
        (str(tmp_path / "file" / "labelled"), "cannot be written"),
    ):
        with pytest.raises(TurnoutError, match=reason):
            labelled(source, tmp_path / "out", hearer, shards=place)
    corpus(tmp_path / "own")
    with pytest.raises(StorageError, match="holds shards that are not of these labels"):
        labelled(source, tmp_path / "own", hearer)
    assert hearer.given == []


def test_a_second_model_and_a_cluster_hear_the_same_of_shards(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    one, other = Listener(), Listener("other")
    one.says[""] = transcript(1.0, segment(0.0, 1.0, "said by one alone"))
    labelled(source, tmp_path / "at once", one, other)
    assert sorted(one.given, key=float) == [1.0, 2.0, 3.0, 4.0, 6.0]
    # The parts of the long one by themselves.
    assert sorted(other.given, key=float) == [1.0, 2.0, 2.5, 2.75, 3.0, 4.0]
    there = Listener()
    there.says = one.says
    cluster = Here(lambda: models(there, Listener("other")))
    labelled(source, tmp_path / "out", Listener(), Listener("other"), cluster)
    assert everything(tmp_path / "out") == everything(tmp_path / "at once")


def test_no_part_is_of_two_shards(tmp_path: Path) -> None:
    inputs = open_inputs(corpus(tmp_path))
    assert [len(part) for part in parts_of(inputs.read(), 1e9)] == [2, 2, 1]
    assert [len(part) for part in parts_of(inputs.read(), 1.5)] == [1] * 5


def test_nothing_that_is_written_lets_somebody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Folder(corpus(tmp_path), 20.0)
    monkeypatch.setattr("turnout.shards.reading.open_store", lambda *_: source)
    address = "http://me:secret@host/shards?key=secret"
    labelled(address, tmp_path / "out", Hearer(), Hearer("other"))  # type: ignore[arg-type]
    paths = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    content = [path.read_bytes() for path in paths if path.suffix != ".gz"]
    content += [str(lines(path)).encode() for path in paths if path.suffix == ".gz"]
    assert not any(b"secret" in one for one in content)
    assert any(b'"source": "http://host/shards"' in one for one in content)


def test_an_address_is_told_without_what_lets_somebody_in(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nowhere") as caught:
        labelled("http://me:secret@nowhere.invalid/x?key=secret", tmp_path / "out", Hearer())  # type: ignore[arg-type]
    assert isinstance(caught.value, ShardError)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="'turnout shard' makes those of cuts"):
        recording(tmp_path / "in" / "a.wav")
        labelled(tmp_path / "in", tmp_path / "out", Hearer(), shards="x")


def test_utterances_read_one_by_one_are_those_of_a_stream(tmp_path: Path) -> None:
    source = corpus(tmp_path)
    opened = shards_of(source).opened(0)
    stream = [one for one in shards_of(source).read(stop=1) if isinstance(one, ShardedClip)]
    for place in (1, 0):
        assert np.array_equal(opened.heard(place).samples, stream[place].samples)
        assert opened.clip(place) == stream[place].clip
