"""Manifests that are broken or hostile: one clear line each, nothing run, nothing half-written."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.unit.corpora.recordings import noise, write_lines
from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare
from turnout.errors import ManifestError

GOOD = {"audio_filepath": "good.wav", "text": "yes", "lang": "en"}


def line(**fields: object) -> str:
    return json.dumps({**GOOD, **fields})


BROKEN_LINES = [
    ("[1, 2]", "holds a list: a JSON object was expected"),
    ('{"audio_filepath": "good.wav"', "is not JSON"),
    ("[" * 100_000, "is nested too deeply"),
    ('{"duration": ' + "9" * 5000 + "}", "is not JSON"),
    ('{"text": "\\ud800", "audio_filepath": "good.wav"}', "holds half of a surrogate pair"),
    (line(audio_filepath=None), "field 'audio_filepath': is missing"),
    ('{"audio_filpath": "good.wav"}', "is missing: did you mean it by 'audio_filpath'"),
    (line(audio_filepath=""), "field 'audio_filepath': is empty"),
    (line(audio_filepath=["good.wav"]), "field 'audio_filepath': is .*a string was expected"),
    (line(audio_filepath="nowhere.wav"), "field 'audio_filepath': '.*nowhere.wav' cannot be taken"),
    (line(audio_filepath="a\0b.wav"), "field 'audio_filepath'"),
    (line(audio_filepath="x" * 5000), "field 'audio_filepath'"),
    (line(audio_filepath="."), "field 'audio_filepath': .* cannot be taken"),
    (line(audio_filepath="touch canary |"), "field 'audio_filepath': .* cannot be taken"),
    (line(audio_filepath="text.wav"), "field 'audio_filepath': .*text.wav' cannot be taken"),
    (line(audio_filepath="empty.wav"), "field 'audio_filepath': .*empty.wav' cannot be taken"),
    (line(audio_filepath="nan.wav"), "field 'audio_filepath': .*nan.wav' cannot be taken: .*NaN"),
    (line(audio_filepath="long.wav"), "longer than the allowed 5 s"),
    (
        line(audio_filepath="other.wav", text=None),
        "field 'text': is missing: the words",
    ),
    (line(text=7), "field 'text': is 7: a string was expected"),
    (line(audio_filepath="third.wav", lang=None), "field 'lang': is missing: .*--language"),
    (line(lang="English"), "field 'lang': is 'English': a language code such as 'en'"),
    (line(translation="ja"), "field 'target_lang': is missing: a translation's language"),
    (line(translation="ja", target_lang="en"), "field 'target_lang': is missing"),
    (
        line(task="dance"),
        "field 'task': is 'dance': one of asr, transcribe, ast, translate, s2t_translation, st was",
    ),
    (line(taskname=3), "field 'taskname': is '3': one of asr, transcribe"),
    (line(duration="soon"), "field 'duration': is 'soon': seconds"),
    (line(duration=-1), "field 'duration': is -1: seconds"),
    (line(duration=float("nan")), "field 'duration': is nan: seconds"),
    (line(duration=10**400), "field 'duration': is 10+\\.\\.\\.: seconds"),
    (line(offset=10**400), "field 'offset': is 10+\\.\\.\\.: seconds"),
    (line(offset=1e308), "field 'offset': is 1e\\+308: seconds"),
    (line(duration=9), "field 'duration': is 9: the audio ends at 1.5 seconds"),
    (line(offset=2), "field 'offset': is 2: the audio ends at 1.5 seconds"),
    (line(channel="left"), "field 'channel': is 'left': a number from 0"),
    (line(channel="\u00b2"), "field 'channel': is '\u00b2': a number from 0"),
    (line(channel="9" * 5000), "field 'channel': is '9+\\.\\.\\.: a number from 0"),
    (line(channel=3), "cannot be taken"),
    (line(bandwidth="telephone"), "field 'bandwidth': is 'telephone': one of narrowband, wideband"),
    (line(split="../../etc"), "field 'split': is '../../etc': a word such as 'train'"),
    (line(split=".hidden"), "field 'split': is '.hidden'"),
]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "good.wav")
    noise(tmp_path / "other.wav")
    noise(tmp_path / "third.wav")
    noise(tmp_path / "long.wav", seconds=6)
    (tmp_path / "text.wav").write_text("no audio at all")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "nan.wav", np.full(1600, np.nan), 16000, subtype="FLOAT")
    return tmp_path


@pytest.mark.parametrize(("broken", "message"), BROKEN_LINES, ids=lambda value: value[:40])
def test_a_broken_line_is_cited_in_one_line(corpus: Path, broken: str, message: str) -> None:
    manifest = write_lines(corpus / "m.jsonl", GOOD, "", broken)
    with pytest.raises(ManifestError, match=f"m.jsonl:3: .*{message}") as raised:
        prepare(manifest, corpus / "out", PrepareConfig(max_duration=5))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 7000
    assert not (corpus / "out").exists()
    assert not (corpus / "canary").exists()


def test_all_broken_lines_at_once_are_left_out_and_the_good_one_done(corpus: Path) -> None:
    rows = [broken for broken, _ in BROKEN_LINES]
    manifest = write_lines(corpus / "m.jsonl", *rows, GOOD)
    summary = prepare(manifest, corpus / "out", PrepareConfig(max_duration=5, skip_bad=True))
    assert summary.splits["cuts"].utterances == 1
    assert len(summary.skipped) == len(rows)


def test_only_broken_lines_leave_nothing_to_write(corpus: Path) -> None:
    manifest = write_lines(corpus / "m.jsonl", line(text=7))
    with pytest.raises(ManifestError, match="holds no usable utterance; the first of 1: .*:1: "):
        prepare(manifest, corpus / "out", PrepareConfig(skip_bad=True))
    (corpus / "nothing.jsonl").touch()
    with pytest.raises(ManifestError, match=r"nothing.jsonl: holds no utterance"):
        prepare(corpus / "nothing.jsonl", corpus / "out")


def test_bytes_that_are_no_utf8(corpus: Path) -> None:
    (corpus / "m.jsonl").write_bytes(line().encode() + b"\n\xff\xfe\n")
    with pytest.raises(ManifestError, match=r"m.jsonl:2: is not UTF-8 \(byte 1 of the line\)"):
        prepare(corpus / "m.jsonl", corpus / "out")


@pytest.mark.parametrize("damage", ["cut", "flipped", "plain"])
def test_a_damaged_gzip(corpus: Path, damage: str) -> None:
    data = bytearray(gzip.compress(("\n".join([line()] * 50)).encode()))
    if damage == "cut":
        data = data[:-20]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    else:
        data = bytearray(b"this was never compressed")
    (corpus / "m.jsonl.gz").write_bytes(data)
    with pytest.raises(ManifestError, match=r"m.jsonl.gz"):
        prepare(corpus / "m.jsonl.gz", corpus / "out")


def test_a_gzip_that_unpacks_to_one_endless_line(corpus: Path) -> None:
    with gzip.open(corpus / "m.jsonl.gz", "wb") as file:
        for _ in range(17):
            file.write(b" " * 2**20)
        file.write(b"{")
    with pytest.raises(ManifestError, match=r"m.jsonl.gz"):
        prepare(corpus / "m.jsonl.gz", corpus / "out")


STRANGE_CUTS: list[tuple[dict[str, object], str]] = [
    ({"duration": 10**400}, "field 'start': or 'duration' is no time"),
    ({"start": 10**400}, "field 'start': or 'duration' is no time"),
    ({"start": 1e308}, "field 'start': or 'duration' is no time"),
    ({"duration": 1e308}, "field 'start': or 'duration' is no time"),
    ({"duration": 0}, "field 'start': or 'duration' is no time"),
    ({"start": float("nan")}, "field 'start': or 'duration' is no time"),
    ({"duration": float("nan")}, "field 'start': or 'duration' is no time"),
    ({"start": -2}, "field 'start': or 'duration' is no time"),
    ({"supervisions": [{"start": 0.5, "duration": 10**400}]}, "is no cut as lhotse writes it"),
    ({"duration": "9" * 500 + "x"}, "field 'start': or 'duration' is no time"),
]


@pytest.mark.parametrize(("fields", "message"), STRANGE_CUTS, ids=lambda value: str(value)[:40])
def test_a_cut_of_no_time_is_cited_in_one_line(
    corpus: Path, fields: dict[str, object], message: str
) -> None:
    said = {"id": "s", "start": 0, "duration": 1, "channel": 0, "text": "yes", "language": "en"}
    recording = {"sources": [{"type": "file", "channels": [0], "source": "good.wav"}]}
    cut = {"id": "c", "type": "MonoCut", "start": 0, "duration": 1, "channel": 0,
           "supervisions": [said], "recording": recording}  # fmt: skip
    prepare(write_lines(corpus / "whole.jsonl", json.dumps(cut)), corpus / "out")
    manifest = write_lines(corpus / "m.jsonl", json.dumps({**cut, **fields}))
    with pytest.raises(ManifestError, match=f"m.jsonl:1: .*{message}") as raised:
        prepare(manifest, corpus / "other")
    assert "\n" not in str(raised.value)
    assert not (corpus / "other").exists()
