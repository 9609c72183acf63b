from pathlib import Path

import numpy as np
import pytest
import soundfile

from turnout.config import TranscriptionOptions
from turnout.errors import ManifestError, UsageError
from turnout.evaluation import references
from turnout.evaluation.references import Data, read_data


@pytest.fixture
def numbered(monkeypatch):
    """Every source holds the numbers 0 to 99."""
    monkeypatch.setattr(references, "_read", lambda *_: Data(clips=tuple(range(100))))


def test_a_limit_draws_the_same_ones_in_their_order(numbered):
    first = read_data([Path("a")], 10).clips
    assert first == read_data([Path("a")], 10).clips
    assert list(first) == sorted(first)
    assert len(first) == 10
    assert first != tuple(range(10))


def test_a_limit_holds_for_each_source(numbered):
    assert len(read_data([Path("a"), Path("b")], 10).clips) == 20
    assert len(read_data([Path("a")], 1000).clips) == 100
    assert len(read_data([Path("a")]).clips) == 100


def test_a_limit_below_one_is_refused(numbered):
    with pytest.raises(UsageError, match="--limit is 0: it must be at least 1"):
        read_data([Path("a")], 0)


def test_missing_cuts_are_named():
    with pytest.raises(ManifestError, match=r"no\.jsonl\.gz: no such file"):
        read_data([Path("no.jsonl.gz")])


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
    assert [Path(clip.path).stem for clip in read_data([table]).clips] == scored
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
            read_data([unstated], None, TranscriptionOptions(**given))
    options = {"language": "en", "target_language": "de"}
    (clip,) = read_data([unstated], None, TranscriptionOptions(**options)).clips
    assert (clip.language, dict(clip.translations)) == ("en", {"de": "Wort"})
    with pytest.raises(ManifestError, match="longer than the allowed 1 s: .* raise max_duration"):
        read_data([unstated], None, TranscriptionOptions(max_duration=1.0, **options))


def test_a_bad_line_is_named_and_the_others_are_scored(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(8_000, 0.1), 8_000)
    (tmp_path / "b.wav").write_text("no sound")
    table = tmp_path / "a.csv"
    table.write_text("path,text,language\na.wav,word,en\nb.wav,word,en\nc.wav,word,en\n")
    data = read_data([table])
    assert [Path(clip.path).stem for clip in data.clips] == ["a"]
    places = [line.split(": ")[0] for line in data.skipped]
    assert places == [f"{table}:3", f"{table}:4"]
    assert not any("--skip-bad" in line for line in data.skipped)  # which `evaluate` has not


def test_what_is_remarked_of_data_is_kept(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(8_000, 0.1), 8_000)
    (tmp_path / "a.csv").write_text("path,text,language\n" + "a.wav,word,en\n" * 2)
    assert read_data([tmp_path / "a.csv"]).notes == ("1 of 2 lines named audio of an earlier line",)
