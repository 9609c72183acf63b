"""The page with the server that `turnout serve` runs, and the model that ships: real recordings,
what is heard and what is marked, the microphone, an hour."""

import json
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from selenium.webdriver.common.keys import Keys

import turnout
from tests.page.chromium import ROOT
from tests.served import served
from turnout.text.writers import render

KEY = "a-key-of-the-tests"
EXAMPLES = ROOT / "examples"
REFERENCES = json.loads((EXAMPLES / "references.json").read_text("utf-8"))
MODEL = turnout.load(threads=1)
BANDWIDTHS = {"narrowband": "narrowband (up to 4 kHz)", "wideband": "wideband (beyond 4 kHz)"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("uploads"), page=True, api_keys=(KEY,)) as found:
        yield found


@pytest.fixture
def page(browser, server):
    browser.addresses()
    browser.open(f"{server.url}/")
    browser.one("#key").send_keys(KEY, Keys.ENTER)
    browser.wait(lambda: browser.text("#server") == "Ready")
    browser.choose("task", "both")
    yield browser
    assert browser.complaints() == []


def test_examples_are_written_heard_and_drawn_without_leaving_the_machine(page, server):
    paths = [EXAMPLES / name for name in REFERENCES]
    page.give(*paths)
    page.wait(lambda: len(page.all("#recordings .badge.done")) == len(paths))
    for place, path in enumerate(paths):
        page.press("#recordings button", place)
        expected = MODEL.transcribe(path, task="both")
        assert expected.translation is not None
        assert page.texts() == [segment.text for segment in expected.segments]
        translated = [segment.text for segment in expected.translation.segments]
        assert page.texts("translate") == translated
        assert BANDWIDTHS[REFERENCES[path.name]["bandwidth"]] in page.text("#facts")
        page.wait(lambda: page.one("#play").is_enabled())
        assert page.text("#sound-note") == ""
    asked = {address for address in page.addresses() if not address.startswith(("blob:", "data:"))}
    assert asked and all(address.startswith(f"{server.url}/") for address in asked)


def test_what_is_marked_is_what_is_heard(page):
    path = EXAMPLES / "english-telephone-1.wav"
    page.give(path)
    page.finish()
    page.wait(lambda: page.one("#play").is_enabled())
    page.follow()
    page.press("#play")
    page.wait(lambda: page.run("return document.getElementById('audio').ended"))
    words = [w for s in MODEL.transcribe(path, word_timestamps=True).segments for w in s.words]
    seen = page.run("return seen")
    marked = {word for _, word in seen} - {None}
    assert marked <= {word.word for word in words}
    # A busy machine may draw no picture while a word lasts that is shorter than its pauses.
    longest = max(later - time for (time, _), (later, _) in pairwise(seen))
    assert {w.word for w in words if w.end - w.start > 2 * longest} <= marked
    assert len(marked) > 1
    for time, word in seen:
        # Marked a moment before; on a busy machine somewhat more.
        near = {at(words, t) for t in np.linspace(time - 0.25, time + 0.02, 28)}
        assert word in near, f"at {time:.3f} s"


def at(words, time):
    return next((word.word for word in words if word.start <= time < word.end), None)


def test_the_json_is_the_command_lines(page):
    path = EXAMPLES / "arabic-1.flac"
    page.give(path)
    page.finish()
    page.press("#first-head [aria-label$='as json']")
    (found,) = page.wait(lambda: list(page.downloads.glob("arabic-1*.json")))
    content = json.loads(found.read_text("utf-8"))
    expected = json.loads(render(MODEL.transcribe(path, task="both", word_timestamps=True), "json"))
    for text, wanted in ((content, expected), (content["translation"], expected["translation"])):
        assert text["text"] == wanted["text"]
        assert text["language_probability"] == pytest.approx(wanted["language_probability"])
        for segment, other in zip(text["segments"], wanted["segments"], strict=True):
            assert [segment[k] for k in ("id", "start", "end", "text")] == [
                other[k] for k in ("id", "start", "end", "text")
            ]
            assert [w["word"] for w in segment.get("words", [])] == [
                w["word"] for w in other.get("words", [])
            ]


def test_a_translation_alone(page):
    path = EXAMPLES / "arabic-1.flac"
    page.choose("task", "translate")
    page.choose("language", "ar")
    page.give(path)
    page.finish()
    expected = MODEL.transcribe(path, task="translate", language="ar")
    assert page.texts("translate") == [segment.text for segment in expected.segments]
    assert page.text("#first-head h3") == "Translation, English"
    assert "Note" not in page.text("#facts")
    assert [row.text.split("\n")[0] for row in page.all(".expert-row")] == [
        "Encoder chosen by bandwidth", "Decoder chosen by task",
    ]  # fmt: skip


def test_what_is_no_recording_is_told_in_one_line(page, tmp_path):
    path = tmp_path / "notes.wav"
    path.write_text("no sound at all" * 100)
    page.give(path)
    page.finish()
    problem = page.one("#problem").text
    assert "notes.wav" in problem
    assert "\n" not in problem and str(tmp_path) not in problem
    page.complaints()


def test_the_microphone_writes_while_somebody_speaks(page, microphone):
    page.press("#record")
    page.wait(lambda: page.text("#partial").startswith("six"))
    page.wait(page.texts)
    assert page.texts()[0] == "six one eight"
    assert page.texts("translate")[0] == "sechs eins acht"
    page.press("#record")
    page.finish()
    assert page.state() == "done"
    assert "wideband" in page.text("#facts")
    page.wait(lambda: page.one("#play").is_enabled())
    page.press("#again")  # the same sound, as a file
    page.finish()
    assert page.state() == "done"
    assert page.texts()[0].startswith("six one eight")


@pytest.mark.slow
def test_an_hour(page, tmp_path):
    """Of a call, somebody speaking once a minute: all of it comes, each in its place."""
    path = tmp_path / "hour.wav"
    call, rate = soundfile.read(EXAMPLES / "english-telephone-1.wav", dtype="float32")
    assert rate == 8000
    minute = np.zeros(60 * rate, np.float32)
    minute[10 * rate : 10 * rate + len(call)] = call
    with soundfile.SoundFile(path, "w", rate, 1, "ULAW") as file:
        for _ in range(60):
            file.write(minute)
    page.choose("task", "transcribe")
    page.give(path)
    page.wait(lambda: len(page.texts()) >= 2)
    assert page.state() == "working"  # it came while the rest was heard
    page.wait(lambda: page.state() == "done", seconds=300)
    assert page.texts() == ["three nine six zero two"] * 60
    assert page.text("#whole") == "1:00:00"
    page.press(".row:nth-child(60) .word")
    page.wait(lambda: page.text("#now").startswith("59:1"))
