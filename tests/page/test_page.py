"""What the page does with what a server answers: shown while it comes, heard, corrected, kept."""

import json

import numpy as np
import pytest
import soundfile
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.page.chromium import ROOT
from tests.page.events import ARABIC, CALL, ENGLISH, delta, done
from tests.page.stand_in import Answers, serving

FORMS = (
    "WAV/PCM_16", "WAV/ULAW", "MP3/MPEG_LAYER_III", "FLAC/PCM_16", "OGG/VORBIS", "OGG/OPUS",
)  # fmt: skip
SIZES = {"desk": 1200, "phone": 360}
HELD_UP = """
const stream = new AudioContext().createMediaStreamDestination().stream;
window.track = stream.getTracks()[0];
const given = new Promise((resolve) => (window.give = () => resolve(stream)));
navigator.mediaDevices.getUserMedia = () => given;
window.WebSocket = class extends EventTarget {
  sent = [];
  bufferedAmount = 0;
  constructor() {
    super();
    window.socket = this;
    setTimeout(() => this.dispatchEvent(new Event("open")));
  }
  send(message) { this.sent.push(message); }
  tell(event) { this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(event) })); }
  close() { this.dispatchEvent(new CloseEvent("close", { code: 1000 })); }
};
"""
"""A reader who has not said yet whether the microphone may be used, and a server that loads."""


@pytest.fixture(scope="module")
def server():
    answers = Answers()
    with serving(answers) as url:
        yield answers, url


@pytest.fixture
def answers(server):
    found = server[0]
    found.__init__(events=ENGLISH)
    return found


@pytest.fixture
def page(browser, answers, server):
    browser.open(server[1])
    yield browser
    assert browser.complaints() == []


def with_both(page, answers):
    answers.events = ARABIC
    page.choose("task", "both")
    page.give(CALL)
    page.finish()


def test_text_is_shown_while_it_comes(page, answers):
    answers.events, answers.most = ARABIC, 1
    page.choose("task", "both")
    page.give(CALL)
    page.wait(lambda: page.texts() == ["نعم موافق إرسال"])
    assert page.state() == "working"
    answers.most = None
    page.finish()
    assert page.texts() == ["نعم موافق إرسال", "أربعة اثنان"]
    assert page.texts("translate") == ["yes ok send", "four two"]
    assert page.text("#state").startswith("Done: 5 words")
    facts = page.text("#facts")
    assert "narrowband (up to 4 kHz)" in facts
    assert "Arabic, 98 %" in facts
    (form,) = answers.forms
    assert form["file"] == CALL.stat().st_size
    assert (form["task"], form["model"], form["stream"]) == ("both", "commands", "true")
    assert "language" not in form and "to_language" not in form


def test_each_text_runs_as_its_language_does(page, answers):
    with_both(page, answers)
    for task, language, direction in (("transcribe", "ar", "rtl"), ("translate", "en", "ltr")):
        found = page.run(
            "const p = document.querySelector(`#rows [data-task=${arguments[0]}]`);"
            "return [p.lang, getComputedStyle(p).direction, p.dir]", task,
        )  # fmt: skip
        assert found == [language, direction, "auto"]


def test_the_experts_are_those_of_bandwidth_and_task(page, answers):
    with_both(page, answers)
    rows = [row.text.replace("\n", " ").replace(" ,", ",") for row in page.all(".expert-row")]
    assert rows == [
        "Encoder chosen by bandwidth narrowband, used wideband, not used",
        "Decoder, transcript chosen by task transcribe, used translate, not used",
        "Decoder, translation chosen by task transcribe, not used translate, used",
    ]


def test_a_word_is_heard_from_where_it_begins_and_marked_while_it_is(page, answers):
    with_both(page, answers)
    page.wait(lambda: page.one("#play").is_enabled())
    page.follow()
    page.press("#rows [data-task=transcribe] .word", 3)
    page.wait(lambda: page.run("return document.getElementById('audio').ended"))
    seen = page.run("return seen")
    assert min(time for time, _ in seen) >= 2.9
    assert seen[0][1] == "أربعة"
    assert {word for _, word in seen} <= {"أربعة", "اثنان", None}
    page.follow()
    page.press("#rows [data-task=translate] .word", 0)  # has no times: its passage's
    page.wait(lambda: page.run("return seen"))
    page.press("#play")
    assert page.run("return document.getElementById('audio').paused")
    assert page.run("return seen[0][0]") == pytest.approx(0.2, abs=0.2)


def test_words_are_walked_and_corrected_by_keyboard(page, answers):
    with_both(page, answers)
    assert [w.get_attribute("tabindex") for w in page.all(".word")].count("0") == 1
    page.run("document.querySelector('.word').focus()")
    keys = ActionChains(page.driver)
    keys.send_keys(Keys.ARROW_LEFT).perform()  # ahead, where text runs to the left
    assert page.driver.switch_to.active_element.text == "موافق"
    keys.send_keys(Keys.F2).perform()
    field = page.driver.switch_to.active_element
    assert field.get_attribute("aria-label") == "Correct “موافق”"
    field.send_keys("طيب", Keys.ENTER)
    assert page.driver.switch_to.active_element.text == "طيب"
    assert page.driver.switch_to.active_element.get_attribute("title") == "The model wrote: موافق"
    keys.send_keys(Keys.F2).perform()
    page.driver.switch_to.active_element.send_keys("nothing", Keys.ESCAPE)
    assert page.texts() == ["نعم طيب إرسال", "أربعة اثنان"]
    keys.send_keys(Keys.ARROW_DOWN).perform()
    assert page.driver.switch_to.active_element.text == "أربعة"


def test_the_slider_of_the_sound_is_moved_by_keyboard(page, answers):
    with_both(page, answers)
    page.wait(lambda: page.one("#play").is_enabled())
    seek = page.one("#seek")
    seek.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert seek.get_attribute("aria-valuetext") == "2 seconds of 4 seconds"
    seek.send_keys(Keys.HOME)
    assert float(seek.get_attribute("aria-valuenow")) == 0
    seek.send_keys(Keys.END)
    assert float(seek.get_attribute("aria-valuenow")) == pytest.approx(4.6, abs=0.1)


def test_what_is_downloaded_is_what_was_corrected(page, answers):
    with_both(page, answers)
    page.press("#correcting")
    page.press("#rows [data-task=transcribe] .word", 1)
    page.driver.switch_to.active_element.send_keys("طيب", Keys.ENTER)
    for place in range(len(page.all(".downloads button"))):
        page.press(".downloads button", place)
    found = {path.name: path for path in downloaded(page, 7)}
    stem = CALL.stem
    assert set(found) == {
        *(f"{stem}.{kind}" for kind in ("txt", "srt", "vtt", "json")),
        *(f"{stem}.translation.{kind}" for kind in ("txt", "srt", "vtt")),
    }
    assert found[f"{stem}.txt"].read_text("utf-8") == "نعم طيب إرسال\nأربعة اثنان\n"
    assert (
        found[f"{stem}.translation.srt"]
        .read_text("utf-8")
        .startswith("1\n00:00:00,200 --> 00:00:02,400\nyes ok send\n\n2\n")
    )
    content = json.loads(found[f"{stem}.json"].read_text("utf-8"))
    assert content["text"] == "نعم طيب إرسال أربعة اثنان"
    assert content["segments"][0]["words"][1] == {"word": " طيب", "start": 1.0, "end": 1.5}
    assert content["translation"]["language"] == "en"


def downloaded(page, count):
    def files():
        paths = page.downloads.glob(f"{CALL.stem}.*")  # other tests' lie there as well
        found = [path for path in paths if path.suffix != ".crdownload"]
        return found if len(found) == count else None

    return page.wait(files)


def test_several_files_are_taken_one_after_another(page, answers):
    answers.pause_seconds = 0.2
    paths = sorted((ROOT / "examples").glob("english-telephone-*"))
    page.give(*paths)
    page.wait(lambda: len(page.all("#recordings .badge.done")) == 3)
    names = [name.text for name in page.all("#recordings .name")]
    assert names == [path.name for path in paths]
    assert [form["file"] for form in answers.forms] == [path.stat().st_size for path in paths]
    page.press("#recordings button", 2)
    assert page.driver.switch_to.active_element.get_attribute("aria-current") == "true"
    assert page.text("#name") == paths[2].name
    page.press("#remove")
    assert len(page.all("#recordings li")) == 2


def test_files_are_dropped_anywhere(page, answers):
    page.run(
        "const dataTransfer = new DataTransfer();"
        "dataTransfer.items.add(new File([new Uint8Array(1000)], 'dropped.wav'));"
        "for (const type of ['dragenter', 'dragover', 'drop']) {"
        "  const event = new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer});"
        "  document.querySelector('.foot').dispatchEvent(event);"
        "  window.taken = event.defaultPrevented; }"
    )
    page.finish()
    assert page.text("#name") == "dropped.wav"
    assert page.run("return taken")  # else the browser opens the file in the page's place
    assert not page.all("body.dragging")
    assert answers.forms[0]["file"] == 1000
    page.complaints()  # the browser's own: this is no sound


def test_a_refusal_is_one_line_and_can_be_tried_again(page, answers):
    answers.refusals = [(400, {}, "notes.txt is no recording: give WAV, FLAC, Ogg or MP3")]
    page.give(CALL)
    page.finish()
    assert page.state() == "failed"
    assert page.one("#problem").text == "notes.txt is no recording: give WAV, FLAC, Ogg or MP3"
    page.press("#again")
    page.wait(lambda: page.state() == "done")
    assert not page.shown("#problem")
    assert page.texts() == ["seven two nine"]


def test_an_error_in_the_middle_keeps_what_was_written(page, answers):
    error = {"message": "the server is stopping", "type": "server_error", "param": None, "code": 0}
    answers.events = [ENGLISH[0], {"type": "error", "error": error}]
    page.give(CALL)
    page.finish()
    assert page.one("#problem").text == "the server is stopping"
    assert page.texts() == ["seven two nine"]


def test_an_answer_that_breaks_off_is_no_whole_text(page, answers):
    answers.events = ENGLISH[:1]
    page.give(CALL)
    page.finish()
    assert page.state() == "failed"
    assert "before the text was complete" in page.one("#problem").text


def test_a_busy_server_is_waited_for(page, answers):
    answers.refusals = [(429, {"Retry-After": "1"}, "busy"), (503, {"Retry-After": "0"}, "full")]
    page.give(CALL)
    page.wait(lambda: "trying again in 1 s" in page.text("#state"))
    page.finish()
    assert page.texts() == ["seven two nine"]


def test_a_key_is_asked_for_and_kept_in_memory_alone(page, answers, server):
    answers.key = "the-key"
    page.give(CALL)
    is_open = "return document.getElementById('key-dialog').open"
    page.wait(lambda: page.run(is_open))
    page.one("#key").send_keys("another", Keys.ENTER)
    page.wait(lambda: "This is no key of the server." in page.text("#key-why"))
    page.wait(lambda: page.run(is_open))
    page.one("#key").send_keys("the-key", Keys.ENTER)
    page.finish()
    assert page.texts() == ["seven two nine"]
    kept = page.run("return [{...localStorage}, {...sessionStorage}, document.cookie]")
    assert kept == [{}, {}, ""]
    page.open(server[1])  # anew: it is forgotten
    assert page.run(is_open)
    page.press("#key-dialog button[value=cancel]")


def test_stopping_leaves_the_server(page, answers):
    answers.pause_seconds = 30
    page.give(CALL)
    page.wait(lambda: answers.forms)
    page.press("#stop")
    page.wait(lambda: page.state() == "stopped")
    page.wait(lambda: answers.left == 1)


def test_a_microphone_that_is_given_after_the_stop_is_let_go(page):
    page.run(HELD_UP)
    page.press("#record")
    page.wait(lambda: page.state() == "listening")
    page.press("#record")
    page.wait(lambda: page.state() == "stopped")
    assert page.text("#record-label") == "Record"
    page.run("give()")
    page.wait(lambda: page.run("return track.readyState") == "ended")
    assert not page.run("return Boolean(window.socket)"), "a place on the server was taken"


def test_who_stops_while_the_model_is_loaded_is_done_and_not_lost(page):
    page.run(HELD_UP)
    page.press("#record")
    page.wait(lambda: page.run("return Boolean(window.give)"))
    page.run("give()")
    page.wait(lambda: page.run("return Boolean(window.socket?.sent.length)"))
    page.press("#record")
    page.wait(lambda: page.state() == "working")
    page.run("socket.tell({ type: 'ready', most_frame_bytes: 65536 })")
    page.wait(lambda: page.run("return socket.sent.at(-1)") == '{"type": "end"}')
    page.run("socket.tell({ type: 'closed', code: 1000 }); socket.close()")
    page.finish()
    assert (page.state(), page.text("#problem")) == ("done", "")


def test_text_is_never_markup(page, answers):
    hostile = "<img src=x onerror=alert(1)>"
    answers.events = [
        delta(0, [(hostile, 0.1, 0.5), ("&amp;", 0.6, 0.9)], "en"),
        done("en", 2.0, warnings=[hostile]),
    ]
    page.give(CALL)
    page.finish()
    assert page.texts() == [f"{hostile} &amp;"]
    assert hostile in page.text("#facts")
    assert page.run("return document.querySelectorAll('img').length") == 0


def test_what_a_browser_cannot_play_is_written_all_the_same(page, tmp_path):
    path = tmp_path / "call.sph"
    path.write_bytes(b"NIST_1A\n   1024\n" + bytes(2000))
    page.give(path)
    page.finish()
    assert page.texts() == ["seven two nine"]
    page.wait(lambda: "cannot play" in page.text("#sound-note"))
    assert not page.one("#play").is_enabled()
    page.complaints()  # the browser's own, of the file


@pytest.mark.parametrize("name", SIZES)
def test_nothing_is_wider_than_the_screen(page, answers, name):
    getattr(page, name)()
    wide = "return [document.documentElement.scrollWidth, innerWidth]"
    assert page.run(wide) == [SIZES[name], SIZES[name]]
    long = delta(0, [("antidisestablishmentarianism" * 4, 0.1, 0.5)], "en")
    answers.events = [long, done("en", 2.0, warnings=["a" * 200])]
    page.choose("task", "both")
    page.give(CALL)
    page.finish()
    assert page.run(wide) == [SIZES[name], SIZES[name]]


def test_less_movement_where_it_is_asked_for(page, answers):
    answers.pause_seconds = 5
    moving = "return getComputedStyle(document.getElementById('state'), '::before').animationName"
    page.give(CALL)
    page.wait(lambda: page.state() == "working")
    assert page.run(moving) == "breathe"
    page.media(prefers_reduced_motion="reduce")
    assert page.run(moving) == "none"
    page.press("#stop")


@pytest.mark.parametrize("form", FORMS)
def test_long_recordings_are_drawn_in_pieces_and_the_page_goes_on(page, answers, tmp_path, form):
    """An hour of WAV, minutes of what the browser decodes: what is drawn is where it was."""
    container, subtype = form.split("/")
    seconds = {"WAV/PCM_16": 3600, "WAV/ULAW": 3600, "OGG/OPUS": 180}.get(form, 480)
    path = tmp_path / f"long.{container.lower()}"
    write_long(path, container, subtype, seconds)
    starts = range(0, seconds, 60)
    answers.events = [
        *(delta(i, [("loud", s + 0.5, s + 9.0)], "en") for i, s in enumerate(starts)),
        done("en", float(seconds)),
    ]
    page.run(
        "window.longest = 0; window.last = window.began = performance.now();"
        "const step = (now) => { longest = Math.max(longest, now - last); last = now;"
        " requestAnimationFrame(step); }; requestAnimationFrame(step)"
    )
    page.give(path)
    page.finish()
    page.wait(lambda: page.text("#whole") == clock(seconds))
    page.wait(lambda: is_drawn(bars(page), seconds))
    assert len(page.texts()) == seconds // 60
    longest, took = page.run("return [longest, last - began]")
    # On a machine that does much else everything takes long, and no frame most of it.
    assert longest < max(2000, took / 4), "the page stood still"
    heap = page.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
    assert heap < 60e6


def write_long(path, container, subtype, seconds):
    """Noise in the first ten seconds of every minute."""
    rate = 8000
    loud = np.random.default_rng(1).uniform(-0.8, 0.8, 10 * rate).astype(np.float32)
    level = 0.0 if subtype == "OPUS" else None  # its highest bit rate: fewer seconds fill pieces
    with soundfile.SoundFile(
        path, "w", rate, 1, subtype, format=container, compression_level=level
    ) as file:
        for place in range(seconds // 10):
            file.write(loud if place % 6 == 0 else 0 * loud)
    assert path.stat().st_size > 1 << 18, "this is one piece"


def clock(seconds):
    minutes = seconds // 60
    return f"{minutes // 60}:{minutes % 60:02d}:00" if minutes >= 60 else f"{minutes}:00"


def bars(page):
    """How tall the picture of the whole is at each of its pixels."""
    return page.run(
        "const canvas = document.getElementById('overview');"
        "if (!canvas.width) return null;"
        "const { data, width, height } = "
        "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        "const wave = getComputedStyle(document.documentElement).getPropertyValue('--wave');"
        "const red = parseInt(wave.slice(1, 3), 16);"
        "return Array.from({length: width}, (_, x) => { let tall = 0; for (let y = 0; y < height; "
        "y += 1) if (Math.abs(data[4 * (y * width + x)] - red) < 3) tall += 1; return tall; })"
    )


def is_drawn(tall, seconds):
    """Whether the picture is tall where it was loud."""
    if not tall or not any(tall):
        return False
    heights = np.maximum(tall[:-1], tall[1:])  # there are gaps between the bars
    is_loud = np.linspace(0, seconds, len(heights)) % 60 < 10
    # Of an hour, a bar is eleven seconds.
    return np.corrcoef(heights > 12, is_loud)[0, 1] > (0.5 if seconds > 1000 else 0.7)
