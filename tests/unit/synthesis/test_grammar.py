"""Grammar files: what they say, and how one that is wrong is cited."""

import random
from pathlib import Path

import pytest

from turnout.errors import ManifestError
from turnout.synthesis.grammar import Grammar, read_grammar

RECIPES = Path(__file__).parents[3] / "recipes"


def grammar(folder: Path, text: str) -> Grammar:
    (folder / "g.yaml").write_text(text, "utf-8")
    return read_grammar(folder / "g.yaml")


DIGITS = """
language: en
sentences:
  - text: call {digit#1} {digit#2} twice, {digit#1}
    spoken: kall {digit#1} {digit#2} twice, {digit#1}
    translations: {de: "{digit#2} und {digit#1} anrufen"}
  - stop
slots:
  digit:
    - {text: one, translations: {de: eins}}
    - {text: two, spoken: too, translations: {de: zwei}}
"""


def test_slots_are_the_same_all_over_a_sentence(tmp_path: Path) -> None:
    read = grammar(tmp_path, DIGITS)
    sentences = {phrase.text: phrase for phrase in read.all()}
    assert read.size == len(sentences) == 5
    phrase = sentences["call one two twice, one"]
    assert phrase.spoken == "kall one too twice, one"
    assert phrase.translations == {"de": "zwei und eins anrufen"}
    assert sentences["stop"].translations == {}


def test_drawing_is_seeded_and_without_repeats(tmp_path: Path) -> None:
    read = grammar(tmp_path, DIGITS)
    drawn = [read.draw(4, random.Random(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({phrase.text for phrase in drawn[0]}) == 4
    assert len(read.draw(100, random.Random(0))) == 5


def test_a_grammar_too_large_to_list_is_drawn_from(tmp_path: Path) -> None:
    places = " ".join(f"{{digit#{place}}}" for place in range(20))
    read = grammar(tmp_path, DIGITS.replace("- stop", f'- "{places}"'))
    drawn = read.draw(50, random.Random(0))
    assert read.size == 2**20 + 4
    assert len({phrase.text for phrase in drawn}) == 50


def test_excluded_voices_win_over_listed_ones(tmp_path: Path) -> None:
    listed = (
        "voices: [en-us, en-gb]\nvariants: [F3, m1]\nexclude: {voices: [en-gb], variants: [f3]}"
    )
    read = grammar(tmp_path, DIGITS + listed)
    assert (read.voices, read.variants) == (("en-us",), ("m1",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("langauge: en\n", r"g.yaml:1: has an unknown field 'langauge': did you mean 'language'"),
        ("language: en\n", "g.yaml:1: lacks 'sentences'"),
        ("language: English\nsentences: [a]\n", "g.yaml:1: field 'language': is 'English'"),
        ("language: no\nsentences: [a]\n", r"is False: words were expected \(put it in quotes\)"),
        ("language: en\nsentences: []\n", "g.yaml:2: field 'sentences': has 0 items"),
        ("language: en\nsentences:\n  - yes\n", r"g.yaml:3: field 'sentences\[0\]': is True"),
        ("language: en\nsentences:\n- a\n- b {x}\n", r"g.yaml:4: .*holds {x}, which is no slot"),
        ("language: en\nsentences:\n- text: b\n  translations: {de: 7}\n",
         r"g.yaml:4: field 'sentences\[0\].translations.de': is 7: words were expected"),
        ("language: en\nsentences: [a]\nspeed: [200, 100]\n", r"g.yaml:3: field 'speed': is \[200"),
        ("language: en\nsentences: [a]\npitch: 3\n", "g.yaml:3: field 'pitch': is 3: a list"),
        ("language: en\nsentences: [a]\nspeakers: 0\n", "g.yaml:3: field 'speakers': is 0"),
        ("language: en\nsentences: [a]\nsentences_per_speaker: 1000001\n",
         "g.yaml:3: field 'sentences_per_speaker': is 1000001: at most 1,000,000 was expected"),
        ("language: en\nlanguage: de\nsentences: [a]\n", "names a field twice"),
        ("language: en\n  sentences: [\n", "g.yaml:2: is not YAML"),
        ("- a\n", "g.yaml:1: named fields were expected"),
        ("", "g.yaml:1: named fields were expected"),
        ("language: en\nsentences: ['{d}']\nslots: {d: [x]}\n", None),
        ("language: en\nsentences: [{text: '{d}', translations: {de: '{d}'}}]\nslots: {d: [x]}\n",
         "is translated to de, and 'x' of slot d is not"),
        ("language: en\nvoices: [a]\nexclude: {voices: [A]}\nsentences: [a]\n", "all excluded"),
        ("!!python/object/apply:os.system ['touch canary']\n", "g.yaml:1: is not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_grammar_is_cited(tmp_path: Path, text: str, message: str | None) -> None:
    if message is None:
        assert grammar(tmp_path, text).size == 1
        return
    with pytest.raises(ManifestError, match=message):
        grammar(tmp_path, text)


def test_a_missing_grammar_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none.yaml: cannot be read"):
        read_grammar(tmp_path / "none.yaml")


@pytest.mark.parametrize(("name", "words"), [("words_ar", 40), ("words_en", 10)])
def test_the_recipes_keep_the_voices_of_the_examples_out(name: str, words: int) -> None:
    read = read_grammar(RECIPES / f"{name}.yaml")
    assert read.size == words
    assert all(phrase.translations for phrase in read.sentences)
    assert "en-gb-x-gbclan" not in read.voices
    assert not {"annie", "mario", "f3", "m5"} & {variant.lower() for variant in read.variants}
