"""One spelling of texts, paths, recordings, speakers and splits, whichever reader they come by."""

import os
import unicodedata
from pathlib import Path

import pytest

from tests.unit.corpora.recordings import cuts_of, noise, write_lines
from tests.unit.data.words import cut_of
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import read_clips
from turnout.corpora.entry import Entry
from turnout.corpora.manifest import Place
from turnout.corpora.prepare import prepare
from turnout.corpora.spelling import beside, plain_text, recording_at, usual_split

ENGLISH = PrepareConfig(language="en")
SHARED = Path(__file__).parents[4] / "shared" / "faults"
NFD = unicodedata.normalize("NFD", "José")
NFC = unicodedata.normalize("NFC", "José")


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("six one eight", "six one eight"),
        ("six\u00a0one\u3000eight", "six one eight"),
        ("  six \t one\r\neight\u2028 ", "six one eight"),
        ("\ufeffsix o\u200bne\u2060 ei\u00adght\u200e", "six one eight"),
        ("\u061csix\u061c o\u206ane \ufff9ei\u180eght\u2063", "six one eight"),
        ("six\x1b one\x00\x85eight", "six one eight"),
        (f"{NFD} x", f"{NFC} x"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian parts syllables with U+200C
        ("ක්\u200dෂ", "ක්\u200dෂ"),  # Sinhala joins letters with U+200D
        ("你好\u3000世界", "你好 世界"),
        ("\u2067مرحبا\u2069", "مرحبا"),
        (" \u00a0\ufeff", ""),
    ],
)
def test_texts_have_one_spelling(written: str, plain: str) -> None:
    assert plain_text(written) == plain
    assert plain_text(plain) == plain
    entry = Entry(
        id="a", audio=Path("a"), place=Place("f"), text=written, speaker=written,
        translations={"de": written},
    )  # fmt: skip
    assert (entry.text, entry.speaker or "", entry.translations) == (plain, plain, {"de": plain})


def manifests(folder: Path, text: str, path: str) -> dict[str, Path]:
    """The same utterance in manifests of each kind."""
    (folder / "kaldi").mkdir(exist_ok=True)
    (folder / "kaldi/text").write_text(f"u1 {text}\n")
    (folder / "kaldi/wav.scp").write_text(f"u1 {path}\n")
    (folder / "t.csv").write_text(f"text , path\n{text}, {path} \n")
    (folder / "t.tsv").write_text(f"\ufefftext\u00a0\tpath\n{text}\t{path}\u200b\n")
    write_lines(folder / "m.jsonl", {"text": text, "audio_filepath": f" {path}\u00a0"})
    write_lines(folder / "hf/metadata.jsonl", {"text": text, "file_name": f"{path} "})
    cut = cut_of(folder / path, "uno", "s", 16_000).to_dict()
    cut["supervisions"][0]["text"] = text
    write_lines(folder / "cuts.jsonl", cut)
    return {
        name: folder / name for name in ("kaldi", "t.csv", "t.tsv", "m.jsonl", "hf", "cuts.jsonl")
    }


@pytest.mark.parametrize("kind", ["kaldi", "t.csv", "t.tsv", "m.jsonl", "hf", "cuts.jsonl"])
def test_every_reader_spells_texts_and_paths_plainly(tmp_path: Path, kind: str) -> None:
    for place in ("a.wav", "kaldi/a.wav", "hf/a.wav"):
        noise(tmp_path / place)
    source = manifests(tmp_path, " six\u00a0one  eight\u3000", "a.wav")[kind]
    prepare(source, tmp_path / "out", ENGLISH)
    (cut,) = cuts_of(tmp_path / "out/cuts.jsonl.gz")
    assert cut.supervisions[0].text == "six one eight"


def test_cuts_of_others_are_read_with_plain_texts(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    cuts = manifests(tmp_path, " six\u00a0one  eight\u3000", "a.wav")["cuts.jsonl"]
    (clip,) = read_clips(cuts)
    assert clip.text == "six one eight"


@pytest.mark.parametrize(
    ("written", "there"),
    [
        (" a b.wav\u00a0", "a b.wav"),
        (" a.wav", " a.wav"),
        (f"{NFC}.wav", f"{NFD}.wav"),
        (f"{NFD}.wav", f"{NFC}.wav"),
        ("nowhere/../a.wav", "a.wav"),
        ("sub\\a.wav", "sub/a.wav"),
    ],
)
def test_a_recording_is_found_by_another_spelling_of_its_path(
    tmp_path: Path, written: str, there: str
) -> None:
    noise(tmp_path / there)
    assert beside(tmp_path, written).samefile(tmp_path / there)


def spelled_otherwise(folder: Path) -> list[str]:
    """Paths that lead to `a.wav`."""
    noise(folder / "a.wav", seconds=2.0)
    (folder / "sub").mkdir()
    (folder / "link.wav").symlink_to("a.wav")
    (folder / "folder").symlink_to(folder)
    os.link(folder / "a.wav", folder / "hard.wav")
    return [
        "a.wav", "./a.wav", "sub/../a.wav", "nowhere/../a.wav", str(folder / "a.wav"), "link.wav",
        "folder/a.wav", "hard.wav", " a.wav",
    ]  # fmt: skip


def test_one_recording_under_many_paths_is_one_recording(tmp_path: Path) -> None:
    paths = spelled_otherwise(tmp_path)
    assert len({recording_at(beside(tmp_path, path)) for path in paths}) == 1
    noise(tmp_path / "b.wav")
    rows = [
        {"audio_filepath": path, "text": "yes", "offset": number / 10, "duration": 0.1}
        for number, path in enumerate(paths)
    ]
    other = [{"audio_filepath": "b.wav", "text": "no"}]
    source = write_lines(tmp_path / "m.jsonl", *rows, *other)
    prepare(source, tmp_path / "out", PrepareConfig(language="en", split="train=0.5,test=0.5"))
    found = [cuts_of(tmp_path / f"out/{split}.jsonl.gz") for split in ("train", "test")]
    assert sorted(map(len, found)) == [1, len(paths)]
    sources = {cut.recording.sources[0].source for cuts in found for cut in cuts}
    assert sources == {str(tmp_path / "a.wav"), str(tmp_path / "b.wav")}


def test_lines_of_one_recording_under_two_paths_are_one_utterance(tmp_path: Path) -> None:
    rows = [{"audio_filepath": p, "text": "yes"} for p in spelled_otherwise(tmp_path)]
    prepare(write_lines(tmp_path / "m.jsonl", *rows), tmp_path / "out", ENGLISH)
    assert len(cuts_of(tmp_path / "out/cuts.jsonl.gz")) == 1


def test_a_speaker_in_two_of_unicodes_forms_is_one_speaker(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        noise(tmp_path / f"{number}.wav", seconds=0.2)
        speaker = [NFC, NFD, f" {NFC} ", f"{NFD}\u200b"][number % 4] if number < 6 else "Ann"
        rows.append({"audio_filepath": f"{number}.wav", "text": "yes", "speaker": speaker})
    source = write_lines(tmp_path / "m.jsonl", *rows)
    prepare(source, tmp_path / "out", PrepareConfig(language="en", split="train=0.7,test=0.3"))
    speakers = [
        [cut.supervisions[0].speaker for cut in cuts_of(tmp_path / f"out/{split}.jsonl.gz")]
        for split in ("train", "test")
    ]
    assert sorted(speakers) == [["Ann"] * 2, [NFC] * 6]


def test_who_stands_in_several_stated_splits_is_named(tmp_path: Path) -> None:
    folder = tmp_path / ("a-long-name-" * 8)
    folder.mkdir()
    noise(folder / "a.wav")
    noise(folder / "b.wav")
    rows = [
        {"audio_filepath": "a.wav", "text": "x", "speaker": NFC, "split": "Training", "offset": 0,
         "duration": 0.5},
        {"audio_filepath": "./a.wav", "text": "x", "speaker": "ann", "split": "eval", "offset": 1},
        {"audio_filepath": "b.wav", "text": "x", "speaker": NFD, "split": "test"},
    ]  # fmt: skip
    summary = prepare(write_lines(folder / "m.jsonl", *rows), tmp_path / "out", ENGLISH)
    assert list(summary.splits) == ["train", "test"]
    recording, speaker = summary.notes
    assert recording.startswith(f"in several splits: 1 recording (the first: '{folder}/a.wav' in")
    assert speaker.startswith("in several splits: 1 speaker (the first: 'José' in test, train)")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("train-clean-100", "train"),
        ("VALID", "dev"), ("val", "dev"), ("devel", "dev"), ("dev2", "dev"),
        ("a.validation", "dev"),
        ("Test", "test"), ("testing_1", "test"), ("clean.test", "test"), ("eval", "test"),
        ("data/evaluation-00000-of-00001", "test"), ("train_val", "train"),
        ("latest", None), ("valencia", None), ("other", None), ("", None),
    ],
)  # fmt: skip
def test_splits_are_known_by_a_word_of_their_name(name: str, split: str | None) -> None:
    assert usual_split(name) == split


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/faults is not there")
def test_what_public_bug_reports_say_of_splits_and_white_space(tmp_path: Path) -> None:
    for name in ("path", "t"):
        prepare(SHARED / f"white-space/{name}.csv", tmp_path / name, ENGLISH)
        (cut,) = cuts_of(tmp_path / name / "cuts.jsonl.gz")
        assert cut.supervisions[0].text == "six one eight"
    config = PrepareConfig(language="en", split="train=0.5,test=0.5")
    prepare(SHARED / "splits/spelling.csv", tmp_path / "out", config)
    train, test = (
        {cut.recording.sources[0].source for cut in cuts_of(tmp_path / f"out/{name}.jsonl.gz")}
        for name in ("train", "test")
    )
    assert (len(train), len(test)) == (3, 3)
    assert not train & test
