"""What we read of cuts is what lhotse, whose format it is, reads of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut
from lhotse.audio import AudioSource

from tests.unit.corpora.recordings import noise, write_lines
from tests.unit.data.words import cut_of
from turnout.config import CorpusConfig
from turnout.corpora.clips import read_clips, read_corpora
from turnout.corpora.cuts import Cut, read_cuts
from turnout.errors import ManifestError


def plain(folder: Path) -> MonoCut:
    noise(folder / "a.wav", seconds=1.0)
    return cut_of(folder / "a.wav", "uno", "s", 16_000, split="train", bandwidth="narrowband")


def with_channels(cut: MonoCut) -> MonoCut:
    """The second channel of a file of two."""
    assert cut.recording is not None
    source = replace(cut.recording.sources[0], channels=[0, 1])
    recording = replace(cut.recording, sources=[source], channel_ids=[0, 1])
    return replace(cut, recording=recording, channel=1)


def of_two_files(cut: MonoCut) -> MonoCut:
    """Its second channel in a file of its own."""
    assert cut.recording is not None
    other = AudioSource(type="file", channels=[1], source="b.wav")
    recording = replace(cut.recording, sources=[*cut.recording.sources, other], channel_ids=[0, 1])
    return replace(cut, recording=recording, channel=1)


def with_custom_fields(cut: MonoCut) -> MonoCut:
    """Fields of the cut's own, one of them the supervision's as well."""
    return replace(cut, custom={"split": "dev", "quality": 3, "nested": {"a": [1]}})


def with_two_supervisions(cut: MonoCut) -> MonoCut:
    """One of which began before the cut does."""
    (said,) = cut.supervisions
    return replace(cut, supervisions=[said, replace(said, id="other", start=-0.25, text="dos")])


CHANGES: dict[str, Callable[[MonoCut], MonoCut]] = {
    "plain": lambda cut: cut,
    "truncated": lambda cut: cut.truncate(offset=0.25, duration=0.5),
    "resampled": lambda cut: cut.resample(8_000),
    "louder": lambda cut: cut.perturb_volume(2.0),
    "two channels": with_channels,
    "two files": of_two_files,
    "custom fields": with_custom_fields,
    "two supervisions": with_two_supervisions,
    "of whole numbers": lambda cut: replace(cut, start=0, duration=1),
}


def read_by_lhotse(path: Path) -> list[object]:
    """What both can say of a cut, by lhotse."""
    found: list[object] = []
    for cut in CutSet.from_file(path):
        recording = cut.recording
        (source,) = (s for s in recording.sources if cut.channel in s.channels)
        found.append((
            cut.id, repr(cut.start), repr(cut.duration), recording.sampling_rate,
            bool(recording.transforms), Path(source.source).name,
            source.channels.index(cut.channel) if len(source.channels) > 1 else None,
            [(s.id, s.start, s.duration, s.text, s.language, s.speaker, s.custom["translations"],
              s.custom) for s in cut.supervisions],
            cut.custom or {},
        ))  # fmt: skip
    return found


def read_by_us(path: Path) -> list[object]:
    """The same, by `read_cuts`."""
    found: list[object] = []
    for cut in read_cuts(path):
        assert isinstance(cut, Cut)
        found.append((
            cut.id, repr(cut.start), repr(cut.duration), cut.sampling_rate, cut.transformed,
            cut.audio.name, cut.channel,
            [(s.id, s.start, s.duration, *map(s.fields.text, ("text", "language", "speaker")),
              s.custom.translations(), s.custom.values) for s in cut.supervisions],
            cut.custom,
        ))  # fmt: skip
    return found


@pytest.mark.parametrize("name", ["cuts.jsonl.gz", "cuts.jsonl"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_lhotse_reads_of_a_file_is_what_we_read(
    tmp_path: Path, change: str, name: str
) -> None:
    cut = CHANGES[change](plain(tmp_path))
    CutSet.from_cuts([cut, replace(cut, id="again")]).to_file(tmp_path / name)
    assert read_by_us(tmp_path / name) == read_by_lhotse(tmp_path / name)


def test_recordings_are_found_beside_the_cuts_or_from_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = plain(tmp_path / "corpus").to_dict()
    cut["recording"]["sources"][0]["source"] = "a.wav"
    cuts = write_lines(tmp_path / "corpus" / "cuts.jsonl", cut)
    assert read_clips(cuts)[0].path == str(tmp_path / "corpus" / "a.wav")
    monkeypatch.chdir(tmp_path / "corpus")
    elsewhere = write_lines(tmp_path / "elsewhere" / "cuts.jsonl", cut)
    assert read_clips(elsewhere)[0].path == "a.wav"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "MixedCut"}, "cuts.jsonl:2: field 'type': is MixedCut: MonoCut was expected"),
        ({"supervisions": []}, "cuts.jsonl:2: each cut must be a MonoCut .*(cut 'a')"),
        ({"recording": None}, "cuts.jsonl:2: field 'recording': is missing"),
        ({"start": None}, "cuts.jsonl:2: field 'start': or 'duration' is no time"),
        ({"start": "0"}, "cuts.jsonl:2: field 'start': or 'duration' is no time"),
        ({"duration": True}, "cuts.jsonl:2: field 'start': or 'duration' is no time"),
        ({"supervisions": 7}, r"cuts.jsonl: not a lhotse manifest of cuts \(line 2 is no cut"),
    ],
)
def test_a_cut_that_cannot_be_used_is_cited(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    cut = plain(tmp_path).to_dict()
    with pytest.raises(ManifestError, match=message):
        read_clips(write_lines(tmp_path / "cuts.jsonl", cut, {**cut, **change}))


def test_each_file_of_a_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = write_lines(tmp_path / "cuts.jsonl", plain(tmp_path).to_dict())
    loads, parsed = json.loads, []
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(text) or loads(text))
    corpora = (CorpusConfig(cuts=str(cuts)), CorpusConfig(cuts=str(cuts), join=True))
    assert [len(clips) for clips in read_corpora(corpora).values()] == [1]
    assert len(parsed) == 1
