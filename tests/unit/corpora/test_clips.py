import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from tests.unit.data.words import cut_of, write_words
from turnout.corpora.clips import (
    ClipReader,
    check_languages,
    development_clips,
    read_clips,
    training_clips,
)
from turnout.errors import AudioError, ConfigError, ManifestError
from turnout.guidance import Bandwidth


def test_cuts_become_clips(tmp_path: Path) -> None:
    clips = read_clips(write_words(tmp_path, split="train"))
    assert len(clips) == 24
    first = clips[0]
    assert (first.text, first.language, first.speaker, first.split) == ("uno", "es", "s0", "train")
    assert first.translations == {"en": "one"}
    assert first.bandwidth is Bandwidth.WIDEBAND


def test_a_clip_knows_whether_it_is_all_of_its_recording(tmp_path: Path) -> None:
    cut = cut_of(tmp_path / "a.wav", "uno", "s", 16_000)
    cuts = [cut, cut.truncate(duration=0.99), cut.truncate(duration=0.9), cut.truncate(offset=0.1)]
    unknown = cut_of(tmp_path / "a.wav", "uno", "s", 16_000).truncate(duration=0.9)
    unknown.recording.duration = float("nan")
    named = [part.with_id(str(number)) for number, part in enumerate([*cuts, unknown])]
    CutSet.from_cuts(named).to_file(tmp_path / "c.jsonl.gz")
    whole = [clip.whole for clip in read_clips(tmp_path / "c.jsonl.gz")]
    assert whole == [True, True, False, False, False]


def test_a_recording_may_be_as_long_as_its_cut_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training has no option that would allow more, and `prepare` had one."""
    monkeypatch.setattr("turnout.corpora.clips.MAX_DURATION_SECONDS", 0.5)
    cuts = write_words(tmp_path)
    clip = read_clips(cuts)[0]
    assert clip.recording_duration > 0.5
    assert len(ClipReader().read(clip)) > 8_000
    with pytest.raises(AudioError, match=r"longer than 0 s, and than its cut says: prepare .*anew"):
        ClipReader().read(replace(clip, recording_duration=0.3))


def test_eight_kilohertz_is_narrowband(tmp_path: Path) -> None:
    clips = read_clips(write_words(tmp_path, rate=8000))
    assert {clip.bandwidth for clip in clips} == {Bandwidth.NARROWBAND}


def test_the_stated_bandwidth_counts(tmp_path: Path) -> None:
    cut = cut_of(tmp_path / "a.wav", "uno", "s", 16_000, bandwidth="narrowband")
    CutSet.from_cuts([cut]).to_file(tmp_path / "c.jsonl.gz")
    assert read_clips(tmp_path / "c.jsonl.gz")[0].bandwidth is Bandwidth.NARROWBAND


def test_what_the_cut_says_counts_where_its_supervision_says_nothing(tmp_path: Path) -> None:
    custom = {"split": "dev", "bandwidth": "narrowband", "translations": {"de": "eins"}}
    cut = replace(cut_of(tmp_path / "a.wav", "uno", "s", 16_000, split="train"), custom=custom)
    CutSet.from_cuts([cut]).to_file(tmp_path / "c.jsonl.gz")
    (clip,) = read_clips(tmp_path / "c.jsonl.gz")
    assert (clip.bandwidth, clip.split) == (Bandwidth.NARROWBAND, "train")
    assert clip.translations == {"en": "one"}


def test_sources_that_run_a_shell_are_refused(tmp_path: Path) -> None:
    cut = cut_of(tmp_path / "a.wav", "uno", "s", 16_000)
    cut.recording.sources[0].type = "command"
    cut.recording.sources[0].source = f"touch {tmp_path / 'canary'}"
    CutSet.from_cuts([cut]).to_file(tmp_path / "c.jsonl.gz")
    with pytest.raises(ManifestError, match=r"c\.jsonl\.gz:1: field 'recording\.sources'.*command"):
        read_clips(tmp_path / "c.jsonl.gz")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("field", ["text", "language"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    cut = cut_of(tmp_path / "a.wav", "uno", "s", 16_000)
    setattr(cut.supervisions[0], field, None)
    CutSet.from_cuts([cut]).to_file(tmp_path / "c.jsonl.gz")
    with pytest.raises(ManifestError, match=f":1: field '{field}': missing in cut 'a'"):
        read_clips(tmp_path / "c.jsonl.gz")


def test_missing_and_broken_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_clips(tmp_path / "none.jsonl.gz")
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no gzip at all")
    with pytest.raises(ManifestError, match=r"bad\.jsonl\.gz: not a lhotse manifest") as caught:
        read_clips(tmp_path / "bad.jsonl.gz")
    assert "\n" not in str(caught.value)
    with gzip.open(tmp_path / "empty.jsonl.gz", "wb"):
        pass
    with pytest.raises(ManifestError, match=r"empty\.jsonl\.gz: holds no cut$"):
        read_clips(tmp_path / "empty.jsonl.gz")


def test_held_out_splits_are_never_trained_on(tmp_path: Path) -> None:
    kept = read_clips(write_words(tmp_path / "a", split="train-clean"))
    dev = read_clips(write_words(tmp_path / "b", split="dev"))
    test = read_clips(write_words(tmp_path / "c", split="test"))
    assert training_clips([*kept, *dev, *test]) == kept
    assert development_clips([*kept, *dev, *test]) == dev
    assert development_clips(test) == test


@pytest.mark.parametrize(
    ("split", "kind"),
    [
        ("val", "dev"), ("devel", "dev"), ("Validation", "dev"), ("valid.other", "dev"),
        ("devset", "dev"), ("Test", "test"), ("eval", "test"), ("clean.test", "test"),
        ("testset", "test"), ("train", None), ("Training", None), ("cuts", None), (None, None),
    ],
)  # fmt: skip
def test_however_a_held_out_split_is_called_it_is_held_out(
    tmp_path: Path, split: str | None, kind: str | None
) -> None:
    clips = [replace(clip, split=split) for clip in read_clips(write_words(tmp_path))]
    other = [replace(clip, split="test") for clip in clips]
    assert training_clips(clips) == ([] if kind else clips)
    assert development_clips([*clips, *other]) == (clips if kind == "dev" else [*clips, *other])


def test_a_segment_of_a_recording_is_read(tmp_path: Path) -> None:
    write_words(tmp_path)
    cut = cut_of(tmp_path / "uno-0-0.wav", "uno", "s", 16_000)
    part = cut.truncate(offset=0.25, duration=0.5, preserve_id=True)
    CutSet.from_cuts([part]).to_file(tmp_path / "c.jsonl.gz")
    reader = ClipReader()
    whole = reader.read(read_clips(tmp_path / "cuts.jsonl.gz")[0])
    samples = reader.read(read_clips(tmp_path / "c.jsonl.gz")[0])
    np.testing.assert_array_equal(samples, whole[4000:12000])


def test_a_cut_behind_the_end_is_an_audio_error(tmp_path: Path) -> None:
    cuts = write_words(tmp_path)
    clip = read_clips(cuts)[0]
    late = type(clip)(**{**vars(clip), "start": 5.0})
    with pytest.raises(AudioError, match="ends before 5.00 s"):
        ClipReader().read(late)


def test_a_recording_that_lacks_its_end_is_an_audio_error(tmp_path: Path) -> None:
    clip = read_clips(write_words(tmp_path))[0]
    samples, rate = soundfile.read(clip.path)
    soundfile.write(clip.path, samples[:15_000], rate)
    assert len(ClipReader().read(clip)) == 15_000
    soundfile.write(clip.path, samples[:12_000], rate)
    with pytest.raises(AudioError, match="it is cut short: its last 0.25 s are missing"):
        ClipReader().read(clip)


def test_a_recording_at_another_rate_than_its_cut_says_is_an_audio_error(tmp_path: Path) -> None:
    """Its header changed, its size and its number of samples did not."""
    clip = read_clips(write_words(tmp_path))[0]
    samples, rate = soundfile.read(clip.path)
    soundfile.write(clip.path, samples, rate // 2)
    with pytest.raises(AudioError, match="its sampling rate is 8000 Hz, that of its cut 16000 Hz"):
        ClipReader().read(clip)


def test_a_cut_that_lhotse_would_resample_is_read_as_it_is(tmp_path: Path) -> None:
    write_words(tmp_path, rate=8000)
    cut = cut_of(tmp_path / "uno-0-0.wav", "uno", "s", 8000)
    CutSet.from_cuts([cut.resample(16_000)]).to_file(tmp_path / "c.jsonl.gz")
    assert len(ClipReader().read(read_clips(tmp_path / "c.jsonl.gz")[0])) == 16_000


def test_unknown_languages_are_named(tmp_path: Path) -> None:
    clips = read_clips(write_words(tmp_path))
    with pytest.raises(
        ConfigError, match="spoken in es, and model.vocabulary.languages has ar, en"
    ):
        check_languages(clips, "cuts", ("ar", "en"))


def test_nobody_is_nobody(tmp_path: Path) -> None:
    cuts = [cut_of(tmp_path / f"{n}.wav", "uno", speaker, 16_000)
            for n, speaker in enumerate(("anna", "", "  ", None))]  # fmt: skip
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    clips = read_clips(tmp_path / "cuts.jsonl.gz")
    assert [clip.speaker for clip in clips] == ["anna", None, None, None]
    assert len({clip.voice for clip in clips}) == 4
