"""The trainings and figures of benchmarks/teach.py."""

import gzip
import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import kept_trainings
import numpy as np
import pytest
import teach
import teach_runs
from heard import Heard
from teach import file_name, rows_asked
from teach_heard import Listener, attended, encoder_share, equal, same_arrays
from teach_judged import columns_of, group_of, is_taught, judged
from teach_runs import Wish, corpora_of, purpose_of, recipe_of, trained, trainings
from teach_speech import ordinary
from teach_telephone import when_of
from whisper_speech import Spoken

from turnout.backends.paths import Part
from turnout.config import TrainConfig
from turnout.config.plain import from_plain
from turnout.decoding.backend import Encoded
from turnout.guidance import Guide, Window

WISH = Wish(taught=("es", "fr"), steps=40)


def spoken(source: str, name: str, text: str, language: str) -> Spoken:
    return Spoken(f"{source}/{name}", source, source, language, text, np.zeros(16, np.float32))


def prompt(language: str, name: str, text: str) -> Spoken:
    place, source = f"prompts/{language}/{name}", f"prompts-{language}"
    return Spoken(place, source, source, language, text, np.zeros(16, np.float32))


def cuts(folder: Path, name: str, *seconds: float) -> Path:
    path = folder / f"{name}.jsonl.gz"
    lines = "".join(json.dumps({"id": str(n), "duration": s}) + "\n" for n, s in enumerate(seconds))
    path.write_bytes(gzip.compress(lines.encode()))
    return path


def test_corpora_are_heard_equally_long(tmp_path: Path) -> None:
    """What no window holds does not count."""
    paths = [cuts(tmp_path, "es", 10.0, 20.0, 31.0), cuts(tmp_path, "fr", 5.0, 5.0)]
    (training,) = trainings("sharing", WISH)
    found = corpora_of(paths, training.window)
    assert [one["weight"] for one in found] == [1.0, 3.0]
    assert [one["pack"] for one in found] == [True, True]
    assert training.steps == 80


def test_capitals_are_spelled_as_whisper_writes() -> None:
    assert ordinary("I SAID I'M THE INN'S") == "I said I'm the inn's"
    assert ordinary("Zero one. OK") == "Zero one. OK"


def test_narrowband_english_is_taught_apart_from_english() -> None:
    by_telephone, wide = (
        spoken(source, "1", "well", "en") for source in ("telephone", "librispeech")
    )
    assert [is_taught(one, ("telephone",)) for one in (by_telephone, wide)] == [True, False]
    assert when_of("telephone") == {Guide.LANGUAGE: "en", Guide.BANDWIDTH: "narrowband"}
    assert when_of("es") == {Guide.LANGUAGE: "es"}


def test_a_line_is_taught_from_calls_or_from_what_training_sends_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teach, "cuts_by_telephone", lambda places: places.runs / "calls")
    monkeypatch.setattr(teach, "cuts_of", lambda *given, **_: given[3] / given[2])
    words = "teach.py --weights w --prompts p --runs /runs --train telephone"
    found = []
    for more in ("", " --set data.augment.narrowband=1 --label sent"):
        monkeypatch.setattr(sys, "argv", (words + more).split())
        found.append(teach.taught_of("telephone", teach.read_arguments()))
    assert found == [Path("/runs/calls"), Path("/runs/corpora/en")]


def test_of_one_language_hard_sharing_is_its_experts_training() -> None:
    one = Wish(taught=("ar",), steps=40)
    assert trainings("sharing", one) == trainings("experts", one)
    assert trainings("sharing", WISH) != trainings("experts", WISH)


def test_both_tasks_are_taught_in_folders_of_their_own() -> None:
    for row, name in (("experts", "experts-es-9-both-x"), ("finetuning", "finetuning-es-9-both-x")):
        (made,) = trainings(row, Wish(taught=("es",), steps=9, label="x", both=True))
        assert made.name.replace("-rate2.5e-05", "") == name


def test_the_row_window_learns_and_hears_windows_that_end_with_the_speech(tmp_path: Path) -> None:
    (training,) = trainings("window", WISH)
    assert training.corpora == ("es", "fr", "it", "ru", "en", "de")
    assert training.steps == 240
    assert training.window is Window.SPEECH
    paths = [cuts(tmp_path, name, 10.0) for name in training.corpora]
    recipe = recipe_of(training, tmp_path, paths, tmp_path)
    assert recipe["data"]["window"] == "speech"
    assert all("pack" not in one for one in recipe["data"]["train"])
    from_plain(TrainConfig, recipe)
    changed = Wish(taught=("es",), steps=40, changes={"data.window": "speech"}, label="short")
    (expert,) = trainings("experts", changed)
    assert expert.window is Window.SPEECH
    assert "pack" not in corpora_of(paths[:1], expert.window)[0]
    assert purpose_of(training) == ("window", {Guide.WINDOW: "speech"})
    assert purpose_of(expert) == ("es", {Guide.LANGUAGE: "es"})


@pytest.mark.parametrize(
    ("rows", "changes", "found"),
    [
        ("experts", {}, ["base", "experts"]),
        ("window", {}, ["base", "base-speech", "window"]),
        ("sharing", {"data.window": "speech"}, ["base", "base-speech", "sharing"]),
    ],
)
def test_a_row_of_such_windows_stands_beside_the_base_with_both(
    rows: str, changes: dict[str, str], found: list[str]
) -> None:
    wish = Wish(taught=("es",), steps=40, changes=changes)
    assert rows_asked(Namespace(rows=rows), wish) == found


def test_a_listener_asks_for_the_window_that_it_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def transcribe(_: object, **options: object) -> SimpleNamespace:
        asked.append(options)
        return SimpleNamespace(text="uno")

    monkeypatch.setattr("teach_heard.loaded", lambda *_: SimpleNamespace(transcribe=transcribe))
    for window in Window:
        assert Listener("x", Path(), 1, window=window).hear(prompt("es", "a", "uno")) == "uno"
    assert [options["window"] for options in asked] == ["padded", "speech"]


def test_the_encoders_time_is_of_short_utterances_and_not_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("teach_heard.time.process_time", lambda: next(clock))
    lengths: list[int] = []

    def listened(own: Listener, spoken: Spoken) -> list[tuple[int, Window]]:
        lengths.append(len(spoken.samples))
        return [(0, own.window)]

    def encode(own: Listener, *_segment: object) -> None:
        for _ in range(9 if own.window is Window.PADDED else 2):
            next(clock)

    monkeypatch.setattr(Listener, "listened", listened)
    monkeypatch.setattr(Listener, "encode", encode)
    short = [prompt("es", str(n), "uno") for n in range(24)]
    long = replace(short[0], samples=np.zeros(11 * 16_000, np.float32))
    one, other = (Listener("x", Path(), 1, window=window) for window in Window)
    assert encoder_share(one, other, [long, *short]) == {
        "utterances": 2, "padded": 20, "speech": 6, "ratio": 0.3,
    }  # fmt: skip
    assert max(lengths) <= 10 * 16_000
    assert encoder_share(one, other, short[:1]) == {}
    assert encoder_share(one, replace(other, device="cuda"), short) == {}


def test_finetuning_has_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    wish = Wish(
        taught=("es",),
        steps=40,
        changes={"optimizer.learning_rate": 1e-3},
        label="x",
        finetuning_rate=1e-5,
    )
    (training,) = trainings("finetuning", wish)
    recipe = recipe_of(training, tmp_path, [cuts(tmp_path, "es", 1.0)], tmp_path)
    assert recipe["optimizer"]["learning_rate"] == 1e-5
    assert recipe["trainable"] == []
    assert training.name == "finetuning-es-40-rate1e-05-x"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs where a training is finished as soon as it is begun."""

    def train(*_: object, **__: object) -> None:
        (tmp_path / "experts-es-40" / "model").mkdir(parents=True)
        (tmp_path / "experts-es-40" / "model" / "SHA256SUMS").write_text("")

    monkeypatch.setattr(kept_trainings, "subprocess", SimpleNamespace(run=train, DEVNULL=None))
    monkeypatch.setattr(teach_runs, "ModelFolder", SimpleNamespace(open=lambda path: path))
    monkeypatch.setattr(teach_runs, "digest_of", lambda path: f"digest of {path.name}")
    return tmp_path


def test_a_finished_training_of_other_settings_is_not_taken(runs: Path) -> None:
    path, base = cuts(runs, "es", 10.0), runs / "base"
    training, *_ = trainings("experts", WISH)
    model = trained(training, base, [path], runs, threads=1)
    assert trained(training, base, [path], runs, threads=2) == model
    changed = Wish(taught=("es",), steps=40, changes={"optimizer.learning_rate": 0.01})
    (other,) = trainings("experts", changed)
    wrong = "was trained with recipe.optimizer.learning_rate 0.0001, not 0.01: give a --label"
    with pytest.raises(SystemExit, match=wrong):
        trained(other, base, [path], runs, threads=1)
    with pytest.raises(SystemExit, match="with base digest of base, not digest of tiny"):
        trained(training, runs / "tiny", [path], runs, threads=1)
    cuts(runs, "es", 6.0, 4.0)
    with pytest.raises(SystemExit, match="was trained with cuts"):
        trained(training, base, [path], runs, threads=1)
    (runs / "experts-es-40.settings.json").unlink()
    with pytest.raises(SystemExit, match="is not known"):
        trained(training, base, [path], runs, threads=1)


def test_what_was_heard_is_kept_by_the_files_of_the_model(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
        (folder / "SHA256SUMS").write_text("one")
    keys = {Listener("base", base, 1).key, Listener("base", base, 2).key}
    assert len(keys) == 1
    keys.add(Listener("base", base, 1, window=Window.SPEECH).key)
    keys.add(Listener("base", base, 1, (adapter,)).key)
    (adapter / "SHA256SUMS").write_text("two")
    keys.add(Listener("base", base, 1, (adapter,)).key)
    (base / "SHA256SUMS").write_text("three")
    keys.add(Listener("base", base, 1).key)
    assert len(keys) == 5


def test_every_table_has_a_file_of_its_own() -> None:
    plain = {
        "split": "dev", "train": "es,fr", "steps": 400, "rank": None, "label": "", "most": None,
        "both_tasks": False, "finetuning_rate": Wish.finetuning_rate,
    }  # fmt: skip
    assert file_name(Namespace(**plain)) == "teach-dev-es+fr-400.json"
    changes = ({"train": "es"}, {"steps": 2}, {"rank": 8}, {"label": "x"}, {"most": 2})
    others = ({"split": "test"}, {"finetuning_rate": 1e-5}, {"both_tasks": True})
    names = {file_name(Namespace(**{**plain, **change})) for change in ({}, *changes, *others)}
    assert len(names) == 9


def test_taught_languages_have_a_column_together() -> None:
    several = "una frase de cinco palabras"
    heard = [
        prompt("es", "a", several),
        prompt("es", "b", "uno"),
        prompt("fr", "a", several),
        prompt("it", "a", several),
        spoken("kerstin_de", "a", several, "de"),
    ]
    columns = columns_of(heard, ("es", "fr"))
    assert columns["taught"] == [0, 1, 2]
    assert columns["taught, 4+ words"] == [0, 2]
    assert columns["prompts-it, 4+ words"] == [3]
    assert "kerstin_de, 4+ words" not in columns
    assert columns_of(heard, ("es", "de"))["taught"] == [0, 1, 4]


def test_prompts_of_one_id_are_resampled_together_in_all_languages() -> None:
    heard = [prompt("es", "digits/1", "uno"), prompt("fr", "digits/1", "un")]
    assert [group_of(one) for one in heard] == ["digits/1", "digits/1"]
    german = [spoken("kerstin_de", name, "eins", "de") for name in "ab"]
    assert len({group_of(one) for one in german}) == 2
    arabic = [spoken("arabic_commands", name, "واحد", "ar") for name in "ab"]
    assert len({group_of(one) for one in arabic}) == 1


def test_each_row_stands_beside_each_base() -> None:
    heard = [prompt("es", "a", "uno"), prompt("es", "b", "dos")]
    bases = {"base": [(0, 1), (0, 1)], "base-speech": [(1, 1), (1, 1)]}
    found = judged(heard, [(1, 1), (0, 1)], bases)
    figures = (found["wer"], found["difference to base"], found["difference to base-speech"])
    assert figures == (50.0, 50.0, -50.0)


def encoded(values: float, *, in_parts: bool = False) -> Encoded:
    mask = np.ones((1, 2), dtype=bool)
    nowhere = np.zeros((0, 1, 2), dtype=np.int64)
    hidden = (np.full((1, 2, 3), values, np.float32), mask)
    found = Encoded(mask, None, nowhere, hidden)
    return Encoded(mask, None, nowhere, (Part(np.array([0]), found),)) if in_parts else found


def test_encoder_outputs_are_compared_to_the_last_bit() -> None:
    base, own, other = encoded(1.0), encoded(1.0, in_parts=True), encoded(1.0000001, in_parts=True)
    assert same_arrays(attended(base), attended(own))
    assert not same_arrays(attended(base), attended(other))
    assert not same_arrays([], [])


def test_texts_that_are_not_the_bases_are_counted_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hear(self: Listener, one: Spoken, *_: object) -> str:
        return f"{self.name} {one.id}" if one.id.endswith("b") else one.id

    def encodes(self: Listener, one: Spoken) -> list[np.ndarray]:
        return [np.array([len(self.name) if one.id.endswith("b") else 0.0], np.float32)]

    monkeypatch.setattr(Listener, "hear", hear)
    monkeypatch.setattr(Listener, "encoded", encodes)
    monkeypatch.setattr(Listener, "key", property(lambda self: self.name))
    heard = [prompt("it", name, "x") for name in "abc"]
    one, other = Listener("base", Path(), 1), Listener("others", Path(), 1)
    found = equal(one, other, heard, Heard(None))
    assert found == {
        "prompts-it": "2 of 3",
        "different": ["prompts/it/b"],
        "encoder outputs": "2 of 3",
    }
