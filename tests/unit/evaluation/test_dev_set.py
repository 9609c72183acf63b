from collections import Counter
from dataclasses import replace
from pathlib import Path
from weakref import ref

import pytest
import soundfile

from tests.unit.corpora.recordings import write_lines
from tests.unit.data.words import TEXTS, data_of, small_model, word, write_words
from turnout.audio import waveform
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import CorpusConfig, JoinConfig
from turnout.config.preparation import PrepareConfig
from turnout.corpora.clips import read_clips, read_corpora
from turnout.corpora.prepare import prepare
from turnout.data.common_clips import alone
from turnout.evaluation.dev_set import DevUtterance, _Reader, shared_dev_utterances
from turnout.guidance import Task


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_words(tmp_path_factory.mktemp("audio"), takes=8)


def dev_of(cuts: str, **changes) -> list[DevUtterance]:
    data = data_of(cuts, **changes)
    return shared_dev_utterances(data, small_model(), read_corpora(data.dev), alone)


def test_dev_utterances_never_change(cuts: str) -> None:
    first, again = dev_of(cuts), dev_of(cuts)
    for one, other in zip(first, again, strict=True):
        assert (one.clip.id, one.references) == (other.clip.id, other.references)
        assert (one.utterance.log_mel == other.utterance.log_mel).all()


def test_dev_utterances_come_in_both_bandwidths_and_tasks(cuts: str) -> None:
    found = dev_of(cuts)
    assert [item.utterance.request.bandwidth.value for item in found] == [
        "wideband", "narrowband",
    ] * 3  # fmt: skip
    for item in found:
        assert item.utterance.request.tasks == (Task.TRANSCRIBE, Task.TRANSLATE)
        spoken, translated = (reference.text for reference in item.references)
        assert 2 <= len(spoken.split()) <= 6
        assert " ".join(TEXTS[word] for word in spoken.split()) == translated
    wide, narrow = (item.utterance.log_mel[:, 70:] for item in found[:2])
    assert narrow.mean() < wide.mean() - 0.2 and narrow.mean() < -1.95


def test_dev_utterances_may_be_whole_and_narrow(tmp_path: Path) -> None:
    narrow = write_words(tmp_path, rate=8000)
    dev = (CorpusConfig(cuts=narrow),)
    found = dev_of(narrow, dev=dev, join=JoinConfig(max_words=1))
    assert len(found) == 3
    assert {len(item.utterance.log_mel) for item in found} == {100}
    assert {item.utterance.request.bandwidth.value for item in found} == {"narrowband"}


def test_a_dev_clip_that_cannot_be_read_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = write_words(tmp_path, takes=1)
    config = replace(data_of(broken), dev=(CorpusConfig(cuts=broken),), dev_utterances=10)
    (tmp_path / "dos-1-0.wav").write_bytes(b"")
    read = read_corpora(config.dev)
    assert len(shared_dev_utterances(config, small_model(), read, alone)) == 2 * 7
    assert "1 dev utterance of" in caplog.text and "dos-1-0.wav" in caplog.text


def test_a_dev_clip_longer_than_the_window_is_never_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cuts = write_words(tmp_path, takes=1)
    config = replace(data_of(cuts), dev=(CorpusConfig(cuts=cuts),), dev_utterances=10)
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    model = small_model(window_seconds=0.89)
    assert shared_dev_utterances(config, model, read_corpora(config.dev), alone) == []
    assert (
        "8 of 8 dev utterances" in caplog.text and "longer than the model's window" in caplog.text
    )
    assert "could not be read" not in caplog.text


def test_samples_are_kept_until_their_last_use(cuts: str) -> None:
    reader = _Reader(read_clips(cuts), [0, 1, 0])
    kept, gone = ref(reader.read(0)), ref(reader.read(1))
    assert kept() is not None and gone() is None
    last = ref(reader.read(0))
    assert kept() is None and last() is None


@pytest.mark.parametrize("join", [False, True])
def test_a_recording_is_decoded_once_however_its_clips_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, join: bool
) -> None:
    manifest = []
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", word("uno", 110.0, 64_000), 16_000)
        line = {"audio_filepath": f"{name}.wav", "text": "uno", "lang": "es", "speaker": name}
        manifest += [{**line, "offset": start, "duration": 1.0} for start in range(4)]
    cuts = prepare(
        write_lines(tmp_path / "m.jsonl", *manifest), tmp_path / "cuts", PrepareConfig(kind="nemo")
    ).splits["cuts"]
    decoded: Counter[str] = Counter()

    def counted(path: str, **options: object) -> Waveform:
        decoded[Path(path).name] += 1
        return read_audio(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(waveform, "read_audio", counted)
    corpus = CorpusConfig(cuts=str(cuts.path), join=join)
    found = dev_of(str(cuts.path), dev=(corpus,), dev_utterances=8)
    assert len({item.clip.id for item in found}) == 16
    assert set(decoded) == {"a.wav", "b.wav", "c.wav", "d.wav"}
    assert set(decoded.values()) == {1}
