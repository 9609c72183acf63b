"""Every kind of manifest gives the entries that its lines say."""

import gzip
import json
from pathlib import Path

import pytest

from tests.unit.corpora.recordings import cuts_of, noise, write_lines
from turnout.config.preparation import PrepareConfig
from turnout.corpora.prepare import prepare
from turnout.corpora.readers.kinds import reader_of
from turnout.errors import ManifestError, UsageError

ENGLISH = PrepareConfig(language="en")


def no_audio(name: str, data: bytes) -> Path:
    raise AssertionError(f"{name} is unpacked")


def said(path: Path) -> list[tuple[str, str, str, str | None, dict[str, str]]]:
    cuts = [(cut.id, cut.supervisions[0]) for cut in cuts_of(path)]
    return [(n, s.text, s.language, s.speaker, s.custom["translations"]) for n, s in cuts]


def table(folder: Path, text: str, name: str = "data.csv") -> Path:
    noise(folder / "a.wav")
    noise(folder / "b.wav")
    (folder / name).write_text(text, "utf-8-sig")
    return folder / name


def test_csv_columns_are_found_by_name(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        "text,path,language,translation,target_language,speaker\r\n"
        '"yes, please",a.wav,en,"ja\nbitte",de,1\r\n\r\nno,b.wav,en,,,2\r\n',
    )
    prepare(source, tmp_path)
    assert said(tmp_path / "cuts.jsonl.gz") == [
        ("a", "yes, please", "en", "1", {"de": "ja bitte"}),
        ("b", "no", "en", "2", {}),
    ]


def test_tsv_has_tabs(tmp_path: Path) -> None:
    source = table(tmp_path, "path\ttext\na.wav\tyes, please\n", "data.tsv")
    prepare(source, tmp_path, ENGLISH)
    assert said(tmp_path / "cuts.jsonl.gz") == [("a", "yes, please", "en", None, {})]


def test_columns_of_other_things_are_left_out_and_named_once(tmp_path: Path) -> None:
    source = table(
        tmp_path, "gender,path,text,mood,sentence\nf,a.wav,yes,glad,no\nm,b.wav,no,sad,yes\n"
    )
    summary = prepare(source, tmp_path, ENGLISH)
    assert summary.notes == ("columns left out: gender, mood, sentence",)
    assert said(tmp_path / "cuts.jsonl.gz") == [
        ("a", "yes", "en", None, {}), ("b", "no", "en", None, {}),
    ]  # fmt: skip


def test_very_many_columns_of_other_things_make_a_short_note_that_can_be_printed(
    tmp_path: Path,
) -> None:
    names = ["\x1b[2J", "x" * 5000, *(f"column number {n}" for n in range(200))]
    source = table(tmp_path, f"path,text,{','.join(names)}\na.wav,yes{',' * 202}\n")
    (note,) = prepare(source, tmp_path, ENGLISH).notes
    assert note.isprintable()
    assert len(note) < 400
    assert note.endswith(" and 192 more")


def test_a_gzipped_tsv_has_tabs_too(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    with gzip.open(tmp_path / "data.tsv.gz", "wt") as file:
        file.write("path\ttext\na.wav\tyes, please\n")
    assert prepare(tmp_path / "data.tsv.gz", tmp_path, ENGLISH).splits["cuts"].utterances == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paht,text\na.wav,x\n", "data.csv:1: field 'paht': is an unknown column: did you mean "
         "'path'"),
        ("path,sentence\na.wav,x\n", "field 'sentence': is an unknown column: did you mean 'text'"),
        ("path|text|language\na.wav|x|en\n", r"data.csv:1: has one cell, 'path\|text\|language': "
         r"cells are parted by commas or semicolons \(by tabs in a .tsv\)"),
        ("path\ttext\na.wav\tyes, please\n", r"data.csv:1: has one cell, 'path.*parted by commas"),
        ("path,text,translaton\na.wav,x,y\n", r"'translaton': is an unknown column: did you mean "
         "'translation'"),
        ("path,speaker\na.wav,x\n", "data.csv:1: field 'text': is missing in the header"),
        ("path,path,text\na.wav,x,y\n", "data.csv:1: names a column twice"),
        ("path,text\na.wav,x\nb.wav,x,y\n", "data.csv:3: has 3 cells and the header 2"),
        ('path,text\na.wav,"x\n', "is not CSV"),
        ('path,text\na.wav,"x\ny"\n,z\n', "data.csv:4: field 'path': is empty"),
        ("path,text,translation\na.wav,x,y\n", "field 'target_language': is missing"),
        ("path,text,split\na.wav,x,../up\n", "field 'split': is '../up': a word such as 'train'"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_cited(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        prepare(table(tmp_path, text), tmp_path / "out", ENGLISH)


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("data.csv", "path,text\na.wav,x\n", "language"),
        ("data.csv", "path,text,language\na.wav,x,\n", "language"),
        ("data.jsonl", '{"audio_filepath": "a.wav", "text": "x"}\n', "lang"),
        ("metadata.csv", "file_name,text\na.wav,x\n", "language"),
        ("metadata.csv", "file_name,text,locale\na.wav,x,\n", "locale"),
    ],
)
def test_a_language_that_is_missing_is_asked_for_by_the_sources_own_name(
    tmp_path: Path, name: str, text: str, field: str
) -> None:
    source = table(tmp_path, text, name)
    source = tmp_path if name.startswith("metadata") else source
    with pytest.raises(ManifestError, match=rf"field '{field}': is missing: .* --language en \("):
        prepare(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("data.csv", "path,text,translation,target_language\na.wav,x,y,en\n", "target_language"),
        (
            "data.jsonl",
            '{"audio_filepath": "a.wav", "text": "x", "target_language": "?"}\n',
            "target_language",
        ),
        (
            "data.jsonl",
            '{"audio_filepath": "a.wav", "text": "x", "answer": "y", "target_lang": "?"}\n',
            "target_lang",
        ),
        ("data.jsonl", '{"audio_filepath": "a.wav", "text": "x", "source_lang": "?"}\n',
         "source_lang"),
    ],
)  # fmt: skip
def test_a_wrong_language_is_cited_by_the_sources_own_name(
    tmp_path: Path, name: str, text: str, field: str
) -> None:
    with pytest.raises(ManifestError, match=rf"field '{field}': is "):
        prepare(table(tmp_path, text, name), tmp_path / "out", ENGLISH)


def kaldi(folder: Path, **files: str) -> Path:
    noise(folder / "call.wav", seconds=4.0)
    content = {"wav.scp": "u1 call.wav\n", "text": "u1 good  morning\n", **files}
    for name, text in content.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(text, "utf-8")
    return folder


def test_kaldi_directory_with_segments(tmp_path: Path) -> None:
    source = kaldi(
        tmp_path,
        wav_scp="call call.wav\n",
        text="u1 good morning\nu2\n",
        segments="u1 call 0.5 1.5\nu2 call 2 -1\n",
        utt2spk="u1 anna\nu2 ben\n",
        utt2lang="u1 en\nu2 en\n",
    )
    prepare(source, tmp_path)
    cuts = cuts_of(tmp_path / "cuts.jsonl.gz")
    assert [(cut.start, cut.duration) for cut in cuts] == [(0.5, 1.0), (2.0, 2.0)]
    assert said(tmp_path / "cuts.jsonl.gz") == [
        ("u1", "good morning", "en", "anna", {}), ("u2", "", "en", "ben", {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": "u1 touch canary |\n"}, "wav.scp:1: is a pipe, which would run a command"),
        ({"wav_scp": "u1 | touch canary\n"}, "wav.scp:1: is a pipe, which would run a command"),
        ({"wav_scp": "u1\n"}, "wav.scp:1: names no file"),
        ({"wav_scp": "u2 call.wav\n"}, "text:1: names 'u1', which .*wav.scp does not"),
        ({"text": "u1 a\nu1 b\n"}, "text:2: names 'u1' a second time"),
        ({"text": "u1 a\n", "wav_scp": "u1 call.wav\nu2 call.wav\n"}, "wav.scp:2: names 'u2'"),
        ({"utt2spk": "u2 anna\n"}, "text:1: names 'u1', of which .*utt2spk says nothing"),
        ({"segments": "u1 u1 2 1\n"}, "segments:1: is 'u1 u1 2 1': '<name> <recording>"),
        ({"segments": "u1 u1 3 9\n"}, "field 'duration': is 6: the audio ends at 4 seconds"),
        ({"utt2lang": "u1 english!\n"}, "field 'utt2lang': is 'english!'"),
    ],
)
def test_a_wrong_kaldi_directory_is_cited(
    tmp_path: Path, files: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=message):
        prepare(kaldi(tmp_path, **files), tmp_path / "out", ENGLISH)
    assert not (tmp_path / "canary").exists()


def test_hugging_face_folder_takes_splits_from_its_folders(tmp_path: Path) -> None:
    noise(tmp_path / "train/x/a.wav")
    noise(tmp_path / "validation/b.wav")
    table = "file_name,transcription,accent,speaker_id\nx/a.wav,yes,us,3\n"
    (tmp_path / "train/metadata.csv").write_text(table)
    write_lines(
        tmp_path / "validation/metadata.jsonl",
        {"file_name": "b.wav", "text": "no", "language": "en", "translation": "non",
         "target_language": "fr"},
    )  # fmt: skip
    prepare(tmp_path, tmp_path / "out", ENGLISH)
    assert said(tmp_path / "out/train.jsonl.gz") == [("train-x-a", "yes", "en", "3", {})]
    assert said(tmp_path / "out/dev.jsonl.gz") == [
        ("validation-b", "no", "en", None, {"fr": "non"})
    ]


def cut(folder: Path, **recording: object) -> dict[str, object]:
    source = {"type": "file", "channels": [0], "source": str(noise(folder / "a.wav", 4.0))}
    supervision = {
        "id": "s", "recording_id": "r", "start": -0.5, "duration": 2.0, "channel": 0,
        "text": "yes", "language": "en", "custom": {"translations": {"de": "ja"}, "split": "train"},
    }  # fmt: skip
    return {
        "id": "c", "start": 1.0, "duration": 3.0, "channel": 0, "type": "MonoCut",
        "supervisions": [supervision],
        "recording": {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 64000,
                      "duration": 4.0, **recording},
    }  # fmt: skip


def test_lhotse_cuts_come_out_as_they_went_in(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "in.jsonl.gz", "wt") as file:
        file.write(json.dumps(cut(tmp_path)))
    prepare(tmp_path / "in.jsonl.gz", tmp_path / "out")
    (made,) = cuts_of(tmp_path / "out/train.jsonl.gz")
    assert (made.id, made.start, made.duration) == ("c", 1.0, 1.5)
    assert said(tmp_path / "out/train.jsonl.gz") == [("c", "yes", "en", None, {"de": "ja"})]
    again = prepare(tmp_path / "out/train.jsonl.gz", tmp_path / "again")
    assert [split.utterances for split in again.splits.values()] == [1]
    assert cuts_of(tmp_path / "again/train.jsonl.gz") == [made]


def test_what_a_lhotse_cut_says_of_itself_is_not_its_supervisions(tmp_path: Path) -> None:
    custom = {"split": "dev", "bandwidth": "narrowband", "translations": {"de": "nein"}}
    made = cut(tmp_path)
    del made["supervisions"][0]["custom"]  # type: ignore[index]
    prepare(write_lines(tmp_path / "in.jsonl", {**made, "custom": custom}), tmp_path / "out")
    (written,) = cuts_of(tmp_path / "out/cuts.jsonl.gz")
    assert written.supervisions[0].custom == {"translations": {}, "bandwidth": "wideband"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("command", "of type 'command', which would run a command: 'file' was expected"),
        ("url", "of type 'url', which would be fetched: 'file' was expected"),
        ("memory", "of type 'memory': 'file' was expected"),
    ],
)
def test_lhotse_sources_that_run_or_fetch_are_refused(
    tmp_path: Path, kind: str, message: str
) -> None:
    canary = tmp_path / "canary"
    source = {"type": kind, "channels": [0], "source": f"touch {canary}"}
    manifest = write_lines(tmp_path / "in.jsonl", cut(tmp_path, sources=[source]))
    with pytest.raises(ManifestError, match=f"in.jsonl:1: field 'recording.sources': .*{message}"):
        prepare(manifest, tmp_path / "out")
    assert not canary.exists()


def test_lhotse_recordings_alone_are_no_cuts(tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "in.jsonl", cut(tmp_path)["recording"])  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match="is recording: MonoCut was expected"):
        prepare(manifest, tmp_path / "out")


def test_the_free_spoken_digit_dataset(tmp_path: Path) -> None:
    noise(tmp_path / "recordings/7_theo_12.wav", rate=8000)
    summary = prepare(tmp_path, tmp_path / "out")
    assert said(tmp_path / "out/cuts.jsonl.gz") == [
        ("7_theo_12", "seven", "en", "theo", {"de": "sieben"})
    ]
    assert summary.splits["cuts"].bandwidths == {"narrowband": 1}


def test_the_arabic_speech_commands(tmp_path: Path) -> None:
    noise(tmp_path / "dataset/zoom_in/00000001_NO_03.wav")
    prepare(tmp_path, tmp_path / "out")
    assert said(tmp_path / "out/cuts.jsonl.gz") == [
        ("zoom_in-00000001_NO_03", "تكبير", "ar", "00000001", {"en": "zoom in"})
    ]


def test_librispeech_by_lhotses_recipe(tmp_path: Path) -> None:
    for part, speaker in (("train-clean-5", "10"), ("dev-clean-2", "11")):
        folder = tmp_path / part / speaker / "20"
        noise(folder / f"{speaker}-20-0000.flac")
        (folder / f"{speaker}-20.trans.txt").write_text(f"{speaker}-20-0000 GOOD MORNING\n")
    prepare(tmp_path, tmp_path / "out")
    assert said(tmp_path / "out/train.jsonl.gz") == [("10-20-0000", "good morning", "en", "10", {})]
    assert len(cuts_of(tmp_path / "out/dev.jsonl.gz")) == 1


def test_what_is_no_corpus_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for source in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(
            UsageError, match=r"is no corpus that is known: accepted are JSON lines"
        ):
            reader_of(source, ENGLISH, no_audio)
    with pytest.raises(UsageError, match="there is no such file or folder"):
        reader_of(tmp_path / "nowhere", ENGLISH, no_audio)
    with pytest.raises(UsageError, match="'kaldi' is read from a folder, and this is not one"):
        reader_of(tmp_path / "notes.txt", PrepareConfig(kind="kaldi"), no_audio)
