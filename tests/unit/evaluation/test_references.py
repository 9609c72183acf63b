from pathlib import Path

import numpy as np
import pytest
import soundfile

from turnout.config import TranscriptionOptions
from turnout.errors import ManifestError, UsageError
from turnout.evaluation import references
from turnout.evaluation.references import clips_of


@pytest.fixture
def numbered(monkeypatch):
    """Every source holds the numbers 0 to 99."""
    monkeypatch.setattr(references, "_read", lambda *_: list(range(100)))


def test_a_limit_draws_the_same_ones_in_their_order(numbered):
    first = clips_of([Path("a")], 10)
    assert first == clips_of([Path("a")], 10)
    assert first == sorted(first)
    assert len(first) == 10
    assert first != list(range(10))


def test_a_limit_holds_for_each_source(numbered):
    assert len(clips_of([Path("a"), Path("b")], 10)) == 20
    assert len(clips_of([Path("a")], 1000)) == 100
    assert len(clips_of([Path("a")])) == 100


def test_a_limit_below_one_is_refused(numbered):
    with pytest.raises(UsageError, match="--limit is 0: it must be at least 1"):
        clips_of([Path("a")], 0)


def test_missing_cuts_are_named():
    with pytest.raises(ManifestError, match=r"no\.jsonl\.gz: no such file"):
        clips_of([Path("no.jsonl.gz")])


@pytest.mark.parametrize(
    ("splits", "scored", "told"),
    [
        (("train", "test"), ["a-1"], ": scored: test; not: train"),
        (("train-clean", "Test-clean"), ["a-1"], ": scored: Test-clean; not: train-clean"),
        (("evaluation", "dev"), ["a-0"], ": scored: test; not: dev"),
        (("train", "dev"), ["a-0", "a-1"], ": has no test split: all of train, dev are scored"),
        (("test", "test"), ["a-0", "a-1"], ""),
        ((), ["a-0", "a-1"], ""),
    ],
)
def test_a_table_is_prepared_first_and_its_test_split_scored(
    tmp_path, caplog, splits, scored, told
):
    lines = ["path,text,language,speaker" + (",split" if splits else "")]
    for number, split in enumerate(splits or ("", "")):
        soundfile.write(tmp_path / f"a-{number}.wav", np.full(8_000, 0.1), 8_000)
        lines.append(f"a-{number}.wav,word,en,s{number}" + (f",{split}" if splits else ""))
    table = tmp_path / "a.csv"
    table.write_text("\n".join(lines) + "\n")
    assert [Path(clip.path).stem for clip in clips_of([table])] == scored
    assert [message.partition("a.csv")[2][: len(told)] for message in caplog.messages] == (
        [told] if told else []
    )
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".wav", ".wav"]


@pytest.fixture
def unstated(tmp_path):
    """A table without languages, of a recording of two seconds."""
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.1), 8_000)
    (tmp_path / "a.csv").write_text("path,text,translation\na.wav,word,Wort\n")
    return tmp_path / "a.csv"


def test_options_that_an_error_advises_are_there(unstated):
    for given, advised in (({}, "--target-language"), ({"target_language": "de"}, "--language")):
        with pytest.raises(ManifestError, match=advised):
            clips_of([unstated], None, TranscriptionOptions(**given))
    options = {"language": "en", "target_language": "de"}
    (clip,) = clips_of([unstated], None, TranscriptionOptions(**options))
    assert (clip.language, dict(clip.translations)) == ("en", {"de": "Wort"})
    with pytest.raises(ManifestError, match="longer than the allowed 1 s: .* raise max_duration"):
        clips_of([unstated], None, TranscriptionOptions(max_duration=1.0, **options))
