"""The page: what it says, that strangers' texts in it are only text, and that it needs nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.doubles import model_config
from tests.unit.inspection.test_picture import OMNI, record
from turnout.config import DecoderConfig, EncoderConfig, RoutingConfig
from turnout.config.transcription import TranscriptionOptions
from turnout.inspection.glance import FIGURES, figure
from turnout.inspection.inspected import SHOWN, Inspected
from turnout.inspection.labels import Span
from turnout.inspection.markup import percent, tag, text
from turnout.inspection.page import page
from turnout.inspection.parts import Way
from turnout.inspection.record import RoutingRecord
from turnout.inspection.sections import two_digits
from turnout.inspection.style import HEATS, STYLE
from turnout.inspection.timeline import LETTER, timeline
from turnout.text.transcript import Word

BAD = "<script>alert(1)</script>\"'&\x1b[31m\udcff"


def way(kind: str = "omni", decoder: str = "dense", *, told: bool = False) -> Way:
    """Of two layers, as OMNI has them."""
    shape = EncoderConfig(
        block="transformer",
        num_layers=2,
        routing=RoutingConfig(kind=kind, num_experts=2),  # type: ignore[arg-type]
    )
    under = DecoderConfig(routing=RoutingConfig(kind=decoder, num_experts=2))  # type: ignore[arg-type]
    config = model_config(encoder=shape, decoder=under)
    return Way(TranscriptionOptions(), config, lambda _: "", told)


def inspected(*records: RoutingRecord, of: Way | None = None, name: str = "m") -> Inspected:
    found = Inspected.start(name, of or way())
    for one in records:
        found = found.plus(one)
    return found


class Read(HTMLParser):
    """Every element with its attributes, and whether they close as they open."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words += data


def strange() -> RoutingRecord:
    """A recording whose every text is an attack."""
    made = record(OMNI, name=BAD, word=BAD)
    return replace(made, letters=(Span(BAD, 0, 0.5), Span("a", 0.5, 1.0)), speaker=BAD)


def test_strangers_texts_are_only_text() -> None:
    other = replace(strange(), name="b", speaker="y")
    read = Read(page([inspected(strange(), other, name=BAD)]))
    assert not read.open
    assert {name for name, _ in read.found}.isdisjoint({"script", "a", "iframe", "object", "link"})
    assert all(not key.startswith("on") for _, attributes in read.found for key in attributes)
    assert read.words.count("<script>alert(1)</script>") >= 4
    assert "\x1b" not in read.words and "\udcff" not in read.words
    page([inspected(strange())]).encode()


def test_the_page_loads_nothing_and_may_not() -> None:
    content = page([inspected(record(OMNI))])
    read = Read(content)
    (policy,) = (
        attributes["content"] or ""
        for name, attributes in read.found
        if name == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    for _, attributes in read.found:
        for key in ("src", "href"):
            assert (attributes.get(key) or "data:").startswith("data:")
        assert "style" not in attributes  # the policy would drop it
    assert "http://" not in content and "https://" not in content


def test_drawings_and_tables_are_named() -> None:
    read = Read(page([inspected(record(OMNI))]))
    for name, attributes in read.found:
        if name == "svg" and attributes.get("aria-hidden") != "true":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if name == "table":
            assert attributes["aria-label"]
    names = [name for name, _ in read.found]
    assert names.count("figcaption") == names.count("figure") > names.count("table") > 3
    assert next(attributes for name, attributes in read.found if name == "html")["lang"] == "en"


def test_load_agreement_and_their_words() -> None:
    words = Read(page([inspected(record(OMNI))])).words
    assert "50 50" in words and "Mean over the pairs: 1.00" in words
    assert "every expert has its share in every layer" in words
    assert "seed 0" in words


def test_where_only_choices_are_known_the_page_says_so() -> None:
    told = replace(record(OMNI), probabilities=np.full((2, 50, 2), 0.5, np.float32))
    assert "ONNX graphs tell which expert was taken" in page([inspected(record(OMNI))])
    known = page([inspected(told)])
    assert "ONNX" not in known and "Doubt is how undecided" in known


def test_a_learned_decoder_is_told_of_or_said_not_to_be() -> None:
    assert "ONNX graphs do not tell" in page([inspected(record(OMNI), of=way(decoder="switch"))])
    spoken = replace(
        record(OMNI),
        decoder_index=np.zeros((2, 50), np.int64),
        tokens=(Span("a", 0, 0.5),),
        token_probabilities=np.array([[[0.9, 0.1]], [[0.2, 0.8]]], np.float32),
    )
    found = inspected(spoken, of=way(decoder="switch", told=True))
    assert found.decoder.frames.tolist() == [[1, 0], [0, 1]]
    shown = page([found])
    assert "decoder: 1 token in each layer" in shown and "do not tell" not in shown


@pytest.mark.parametrize("kind", ["dense", "supervised", "hybrid", "switch"])
def test_every_routing_gives_a_page(kind: str) -> None:
    rows = 0 if kind == "dense" else 2
    made = replace(record(OMNI), expert_index=np.zeros((rows, 50), np.int64))
    read = Read(page([inspected(made, of=way(kind))]))
    assert not read.open
    assert ("There is no routing in this model." in read.words) == (kind == "dense")


@pytest.mark.parametrize("seconds", [0.0, 0.05, 45.0])
def test_any_length_gives_a_page(seconds: float) -> None:
    words = Read(page([inspected(record(OMNI, seconds))])).words
    assert ("The first 30 seconds are drawn." in words) == (seconds > 30)


def test_two_models_have_their_means_beside_each_other() -> None:
    pair = [inspected(record(OMNI), name=name, of=way(name)) for name in ("omni", "switch")]
    words = Read(page(pair)).words
    assert "Side by side" in words and "agreement of the layers beyond chance" in words
    assert len(re.findall("Mean over the pairs", words)) == 2


def test_only_a_few_recordings_are_kept_and_no_more_of_them_than_is_drawn() -> None:
    found = inspected(*[record(OMNI, 45.0, name=str(number)) for number in range(SHOWN + 2)])
    assert len(found.shown) == SHOWN and found.recordings == SHOWN + 2
    assert found.seconds == 45.0 * (SHOWN + 2)
    assert all(len(one.log_mel) == 3000 and one.probabilities is None for one in found.shown)
    assert all(one.expert_index.shape == (2, 750) for one in found.shown)
    assert found.encoder.frames.sum() == 2 * (SHOWN + 2) * 1125


def test_a_recording_without_speech_has_words_in_the_place_of_a_drawing() -> None:
    silent = record(OMNI, 0.0)
    shown = page([inspected(silent)])
    words = Read(shown).words
    assert "No speech was found in it" in words and '<svg class="timeline"' not in shown
    assert words.count("There was nothing to be routed") == 5  # each section of figures
    assert "every expert has its share" not in words and "Mean over the pairs" not in words


def test_a_decoder_s_router_chooses_for_each_token() -> None:
    words = Read(page([inspected(record(OMNI), of=way(decoder="switch", told=True))])).words
    assert "chooses for each token. Of its feed-forwards, 2 have 2 experts; counted in" in words
    assert "chooses for each frame. Of its feed-forwards, 2 have 2 experts; a frame is" in words


def test_side_by_side_nothing_is_said_to_be_known_that_nobody_measured() -> None:
    index = np.zeros((1, 50), np.int64)
    shape = EncoderConfig(
        block="transformer", num_layers=1, routing=RoutingConfig(kind="switch", num_experts=2)
    )
    one = Way(TranscriptionOptions(), model_config(encoder=shape), lambda _: "")
    alone = inspected(replace(record(OMNI), expert_index=index), of=one)
    silent = np.arange(50) % 2 == 0
    deep, given = (
        inspected(replace(record(OMNI), silent=silent), of=way(kind))
        for kind in ("omni", "supervised")
    )
    none = inspected(replace(record(OMNI), expert_index=index[:0]), of=way("dense"))
    rows = {
        what: [figure(found.encoder, read) for found in (alone, deep, given, none)]
        for what, read in FIGURES.items()
    }
    assert rows["routing"] == ["switch", "omni", "supervised", "no experts"]
    assert rows["agreement of the layers beyond chance"] == ["-", "1.00", "decided beforehand", "-"]
    assert rows["known from silence, beyond chance"] == ["-", "0 %", "-", "-"]


def test_one_remedy_stands_behind_all_that_it_is_for() -> None:
    index = np.array([[0] * 100, [1] * 100])
    words = Read(page([inspected(replace(record(OMNI), expert_index=index))])).words
    dead = "Expert 0 took no frame in layer 2. Expert 1 took no frame in layer 1. Weights that"
    assert dead in words and words.count("turnout upcycle") == 1


def luminance(colour: np.ndarray) -> float:
    """Relative, as WCAG 2 has it, of red, green and blue from 0 to 255."""
    parts = colour / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def rgb(text: str) -> np.ndarray:
    """Of '#fff' or '#15181b'."""
    digits = text if len(text) == 7 else "#" + "".join(2 * one for one in text[1:])
    return np.array([int(digits[start : start + 2], 16) for start in (1, 3, 5)])


def test_the_figures_of_dark_cells_can_be_read() -> None:
    """4.5 to 1, as WCAG 2.2 asks for of text."""
    schemes = [dict(re.findall(r"--(\w+):(#\w+)", part)) for part in STYLE.split("@media (pref")]
    high = re.findall(r"\d+", re.findall(r"(\.h\d+(?:,\.h\d+)*)\{color:", STYLE)[0])
    for scheme in schemes:
        for step, blue, part in re.findall(r"\.h(\d+){background:rgba\((\S+?),([\d.]+)\)}", HEATS):
            share, colour = float(part), np.array(blue.split(","), float)
            ground = share * colour + (1 - share) * rgb(scheme["page"])
            ink = rgb(scheme["high" if step in high else "ink"])
            dark, light = sorted((luminance(ground), luminance(ink)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, step


def test_what_ends_a_drawing_is_not_cut_off() -> None:
    words = (Word(start=7.9, end=8.0, word="incomprehensibilities"),)
    made = record(OMNI, 8.0)
    segment = replace(made.transcript.segments[0], words=words)
    made = replace(made, transcript=replace(made.transcript, segments=(segment,)))
    read = Read(timeline(made, (OMNI,)))
    width = next(float(found["width"] or 0) for name, found in read.found if name == "svg")
    places = [float(found["x"] or 0) for name, found in read.found if name == "text"]
    assert max(places) + 4 <= width  # half of '8'
    assert places[0] + LETTER * len(words[0].word) / 2 <= width


def test_next_to_nothing_has_no_sign() -> None:
    assert [two_digits(value) for value in (-0.001, 0.0, -0.02, 0.456)] == [
        "0.00",
        "0.00",
        "-0.02",
        "0.46",
    ]


def test_words_without_room_are_left_to_the_table() -> None:
    words = tuple(Word(start=i / 50, end=(i + 1) / 50, word="x" * 20) for i in range(40))
    made = record(OMNI)
    segment = replace(made.transcript.segments[0], words=words)
    made = replace(made, transcript=replace(made.transcript, segments=(segment,)))
    read = Read(page([inspected(made)]))
    table = read.words.split("The same as a table")[1].split("Load")[0]
    assert table.count("x" * 20) == 40


def test_markup_escapes_what_is_no_markup() -> None:
    assert tag("p", "<", tag("b", "&"), title='"') == '<p title="&quot;">&lt;<b>&amp;</b></p>'
    assert text("\u200f\u0000a") == "\u200f\ufffda"
    assert [percent(share) for share in (0, 0.001, 0.005, 0.255, 1)] == [
        "0 %",
        "< 1 %",
        "< 1 %",
        "26 %",
        "100 %",
    ]
