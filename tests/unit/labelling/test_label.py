"""From recordings to cuts with texts: what is written, what is dropped, and how work goes on."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.labelling.hearer import Hearer, labelled, segment, transcript
from tests.unit.shards.corpus import cut, cuts_file, recording
from turnout.corpora.clips import ClipReader, read_clips, training_clips
from turnout.errors import GuidanceError, ManifestError, StorageError, UsageError
from turnout.files import locked
from turnout.guidance import Bandwidth

ROOT = Path(__file__).resolve().parents[3]
OUT = {"cuts.jsonl.gz", "dropped.jsonl.gz", "report.html", "report.json"}


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a packed file."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def texts(output: Path, name: str = "cuts.jsonl.gz") -> dict[str, str]:
    """Texts by the ids of cuts."""
    return {one["id"]: one["supervisions"][0]["text"] for one in lines(output / name)}


def written(output: Path) -> dict[str, bytes]:
    """What a labelling leaves for its user."""
    return {path.name: path.read_bytes() for path in output.glob("[!.]*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four recordings of one to four seconds, the second of another rate and with two channels."""
    made = tmp_path / "recordings"
    for number in range(1, 5):
        rate, channels = (24000, 2) if number == 2 else (16000, 1)
        recording(made / f"r{number}.wav", number, rate, channels)
    return made


def test_a_folder_becomes_what_training_reads(folder: Path, tmp_path: Path) -> None:
    report, told = labelled(folder, tmp_path / "out", Hearer())
    assert told == [2.0, 1.0, 3.0, 4.0]  # in a part, the largest file first
    assert set(written(tmp_path / "out")) == OUT
    assert (report.inputs, report.kept.labels, report.dropped.labels) == (4, 4, 0)
    assert report.kept.hours == pytest.approx(10 / 3600)
    clips = training_clips(read_clips(tmp_path / "out" / "cuts.jsonl.gz"))
    assert [(clip.id, clip.text, clip.language) for clip in clips] == [
        (f"r{number}", f"{number} seconds", "en") for number in range(1, 5)
    ]
    # Recordings by their paths, at their own rates, whole.
    assert [clip.path for clip in clips] == [str(folder / f"r{n}.wav") for n in range(1, 5)]
    assert [clip.native_rate for clip in clips] == [16000, 24000, 16000, 16000]
    assert [clip.channel for clip in clips] == [None] * 4
    assert all(clip.whole and clip.bandwidth is Bandwidth.WIDEBAND for clip in clips)
    assert [len(ClipReader().read(clip)) for clip in clips] == [16000 * n for n in range(1, 5)]
    said = lines(tmp_path / "out" / "cuts.jsonl.gz")[0]["supervisions"][0]["custom"]
    assert said["confidence"] == -0.25
    assert said["language_probability"] == 0.9877
    assert said["labelled_by"] == "hearer"


def test_a_recording_longer_than_the_window_is_cut_at_its_segments(tmp_path: Path) -> None:
    path = recording(tmp_path / "in" / "long.wav", 12.0)
    parts = (segment(0.1, 3.0, "one"), segment(3.2, 7.2, "two"), segment(9.0, 11.9, "three"))
    hearer = Hearer(long=transcript(12.0, *parts))
    labelled(tmp_path / "in", tmp_path / "out", hearer)
    clips = read_clips(tmp_path / "out" / "cuts.jsonl.gz")
    assert [clip.text for clip in clips] == ["one", "two", "three"]
    # A quarter of a second more at each end: less where it begins, ends, or is another's; none
    # where the window is full.
    places = [(clip.start, clip.start + clip.duration) for clip in clips]
    assert places == [pytest.approx(place) for place in ((0.0, 3.1), (3.2, 7.2), (8.75, 12.0))]
    assert {clip.path for clip in clips} == {str(path)}
    assert not any(clip.whole for clip in clips)
    assert len({clip.id for clip in clips}) == 3
    assert [len(ClipReader().read(clip)) for clip in clips] == [49600, 64000, 52000]


def test_cuts_keep_what_they_say_and_get_new_texts(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav", 3.0, channels=2)
    told = {"channels": [0, 1], "channel": 1}
    whole = cut(path, "cut-1", 0.0, 3.0, **told)
    part = cut(path, "cut-2", 1.0, 1.5, **told)
    bare = {**cut(path, "cut-3", 0.5, 1.0, **told), "supervisions": []}
    bare["custom"] = {"split": "dev", "language": "en"}
    hearer = Hearer()
    cuts = cuts_file(tmp_path / "cuts.jsonl", whole, part, bare)
    labelled(cuts, tmp_path / "out", hearer)
    assert hearer.given == ["a", 1.5, 1.0]
    clips = read_clips(tmp_path / "out" / "cuts.jsonl.gz")
    assert [(clip.id, clip.text) for clip in clips] == [
        ("cut-1", "3 seconds"), ("cut-2", "1.5 seconds"), ("cut-3", "1 seconds"),
    ]  # fmt: skip
    assert [(clip.start, clip.duration) for clip in clips] == [(0, 3), (1, 1.5), (0.5, 1)]
    assert [clip.channel for clip in clips] == [1, 1, 1]
    assert [clip.speaker for clip in clips] == ["speaker 1", "speaker 2", None]
    assert [clip.split for clip in clips] == ["train", "train", "dev"]
    assert [dict(clip.translations) for clip in clips] == [{"de": "cut-1"}, {"de": "cut-2"}, {}]
    assert [clip.recording_duration for clip in clips] == [3, 3, 3]


def test_a_manifest_needs_no_texts(folder: Path, tmp_path: Path) -> None:
    entries = [
        {"audio_filepath": "recordings/r3.wav", "offset": 0.5, "duration": 2.0, "lang": "en"},
        {"audio_filepath": "recordings/r4.wav"},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(one) + "\n" for one in entries))
    labelled(manifest, tmp_path / "out", Hearer())
    clips = read_clips(tmp_path / "out" / "cuts.jsonl.gz")
    assert [clip.text for clip in clips] == ["2 seconds", "4 seconds"]
    assert [(clip.start, clip.duration) for clip in clips] == [(0.5, 2.0), (0.0, 4.0)]
    assert [clip.recording_duration for clip in clips] == [3.0, 4.0]


def test_lines_of_one_recording_and_cuts_of_one_id_have_labels_of_their_own(
    folder: Path, tmp_path: Path
) -> None:
    line = json.dumps({"audio_filepath": "recordings/r3.wav"}) + "\n"
    (tmp_path / "m.jsonl").write_text(line * 3)
    labelled(tmp_path / "m.jsonl", tmp_path / "out", Hearer())
    assert list(texts(tmp_path / "out")) == [f"recordings-r3{end}" for end in ("", "-2", "-3")]
    parts = (cut(folder / "r4.wav", "one", float(second), 1.0) for second in range(2))
    labelled(cuts_file(tmp_path / "cuts.jsonl", *parts), tmp_path / "of-cuts", Hearer())
    assert list(texts(tmp_path / "of-cuts")) == ["one", "one-2"]


def test_failures_are_listed_with_their_lines_and_not_tried_again(tmp_path: Path) -> None:
    good = recording(tmp_path / "good.wav", 2.0)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    made = [
        cut(tmp_path / "none.wav", "cut-0", duration=3.0), cut(good, "cut-1", length=2.0),
        cut(tmp_path / "bad.wav", "cut-2"), cut(good, "cut-3", start=5.0, length=9.0),
    ]  # fmt: skip
    cuts = cuts_file(tmp_path / "c.jsonl", *made)
    cuts.write_text(cuts.read_text() + "not JSON\n")
    first = Hearer()
    report, told = labelled(cuts, tmp_path / "out", first)
    assert len(told) == report.inputs == 5
    assert [line.removeprefix(f"{cuts}:")[:1] for line in report.failed] == ["1", "3", "4", "5"]
    assert [reason in line for reason, line in zip(
        ("no such file", "bad.wav", "ends at 2 seconds", "not JSON"), report.failed, strict=True
    )] == [True] * 4  # fmt: skip
    assert json.loads((tmp_path / "out" / "report.json").read_text())["failed"] == report.failed
    assert texts(tmp_path / "out") == {"cut-1": "1 seconds"}
    before, second = written(tmp_path / "out"), Hearer()
    assert labelled(cuts, tmp_path / "out", second)[1] == [0.0] * 5
    assert second.given == []
    assert written(tmp_path / "out") == before


def test_what_is_dropped_says_why(folder: Path, tmp_path: Path) -> None:
    hearer = Hearer(
        r1=transcript(1.0),
        r2=transcript(2.0, segment(0, 2, "unsure", avg_logprob=-1.5)),
        r3=transcript(3.0, segment(0, 3, "no " * 40, cut=True)),
    )
    report, _ = labelled(folder, tmp_path / "out", hearer)
    assert texts(tmp_path / "out") == {"r4": "4 seconds"}
    dropped = lines(tmp_path / "out" / "dropped.jsonl.gz")
    reasons = [one["supervisions"][0]["custom"]["dropped"] for one in dropped]
    assert reasons == [["empty"], ["confidence"], ["stopped", "loop"]]
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["reasons"]["loop"]["labels"] == 1
    assert content["reasons"]["loop"]["alone"] == 0
    assert content["reasons"]["confidence"]["alone"] == 1
    assert content["kept"] == {"labels": 1, "hours": round(4 / 3600, 6)}
    assert content["dropped"] == {"labels": 3, "hours": round(6 / 3600, 6)}
    counts = content["confidence"]
    assert (sum(counts["kept"]), sum(counts["dropped"])) == (1, 2)
    assert counts["kept"][17] == 1  # -0.25
    assert counts["dropped"][5] == 1  # -1.5
    html = (tmp_path / "out" / "report.html").read_text()
    assert "its text repeats itself" in html.lower()
    assert "unsure" in html and "<script" not in html
    assert report.dropped.labels == 3


def test_other_bounds_choose_anew_and_hear_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labelled(folder, out, Hearer())
    again = Hearer()
    report, _ = labelled(folder, out, again, min_characters_per_second=3.0)
    assert again.given == []
    assert sorted(texts(out)) == ["r1", "r2", "r3"]
    assert list(texts(out, "dropped.jsonl.gz")) == ["r4"]
    assert report.kept.labels == 3


def test_a_second_model_must_agree(folder: Path, tmp_path: Path) -> None:
    one = transcript(3.0, segment(0, 3, "one two three four"))
    other = transcript(3.0, segment(0, 3, "one two three five"))
    out = tmp_path / "out"
    first = Hearer(r3=one, r1=transcript(1.0))
    second = Hearer("second", r3=other, r2=transcript(2.0, segment(0, 2, "else")))
    labelled(folder, out, first, second)
    # What is empty is not heard again.
    assert second.given == ["r2", "r3", "r4"]
    assert sorted(texts(out)) == ["r3", "r4"]
    apart = [
        line["supervisions"][0]["custom"].get("disagreement")
        for name in ("cuts.jsonl.gz", "dropped.jsonl.gz")
        for line in lines(out / name)
    ]
    assert apart == [25.0, 0.0, None, 100.0]
    # Nobody hears again for another bound.
    silent, quiet = Hearer(), Hearer("second")
    labelled(folder, out, silent, quiet, max_disagreement=20.0)
    assert (silent.given, quiet.given) == ([], [])
    assert sorted(texts(out)) == ["r4"]
    # Another second model is heard beside it, and the first is not.
    third = Hearer("third")
    labelled(folder, out, silent, third)
    assert (silent.given, third.given) == ([], ["r2", "r3", "r4"])
    assert sorted(texts(out)) == ["r2", "r4"]


def test_a_part_that_was_damaged_is_heard_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labelled(folder, out, Hearer())
    before = written(out)
    (part,) = out.glob("heard/000001.jsonl")
    part.write_bytes(part.read_bytes().replace(b"3 sec", b"8 sec"))
    again = Hearer()
    _, told = labelled(folder, out, again)
    assert again.given == ["r3"]
    assert told == [0.0, 0.0, 3.0, 0.0]
    assert written(out) == before


def test_killed_at_any_point_and_started_again_the_bytes_are_the_same(
    folder: Path, tmp_path: Path
) -> None:
    """At each beginning and end of every file that is put into its place."""
    (folder / "bad.wav").write_bytes(b"no sound")
    labelled(folder, tmp_path / "at once", Hearer(), Hearer("other"))
    told = subprocess.run(
        [sys.executable, "-m", "tests.unit.labelling.killed", str(folder), str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=300,
    ).stdout.splitlines()  # fmt: skip
    before = written(tmp_path / "at once")
    found = [line.split() for line in told]
    # Two jobs, three parts of each model, and four files for the user.
    assert len(found) == 2 * (2 + 6 + 4)
    assert [name for name, _ in found if written(tmp_path / name) != before] == []
    # Nothing is heard twice but the part in which it was killed, of three inputs or of one.
    assert {int(count) for _, count in found} == {5, 5 + 1, 5 + 3}


def test_another_job_is_refused_and_so_is_a_second_process(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labelled(folder, out, Hearer())
    before = written(out)
    # No option is named: of the verbs that put away what was heard, not all have the same.
    with pytest.raises(StorageError, match="by another model, [^-]*another output"):
        labelled(folder, out, Hearer("other"))
    recording(folder / "r5.wav", 1.0)
    with pytest.raises(StorageError, match="holds what was heard of another input"):
        labelled(folder, out, Hearer())
    with (
        locked(out / ".lock", wait=False, threads=True),
        pytest.raises(StorageError, match="another process writes there"),
    ):
        labelled(folder, out, Hearer())
    assert written(out) == before


def test_what_cannot_be_labelled_is_one_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wrong: list[tuple[Path, str, type[Exception]]] = [
        (tmp_path / "none", "no such file or folder", ManifestError),
        (folder / "r1.wav", "for 'turnout transcribe'", UsageError),
        (cuts_file(tmp_path / "empty.jsonl"), "holds no cut", ManifestError),
        ((tmp_path / "nothing"), "holds no recordings", UsageError),
    ]
    (tmp_path / "nothing").mkdir()
    for source, reason, kind in wrong:
        with pytest.raises(kind, match=reason):
            labelled(source, out, Hearer())
    with pytest.raises(GuidanceError, match="--languages names fr, unknown to this model"):
        labelled(folder, out, Hearer(), languages=("en", "French"))
    assert not out.exists()
    labelled(folder, out, Hearer())
    with pytest.raises(UsageError, match="would be written over"):
        labelled(out / "cuts.jsonl.gz", out, Hearer())
    with pytest.raises(UsageError, match="would be written over"):
        labelled(out / "report.json", out, Hearer())
