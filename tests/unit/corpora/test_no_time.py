"""Utterances without time: refused, citing the line, by whichever reader they come."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.corpora.recordings import cuts_of, noise, write_lines
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import read_clips
from turnout.corpora.prepare import prepare
from turnout.errors import ManifestError

ENGLISH = PrepareConfig(language="en")
SKIPPING = PrepareConfig(language="en", skip_bad=True)
SHARED = Path(__file__).parents[4] / "shared" / "faults"
TIMES = [("0", "0"), ("0.3", "0.00001"), ("0.3", "0.0249"), ("1.45", "0.01")]


@pytest.mark.parametrize(("offset", "duration"), TIMES)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_less_than_a_frame_is_refused(
    tmp_path: Path, kind: str, offset: str, duration: str
) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    source = tmp_path / f"m.{kind}"
    if kind == "csv":
        source.write_text(f"path,text,offset,duration\na.wav,yes,{offset},{duration}\n")
    else:
        times = f'"offset": {offset}, "duration": {duration}'
        write_lines(source, "", f'{{"audio_filepath": "a.wav", "text": "yes", {times}}}')
    message = rf"m.{kind}:2: field 'duration': is .*: at least 0.025 seconds, one frame of"
    with pytest.raises(ManifestError, match=message):
        prepare(source, tmp_path / "out", ENGLISH)


def test_a_frame_is_taken(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    row = {"audio_filepath": "a.wav", "text": "yes", "offset": 0.3, "duration": 0.025}
    summary = prepare(write_lines(tmp_path / "m.jsonl", row), tmp_path / "out", ENGLISH)
    assert summary.splits["cuts"].seconds == 0.025


def test_a_recording_of_less_than_a_frame_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=0.0249)
    source = write_lines(tmp_path / "m.jsonl", {"audio_filepath": "a.wav", "text": "yes"})
    with pytest.raises(ManifestError, match=r"m.jsonl:1: field 'audio_filepath': has 0.024"):
        prepare(source, tmp_path / "out", ENGLISH)


def test_the_rest_of_a_recording_that_is_less_than_a_frame_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    row = {"audio_filepath": "a.wav", "text": "yes", "offset": 1.49}
    with pytest.raises(ManifestError, match=r"m.jsonl:1: .*has 0.01 seconds of audio for its text"):
        prepare(write_lines(tmp_path / "m.jsonl", row), tmp_path / "out", ENGLISH)


def test_a_kaldi_segment_is_cited_where_it_stands(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    (tmp_path / "wav.scp").write_text("r a.wav\n")
    (tmp_path / "text").write_text("u1 yes\nu2 no\n")
    (tmp_path / "segments").write_text("u1 r 0 0.5\nu2 r 0.5 0.50001\n")
    with pytest.raises(ManifestError, match=r"segments:2: field 'duration': is 1e-05: at least"):
        prepare(tmp_path, tmp_path / "out", ENGLISH)


def test_a_frame_between_two_times_is_taken(tmp_path: Path) -> None:
    assert 1.025 - 1 < 0.025
    noise(tmp_path / "a.wav", seconds=1.5)
    (tmp_path / "wav.scp").write_text("r a.wav\n")
    (tmp_path / "text").write_text("u1 yes\n")
    (tmp_path / "segments").write_text("u1 r 1 1.025\n")
    summary = prepare(tmp_path, tmp_path / "out", ENGLISH)
    assert summary.splits["cuts"].seconds == 0.025


@pytest.mark.parametrize("end", ["inf", "nan", "1e400", "1_0", "0", "-2"])
def test_a_kaldi_segment_ends_at_a_time_behind_its_start(tmp_path: Path, end: str) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    (tmp_path / "wav.scp").write_text("r a.wav\n")
    (tmp_path / "text").write_text("u1 yes\n")
    (tmp_path / "segments").write_text(f"u1 r 0 {end}\n")
    with pytest.raises(ManifestError, match=rf"segments:1: is 'u1 r 0 {end}': '<name> <record"):
        prepare(tmp_path, tmp_path / "out", ENGLISH)


@pytest.mark.parametrize("duration", [0, 1e-5, 0.004])
def test_a_line_of_no_time_is_not_put_together_with_one_of_all(
    tmp_path: Path, duration: float
) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    rows = [{"audio_filepath": "a.wav", "text": "yes"} for _ in range(2)]
    source = write_lines(tmp_path / "m.jsonl", {**rows[0], "duration": duration}, rows[1])
    summary = prepare(source, tmp_path / "out", SKIPPING)
    assert summary.splits["cuts"].seconds == 1.5
    assert [text.partition("m.jsonl:")[2][:19] for text in summary.skipped] == [
        "1: field 'duration'"
    ]
    assert summary.notes == ()


@pytest.mark.parametrize("value", ["true", '"1_0"', '"nan"', "-1", '"one"'])
def test_what_python_takes_for_a_number_is_none(tmp_path: Path, value: str) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    source = write_lines(
        tmp_path / "m.jsonl",
        f'{{"audio_filepath": "a.wav", "text": "yes", "duration": {value}}}',
    )
    with pytest.raises(ManifestError, match=r"m.jsonl:1: field 'duration': is .*: seconds, 0 or"):
        prepare(source, tmp_path / "out", ENGLISH)


def supervision(name: str, start: Any = 0, duration: Any = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": name, "start": start, "duration": duration, "text": name, "language": "en", **fields
    }  # fmt: skip


def cut(*supervisions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One second of `a.wav`."""
    recording = {
        "id": "r", "sampling_rate": 16000, "num_samples": 64000, "duration": 4.0,
        "sources": [{"type": "file", "channels": [0, 1], "source": "a.wav"}],
    }  # fmt: skip
    return {
        "id": "c", "type": "MonoCut", "start": 1.0, "duration": 1.0, "channel": 0,
        "recording": recording, "supervisions": list(supervisions), **fields,
    }  # fmt: skip


WRONG = [
    (supervision("s", 1.0, 0.5), "'supervisions.start': of .* is 1: it ends at 1.5, out"),
    (supervision("s", 0.99, 0.5), "'supervisions.start': of .* is 0.99: it ends at"),
    (supervision("s", -0.5, 0.5), "'supervisions.start': of .* is -0.5: it ends at 0,"),
    (supervision("s", 0.2, 0), "'supervisions.duration': of .* is 0: at least 0.025 s"),
    (supervision("s", 0.5, -0.3), "'supervisions.duration': of .* is -0.3: at least 0."),
    (supervision("s", "0", "0.5"), "'supervisions.start': or 'duration' is no time"),
    (supervision("s", True, True), "'supervisions.start': or 'duration' is no time"),
    (supervision("s", 0.5, 1e-5), "'supervisions.duration': of .* is 1e-05: at least"),
    (supervision("s", channel=1), "'supervisions.channel': of .* is 1: its cut's, 0,"),
    (supervision("s", channel=[1, 2]), "'supervisions.channel': of .* is 1, 2: its cu"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_a_supervision_that_cannot_be_heard_in_its_cut(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    noise(tmp_path / "a.wav", seconds=4.0, channels=2)
    others = [supervision("before"), supervision("behind", 0.5, 0.5, channel=[0])]
    source = write_lines(tmp_path / "m.jsonl", cut(others[0], wrong, others[1]))
    with pytest.raises(ManifestError, match=f"m.jsonl:1: field {message}"):
        prepare(source, tmp_path / "out")
    summary = prepare(source, tmp_path / "out", SKIPPING)
    assert len(summary.skipped) == 1
    said = [one.supervisions[0].text for one in cuts_of(tmp_path / "out/cuts.jsonl.gz")]
    assert said == ["before", "behind"]
    with pytest.raises(ManifestError, match=f"m.jsonl:1: field {message}"):
        read_clips(write_lines(tmp_path / "m.jsonl", cut(wrong)))


def test_what_reaches_out_of_its_cut_is_cut_and_named(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=4.0, channels=2)
    said = [supervision("s1", -0.5, 1.0), supervision("s2", 0.02, 1.05), supervision("s3", 2, 1)]
    summary = prepare(write_lines(tmp_path / "m.jsonl", cut(*said)), tmp_path / "out", SKIPPING)
    first, second = cuts_of(tmp_path / "out/cuts.jsonl.gz")
    assert (first.start, first.duration, second.start, second.duration) == (1.0, 0.5, 1.02, 0.98)
    (note,) = summary.notes
    assert note.startswith(f"1 of the supervisions reach out of their cuts (the first: {tmp_path}")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"duration": -1}, "field 'start': or 'duration' is no time"),
        ({"duration": 0}, "field 'start': or 'duration' is no time"),
        ({"start": 1e308}, "field 'start': or 'duration' is no time"),
        ({"duration": 1e308}, "field 'start': or 'duration' is no time"),
        ({"channel": 10**400}, "field 'channel': is 10+...., which no source"),
    ],
)
def test_cuts_of_no_time_are_no_clips(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    source = write_lines(tmp_path / "m.jsonl", cut(supervision("s"), **fields))
    with pytest.raises(ManifestError, match=message) as raised:
        read_clips(source)
    assert len(str(raised.value).replace(str(tmp_path), "")) < 200


@pytest.mark.parametrize("rate", [10**400, 0, -1])
def test_a_rate_that_is_none(tmp_path: Path, rate: int) -> None:
    made = cut(supervision("s"))
    made["recording"]["sampling_rate"] = rate
    source = write_lines(tmp_path / "m.jsonl", json.dumps(made))
    with pytest.raises(ManifestError, match="field 'recording.sampling_rate': is .*a number"):
        read_clips(source)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/faults is not there")
def test_the_manifests_of_public_bug_reports(tmp_path: Path) -> None:
    summary = prepare(SHARED / "no-time/cuts.jsonl", tmp_path, SKIPPING)
    assert [cut.id for cut in cuts_of(tmp_path / "cuts.jsonl.gz")] == ["good"]
    assert [text.partition("cuts.jsonl:")[2][:2] for text in summary.skipped] == [
        "2:", "3:", "4:", "5:",
    ]  # fmt: skip
    for name, lines in (("nemo.jsonl", 2), ("table.csv", 1)):
        with pytest.raises(ManifestError, match=f"the first of {lines}: .*'duration': is 0: at le"):
            prepare(SHARED / "no-time" / name, tmp_path / "out", SKIPPING)
