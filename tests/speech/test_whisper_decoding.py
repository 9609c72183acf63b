"""whisper-base on real speech: words and their times, languages, prompts. The converted checkpoint
is made of the weights in TURNOUT_TEST_WHISPER."""

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

import turnout

WEIGHTS = Path(os.environ.get("TURNOUT_TEST_WHISPER", "nowhere")) / "base"
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "data" / "librispeech.tar"
COUNT = 2

pytestmark = [
    pytest.mark.skipif(
        not WEIGHTS.is_dir(), reason="TURNOUT_TEST_WHISPER names no folder of Whisper's weights"
    ),
    pytest.mark.skipif(not CORPUS.is_file(), reason="../shared/data has no librispeech.tar"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> turnout.Transcriber:
    convert = pytest.importorskip("turnout.hub.convert")
    folder = tmp_path_factory.mktemp("whisper") / "base"
    convert.write_checkpoint(convert.read_checkpoint(WEIGHTS), folder)
    return turnout.load(folder)


@pytest.fixture(scope="module")
def spoken() -> list[tuple[bytes, str]]:
    """Short utterances of dev and what is said in them."""
    with tarfile.open(CORPUS) as archive:
        manifest = archive.extractfile("librispeech/manifest.jsonl")
        assert manifest is not None
        rows = [json.loads(line) for line in manifest.read().decode().splitlines()]
        short = [row for row in rows if row["split"] == "dev" and 5 < row["duration"] < 9]
        # Of some headings, whisper-base writes the number alone.
        short = [row for row in short if "chapter" not in row["text"].lower()]
        files = [archive.extractfile(f"librispeech/{row['audio_filepath']}") for row in short]
        return [
            (file.read(), row["text"].lower())
            for file, row in zip(files[:COUNT], short, strict=False)
            if file is not None
        ]


def letters(text: str) -> list[str]:
    kept = "".join(letter for letter in text.lower() if letter.isalpha() or letter in " '")
    return kept.split()


def test_words_their_times_and_what_is_known_of_them(
    model: turnout.Transcriber, spoken: list[tuple[bytes, str]]
) -> None:
    for audio, text in spoken:
        found = model.transcribe(BytesIO(audio), word_timestamps=True)
        (segment,) = found.segments
        same = set(letters(found.text)) & set(letters(text))
        assert len(same) >= 0.6 * len(set(letters(text))), found.text
        assert found.language == "en"
        assert found.language_probability is not None and found.language_probability > 0.9
        assert segment.no_speech_prob is not None and segment.no_speech_prob < 0.5
        assert segment.temperature == 0.0
        assert " ".join(word.word for word in segment.words) == segment.text
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times) and times[-1] <= found.duration_seconds
        assert (segment.start, segment.end) == (times[0], times[-1])


def test_a_beam_and_a_previous_text(
    model: turnout.Transcriber, spoken: list[tuple[bytes, str]]
) -> None:
    audio, text = spoken[0]
    asked = {"beam_size": 3, "condition_on_previous_text": True, "initial_prompt": text}
    found = model.transcribe(BytesIO(audio), language="en", **asked)  # type: ignore[call-overload]
    assert len(set(letters(found.text)) & set(letters(text))) >= 0.6 * len(set(letters(text)))
    assert found.text.islower() or found.text[1:].islower(), "as the text before it is written"


def test_a_sentence_behind_a_heading_is_not_lost(model: turnout.Transcriber) -> None:
    """Its text ends at the pause behind "Chapter 11", four seconds before the speech does."""
    with tarfile.open(CORPUS) as archive:
        file = archive.extractfile("librispeech/audio/train-clean-100/730-358-0000.opus")
        assert file is not None
        heard = model.transcribe(file.read(), language="en")
    first, rest = heard.segments
    assert letters(first.text) == ["chapter"]
    assert letters(rest.text)[:6] == ["it", "is", "with", "considerable", "difficulty", "that"]
    assert first.end == rest.start
    assert 0.7 < first.end < 2.5
