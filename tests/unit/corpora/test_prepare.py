"""`prepare`: from a manifest to cuts, the same for every kind of manifest."""

import os
from io import StringIO
from pathlib import Path

import pytest
import soundfile
import soxr
from rich.console import Console

from tests.unit.corpora.recordings import cuts_of, noise, write_lines
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import read_clips
from turnout.corpora.prepare import prepare
from turnout.errors import ConfigError, ManifestError, StorageError, UsageError


def line(path: str, **fields: object) -> dict[str, object]:
    return {"audio_filepath": path, "text": "yes", "lang": "en", "speaker": "anna", **fields}


def test_a_cut_holds_all_that_training_needs(tmp_path: Path) -> None:
    noise(tmp_path / "audio/a.wav")
    noise(tmp_path / "audio/b.flac", seconds=2.0, rate=8000)
    manifest = write_lines(
        tmp_path / "manifest.jsonl",
        line("audio/a.wav", translation="ja", target_lang="de", split="train"),
        line("audio/b.flac", text="no", split="validation", bandwidth="narrowband"),
    )
    summary = prepare(manifest, tmp_path / "out")
    (train,) = cuts_of(tmp_path / "out/train.jsonl.gz")
    (supervision,) = train.supervisions
    assert (supervision.text, supervision.language, supervision.speaker) == ("yes", "en", "anna")
    assert supervision.custom == {
        "translations": {"de": "ja"}, "bandwidth": "wideband", "split": "train",
    }  # fmt: skip
    assert train.duration == supervision.duration == 1.5
    assert train.recording.sources[0].source == str(tmp_path / "audio/a.wav")
    (dev,) = cuts_of(tmp_path / "out/dev.jsonl.gz")
    assert dev.supervisions[0].custom["bandwidth"] == "narrowband"
    assert (dev.recording.sampling_rate, dev.recording.num_samples) == (8000, 16000)
    assert list(summary.splits) == ["train", "dev"]
    assert sum(split.seconds for split in summary.splits.values()) == pytest.approx(3.5)


def test_lhotse_reads_the_audio_that_a_cut_names(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=3.0, rate=22050)
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav", offset=1.0, duration=0.5))
    prepare(manifest, tmp_path)
    (cut,) = cuts_of(tmp_path / "cuts.jsonl.gz")
    assert cut.load_audio().shape == (1, 11025)


@pytest.mark.parametrize("stated", [1.44, 1.56])
def test_an_utterance_that_misses_the_end_by_little_ends_there(
    tmp_path: Path, stated: float
) -> None:
    noise(tmp_path / "a.wav", seconds=1.5)
    write_lines(tmp_path / "m.jsonl", line("a.wav", duration=stated))
    summary = prepare(tmp_path / "m.jsonl", tmp_path)
    assert summary.splits["cuts"].seconds == 1.5


def test_several_lines_of_one_audio_become_one_cut(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(
        tmp_path / "m.jsonl",
        line("a.wav", target_lang="en", taskname="asr"),
        line("a.wav", text="ja", source_lang="en", target_lang="de", taskname="ast"),
        line("a.wav", answer="oui", target_lang="fr", taskname="ast"),
    )
    summary = prepare(manifest, tmp_path)
    (cut,) = cuts_of(tmp_path / "cuts.jsonl.gz")
    assert cut.supervisions[0].custom["translations"] == {"de": "ja", "fr": "oui"}
    assert summary.notes == ("2 of 3 lines named audio of an earlier line",)


def test_lines_of_one_audio_must_agree(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav"), line("a.wav", text="no"))
    with pytest.raises(ManifestError, match=r"m.jsonl:2: field 'text': is 'no', and 'yes' in line"):
        prepare(manifest, tmp_path)


def test_same_names_in_two_folders_get_ids_of_their_own(tmp_path: Path) -> None:
    noise(tmp_path / "a b.wav")
    noise(tmp_path / "a-b.wav")
    write_lines(tmp_path / "m.jsonl", line("a b.wav"), line("a-b.wav"))
    prepare(tmp_path / "m.jsonl", tmp_path)
    assert [cut.id for cut in cuts_of(tmp_path / "cuts.jsonl.gz")] == ["a-b", "a-b-2"]


def test_split_by_speaker_is_seeded_and_never_divides_a_speaker(tmp_path: Path) -> None:
    rows = []
    for number in range(12):
        noise(tmp_path / f"{number}.wav", seconds=0.2)
        rows.append(line(f"{number}.wav", speaker=f"s{number % 6}"))
    manifest = write_lines(tmp_path / "m.jsonl", *rows)
    config = PrepareConfig(split="train=0.7,dev=0.3", seed=3)
    found = []
    for folder in ("one", "two"):
        prepare(manifest, tmp_path / folder, config)
        files = {name: cuts_of(tmp_path / folder / f"{name}.jsonl.gz") for name in ("train", "dev")}
        found.append(
            {name: {cut.supervisions[0].speaker for cut in cuts} for name, cuts in files.items()}
        )
    assert found[0] == found[1]
    assert not found[0]["train"] & found[0]["dev"]
    assert (len(found[0]["train"]), len(found[0]["dev"])) == (4, 2)


def test_without_speakers_recordings_are_dealt_and_a_note_says_so(tmp_path: Path) -> None:
    rows = []
    for number in range(6):
        noise(tmp_path / f"{number}.wav", seconds=0.4)
        rows += [line(f"{number}.wav", speaker=None, offset=at, duration=0.2) for at in (0, 0.2)]
    manifest = write_lines(tmp_path / "m.jsonl", *rows)
    summary = prepare(manifest, tmp_path / "out", PrepareConfig(split="train=0.5,dev=0.5"))
    assert ["dealt by recording, so a speaker may be in several" in n for n in summary.notes] == [
        True
    ]
    files = {name: cuts_of(tmp_path / f"out/{name}.jsonl.gz") for name in ("train", "dev")}
    heard = {
        name: {cut.recording.sources[0].source for cut in cuts} for name, cuts in files.items()
    }
    assert {name: len(cuts) for name, cuts in files.items()} == {"train": 6, "dev": 6}
    assert not heard["train"] & heard["dev"]


def test_a_line_without_a_speaker_among_others_can_be_left_out(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=0.2)
    noise(tmp_path / "b.wav", seconds=0.2)
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav"), line("b.wav", speaker=None))
    summary = prepare(manifest, tmp_path, PrepareConfig(split="train=1", skip_bad=True))
    assert summary.splits["train"].utterances == 1
    assert [text.partition("m.jsonl:")[2][:20] for text in summary.skipped] == [
        "2: field 'speaker': "
    ]


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        (("anna", None), "m.jsonl:2: field 'speaker': is missing here, and other lines have one"),
        (("anna", "anna"), "has 1 speaker: .*or leave the speakers out: then recordings are dealt"),
        ((None,), "has 1 recording: no recording may stand in two splits, so name fewer splits"),
    ],
)
def test_speakers_that_cannot_be_dealt(
    tmp_path: Path, speakers: tuple[str | None, ...], message: str
) -> None:
    rows = []
    for number, speaker in enumerate(speakers):
        noise(tmp_path / f"{number}.wav", seconds=0.2)
        rows.append(line(f"{number}.wav", speaker=speaker))
    manifest = write_lines(tmp_path / "m.jsonl", *rows)
    with pytest.raises((ManifestError, UsageError), match=message):
        prepare(manifest, tmp_path / "out", PrepareConfig(split="train=0.5,dev=0.5"))
    assert not (tmp_path / "out").exists()


def test_a_line_without_a_split_among_others_can_be_left_out(tmp_path: Path) -> None:
    for name in "ab":
        noise(tmp_path / f"{name}.wav", seconds=0.2)
    rows = [line("a.wav", split="train"), line("b.wav")]
    manifest = write_lines(tmp_path / "m.jsonl", *rows)
    message = r"m.jsonl:2: field 'split': is missing here, .*: state it in all lines or in none \(1"
    with pytest.raises(ManifestError, match=message):
        prepare(manifest, tmp_path / "out")
    summary = prepare(manifest, tmp_path / "out", PrepareConfig(skip_bad=True))
    assert {name: split.utterances for name, split in summary.splits.items()} == {"train": 1}
    assert len(summary.skipped) == 1


def test_split_is_refused_where_the_corpus_has_its_own(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav", split="train"))
    with pytest.raises(UsageError, match="has splits of its own: leave --split out"):
        prepare(manifest, tmp_path, PrepareConfig(split="train=1"))


def test_splits_that_differ_in_capitals_alone_are_one(tmp_path: Path) -> None:
    for name in "abc":
        noise(tmp_path / f"{name}.wav")
    rows = [line("a.wav", split="Fold1"), line("b.wav", split="fold1"), line("c.wav", split="X")]
    summary = prepare(write_lines(tmp_path / "m.jsonl", *rows), tmp_path / "out")
    assert {name: split.utterances for name, split in summary.splits.items()} == {
        "Fold1": 2,
        "X": 1,
    }
    cuts = cuts_of(tmp_path / "out/Fold1.jsonl.gz")
    assert [cut.supervisions[0].custom["split"] for cut in cuts] == ["Fold1", "Fold1"]


@pytest.mark.parametrize("split", ["train", "train=0.5", "train=x", "a=0.5,a=0.5", "a/b=1", "a=2"])
def test_a_split_that_cannot_be_is_told_before_any_work(split: str) -> None:
    with pytest.raises(ConfigError, match="names and shares that sum to 1, as 'train=0.9,dev=0.1'"):
        PrepareConfig(split=split)


def test_skip_bad_goes_on_and_lists_what_was_left_out(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(
        tmp_path / "m.jsonl", line("a.wav"), "{broken", line("nowhere.wav"), line("a.wav", text=1)
    )
    summary = prepare(manifest, tmp_path, PrepareConfig(skip_bad=True))
    assert len(cuts_of(tmp_path / "cuts.jsonl.gz")) == 1
    assert [text.split("m.jsonl:")[1][0] for text in summary.skipped] == ["2", "4", "3"]


def test_nothing_is_written_where_a_line_is_wrong(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav"), line("nowhere.wav"))
    with pytest.raises(ManifestError, match="nowhere.wav"):
        prepare(manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav"))
    (tmp_path / "out").write_text("a file stands where the folder should be")
    with pytest.raises(StorageError, match="cuts.jsonl.gz: cannot be written"):
        prepare(manifest, tmp_path / "out")


def low_word(path: Path) -> None:
    """One low sound, which does not show how wide the voice's band is."""
    noise(path, seconds=0.4, rate=8000)
    samples, _ = soundfile.read(path)
    soundfile.write(path, soxr.resample(samples, 8000, 16000), 16000)


def test_a_clip_is_measured_by_itself_unless_the_bandwidth_is_stated(tmp_path: Path) -> None:
    for number in range(5):
        noise(tmp_path / f"{number}.wav", seconds=0.9)
    low_word(tmp_path / "low.wav")
    lines = [line(f"{number}.wav") for number in range(5)]
    manifest = write_lines(tmp_path / "m.jsonl", *lines, line("low.wav"))
    summary = prepare(manifest, tmp_path)
    assert summary.splits["cuts"].bandwidths == {"wideband": 5, "narrowband": 1}
    assert any("1 narrowband and 5 wideband were measured" in note for note in summary.notes)
    stated = prepare(manifest, tmp_path, PrepareConfig(bandwidth="wideband"))
    assert stated.splits["cuts"].bandwidths == {"wideband": 6} and not stated.notes


def test_below_11_khz_a_file_is_narrowband_whatever_is_said(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", rate=10_999)
    noise(tmp_path / "b.wav", rate=11_000)
    said = [line(name, bandwidth="wideband") for name in ("a.wav", "b.wav")]
    prepare(write_lines(tmp_path / "m.jsonl", *said), tmp_path)
    clips = read_clips(tmp_path / "cuts.jsonl.gz")
    assert [clip.bandwidth for clip in clips] == ["narrowband", "wideband"]


def test_a_channel_can_be_picked_and_else_all_are_mixed(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", channels=2)
    noise(tmp_path / "b.wav", channels=2)
    write_lines(tmp_path / "m.jsonl", line("a.wav", channel=1), line("b.wav"))
    prepare(tmp_path / "m.jsonl", tmp_path)
    picked, mixed = cuts_of(tmp_path / "cuts.jsonl.gz")
    assert (picked.channel, picked.recording.num_channels) == (1, 2)
    assert (mixed.channel, mixed.recording.num_channels) == (0, 1)


def test_the_summary_reads_well(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    noise(tmp_path / "b.wav")
    rows = [line("a.wav", translation="ja", target_lang="de"), line("b.wav", text="", lang="fr")]
    summary = prepare(write_lines(tmp_path / "m.jsonl", *rows), tmp_path)
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(summary)
    printed = " ".join(captured.get().split())
    assert "cuts 2 (1 empty) 0.00 1 en 1, fr 1 wideband transcribe, translate en>de 1" in printed


def test_what_training_would_leave_out_is_told(tmp_path: Path) -> None:
    noise(tmp_path / "long.wav", seconds=30.5)
    noise(tmp_path / "whole.wav", seconds=30.0)
    noise(tmp_path / "short.wav", seconds=0.5)
    manifest = write_lines(
        tmp_path / "manifest.jsonl",
        line("long.wav"),
        line("whole.wav"),
        line("short.wav", text="a" * 26),
        line("long.wav", offset=2.0, duration=2.0, text="a" * 50),
        line("long.wav", offset=4.0, duration=2.0, text="a" * 51),
    )
    summary = prepare(manifest, tmp_path / "out")
    assert summary.splits["cuts"].utterances == 5
    window, hasty = summary.notes
    assert window.startswith("1 utterance (long) is longer than 30 s, the window of a model")
    assert hasty.startswith("2 utterances (short, long-00004000) are too short for the text")


def test_a_remark_names_a_few(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav", seconds=4.0)
    rows = [line("a.wav", offset=n / 2, duration=0.5, text="a" * 40) for n in range(8)]
    (remark,) = prepare(write_lines(tmp_path / "m.jsonl", *rows), tmp_path / "out").notes
    assert remark.startswith(
        "8 utterances (a, a-00000500, a-00001000, a-00001500, a-00002000, ...)"
    )


def test_speakers_that_are_not_stated_are_not_counted_as_none(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav", speaker=None))
    console = Console(file=StringIO(), width=120)
    console.print(prepare(manifest, tmp_path / "out"))
    assert "not stated" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_first_bad_line_is_cited_and_all_are_counted(tmp_path: Path) -> None:
    noise(tmp_path / "a.wav")
    manifest = write_lines(tmp_path / "m.jsonl", line("a.wav"), "{broken", line("a.wav", text=1))
    counted = r"m\.jsonl:2: .*\(2 lines cannot be used: .* `turnout prepare --skip-bad`\)$"
    with pytest.raises(ManifestError, match=counted):
        prepare(manifest, tmp_path / "out")


def test_a_name_that_no_cut_can_hold_is_refused(tmp_path: Path) -> None:
    """JSON is UTF-8, and the names of files need not be."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    noise(tmp_path / "named/a.wav").parent.rename(folder)
    write_lines(folder / "m.jsonl", line("a.wav"))
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: field 'audio_filepath': .* not UTF-8"):
        prepare(folder / "m.jsonl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
