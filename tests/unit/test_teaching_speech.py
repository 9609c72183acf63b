"""What benchmarks/teach.py teaches has nothing in common with what it is tested on."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from teach_speech import (
    GERMAN_HELD,
    cuts_of,
    english_of,
    german_places,
    german_train,
    joined,
    name_of,
    of_sets,
    of_split,
    prepared,
    split_of,
)
from whisper_speech import VOICES, Spoken

from turnout.corpora.clips import read_clips

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def prompt(name: str, text: str, language: str = "es") -> Spoken:
    samples = np.zeros(16, np.float32)
    return Spoken(f"prompts/{language}/{name}", f"prompts-{language}", "x", language, text, samples)


def named(split: str, count: int) -> list[str]:
    names = (f"digits/{number}" for number in range(200))
    return [name for name in names if split_of(name) == split][:count]


def test_a_train_prompt_that_says_what_dev_or_test_say_is_left_out() -> None:
    (in_test,), (in_dev,) = named("test", 1), named("dev", 1)
    one, two, three = named("train", 3)
    spoken = [
        prompt(in_test, "¿Dónde está el número?"),
        prompt(in_dev, "Gracias."),
        prompt(one, "donde esta el numero"),
        prompt(two, "GRACIAS"),
        prompt(three, "adiós"),
    ]
    assert [name_of(prompt) for prompt in of_split(spoken, "train")] == [three]
    assert [name_of(prompt) for prompt in of_split(spoken, "test")] == [in_test]
    assert [name_of(prompt) for prompt in of_split(spoken, "dev")] == [in_dev]


def test_german_of_dev_test_and_training_are_apart() -> None:
    drawn = [{"id": number, "text": f"Satz {number}"} for number in range(300)]
    drawn.append({"id": 300, "text": "SATZ 7!"})
    dev, test = (
        {row["id"] for row in drawn[slice(*german_places(split, 79))]} for split in ("dev", "test")
    )
    assert len(dev) == len(test) == 79
    assert not dev & test
    taught = [row["id"] for row in german_train(drawn)]
    assert taught == list(range(2 * GERMAN_HELD, 300))


def test_more_german_than_is_held_back_is_refused() -> None:
    with pytest.raises(SystemExit, match="--each is 101: at most 100"):
        german_places("test", 101)


def test_real_utterances_of_dev_are_not_those_of_test() -> None:
    if not (DATA / "kerstin_de.tar").is_file():
        pytest.skip("real recordings are needed: kerstin_de.tar in ../shared/data")
    found = {split: {one.id for one in of_sets(DATA, split, 3)} for split in ("dev", "test")}
    assert [len(ids) for ids in found.values()] == [9, 9]
    assert not found["dev"] & found["test"]


def test_words_of_one_speaker_make_an_utterance() -> None:
    words = [
        Spoken(f"{speaker}/{n}", "x", speaker, "ar", str(n), np.full(8, n + 1, np.float32))
        for n in range(7)
        for speaker in "ab"
    ]
    first, second = joined(words)
    assert [(one.id, one.speaker) for one in (first, second)] == [("a/0", "a"), ("b/0", "b")]
    assert first.text == "0 1 2 3 4"
    assert len(first.samples) == 5 * 8 + 4 * 4800
    assert set(first.samples[:8]) == {1.0}
    assert set(first.samples[-8:]) == {5.0}
    assert not first.samples[8:4808].any()


def test_cuts_of_other_utterances_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl.gz").write_bytes(b"")
    (tmp_path / "prompts.csv").write_text(
        "path,text,language,speaker,split\na.wav,eins,de,x,train\n"
    )
    cuts = prepared(tmp_path, [("a.wav", "eins", "de", "x")])
    assert cuts == tmp_path / "train.jsonl.gz"
    with pytest.raises(SystemExit, match="was made of other utterances than now: remove it"):
        prepared(tmp_path, [("b.wav", "eins", "de", "x")])


def test_prompts_have_the_english_text_of_their_id(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"a": "One two three", "b": "One two"}
    monkeypatch.setattr("teach_speech.texts_of", lambda *_: texts)
    spoken = [prompt(name, "uno") for name in "abc"]
    assert english_of(Path(), spoken) == {"prompts/es/a": "One two three"}


def test_where_both_tasks_are_taught_cuts_have_the_english_text_beside_the_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = named("train", 2)
    voice = tmp_path / "usr/share/asterisk/sounds" / VOICES["es"]
    for name in (one, two):
        (voice / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(voice / f"{name}.wav", np.full(8000, 0.1), 8000)
    spoken = [prompt(one, "uno dos tres"), prompt(two, "uno")]
    monkeypatch.setattr("teach_speech.prompts_of", lambda *_: spoken)
    monkeypatch.setattr("teach_speech.texts_of", lambda *_: {one: "One two three", two: "One"})
    found = {
        both: read_clips(cuts_of(tmp_path, tmp_path, "es", tmp_path / "corpora", both=both))
        for both in (False, True)
    }
    assert [clip.text for clip in found[False]] == [clip.text for clip in found[True]]
    assert all(not clip.translations for clip in found[False])
    assert {clip.text: dict(clip.translations) for clip in found[True]} == {
        "uno dos tres": {"en": "One two three"}, "uno": {},
    }  # fmt: skip
