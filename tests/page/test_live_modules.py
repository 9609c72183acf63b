"""The page's microphone and live stream in a browser, with the real server: what a microphone hears
becomes its words."""

import json
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
import soundfile

from tests.page.chromium import Browser
from tests.page.conftest import ROOT, SPOKEN
from tests.served import Served, served
from turnout.audio.waveform import read_audio

RATE = 16_000
REFERENCES = json.loads((ROOT / "examples" / "references.json").read_text())
KEY = "a-key-of-the-tests"

STREAM = """
const [key, samples, silence] = arguments;
const events = [];
const live = new page.LiveStream({ key, task: "both", on: (event) => events.push(event) });
const sound = Float32Array.from(samples);
live.send(sound.slice(0, 5000)); // before there is anybody to hear it
const ready = await live.open();
for (let first = 5000; first < sound.length; first += 1600) {
  live.send(sound.slice(first, first + 1600));
}
live.send(new Int16Array(silence));
await live.end();
return { ready, events };
"""
REFUSED = """
const told = [];
const [key, rate] = arguments;
const live = new page.LiveStream({ key, rate, on: ({ type }) => told.push(type) });
try { await live.open(); return "it was let in"; }
catch (error) {
  while (told.at(-1) !== "disconnected") await new Promise((resolve) => setTimeout(resolve, 10));
  return [error.message, told];
}
"""
LISTEN = """
const [key, seconds] = arguments;
const { LiveStream } = await import("/page/live.js");
const events = [];
let samples = 0;
const live = new LiveStream({ key, on: (event) => events.push(event) });
const microphone = new page.Microphone((block) => { samples += block.length; live.send(block); });
await microphone.start();
const began = performance.now();
await live.open();
const finals = () => events.filter(({ type }) => type === "final");
while (!finals().length && performance.now() - began < seconds * 1000) {
  await new Promise((resolve) => setTimeout(resolve, 50));
}
microphone.stop();
const elapsed = (performance.now() - began) / 1000;
await live.end();
const bytes = new Uint8Array(await microphone.recording().arrayBuffer());
let text = "";
for (const byte of bytes) text += String.fromCharCode(byte);
return { events, samples, elapsed, wav: btoa(text) };
"""
RESAMPLE = """
const [from, samples, cuts] = arguments;
const resampler = new page.Resampler(from, page.RATE);
const whole = Float32Array.from(samples);
const found = [];
let first = 0;
for (const last of [...cuts, whole.length]) {
  found.push(...resampler.add(whole.slice(first, last)));
  first = last;
}
return found;
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("uploads"), page=True, api_keys=(KEY,)) as found:
        yield found


@pytest.fixture
def page(browser: Browser, server: Served) -> Browser:
    browser.open(server.url)
    return browser


def test_a_stream_of_the_page_becomes_its_words(page: Browser) -> None:
    name = "english-1.flac"
    samples = read_audio(ROOT / "examples" / name).samples.round(5).tolist()
    found = page.import_and("live.js", STREAM, KEY, samples, RATE)
    assert found["ready"]["type"] == "ready"
    (final,) = (event for event in found["events"] if event["type"] == "final")
    assert final["text"] == REFERENCES[name]["text"]
    assert final["translation"]["text"] == REFERENCES[name]["translation"]
    # Nothing was lost before the server was ready: times count from the first sample.
    assert final["end"] == pytest.approx(len(samples) / RATE + 0.5, abs=0.3)
    assert found["events"][-1] == {"type": "disconnected", "code": 1000}
    assert page.complaints() == []


def test_a_stream_that_is_refused_says_why(page: Browser) -> None:
    message, told = page.import_and("live.js", REFUSED, "another", RATE)
    assert message.startswith("the key is missing or wrong")
    assert told == ["error", "closed", "disconnected"]
    message, _ = page.import_and("live.js", REFUSED, KEY, 44_100)
    assert message.startswith("rate is 44100")


def test_sound_that_nobody_takes_is_not_gathered_for_ever(page: Browser) -> None:
    script = (
        "const told = []; const live = new page.LiveStream({ on: (event) => told.push(event) });"
        "for (let second = 0; second < 120; second += 1) live.send(new Int16Array(live.rate));"
        "return told.map(({ error }) => error.message);"
    )
    assert page.import_and("live.js", script) == [
        "The model took too long to load: try again now that it is there."
    ]


def test_what_the_microphone_hears_becomes_its_words_and_a_file(page: Browser) -> None:
    found = page.import_and("microphone.js", LISTEN, KEY, 20)
    finals = [event for event in found["events"] if event["type"] == "final"]
    assert finals, found["events"]
    assert finals[0]["text"] == REFERENCES[SPOKEN.name]["text"]
    heard, rate = soundfile.read(BytesIO(b64decode(found["wav"])))
    assert (rate, len(heard)) == (RATE, found["samples"])
    # All that there was, in real time: nothing is lost on the way.
    assert len(heard) / RATE == pytest.approx(found["elapsed"], abs=0.5)
    begin, end = (round(finals[0][side] * RATE) for side in ("start", "end"))
    assert np.abs(heard[begin:end]).max() > 10 * np.abs(heard[: begin - RATE // 4]).max(initial=0)


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000, 8_000])
def test_the_resampler_keeps_what_16_khz_can_hold_and_nothing_else(
    page: Browser, rate: int
) -> None:
    seconds = 0.25
    time = np.arange(round(seconds * rate)) / rate
    for hertz in (440.0, 3_000.0, 11_000.0):
        if hertz > rate / 2:
            continue
        samples = (0.5 * np.sin(2 * np.pi * hertz * time)).round(6).tolist()
        found = np.array(page.import_and("capture.js", RESAMPLE, rate, samples, [1, 700, 701]))
        assert np.array_equal(page.import_and("capture.js", RESAMPLE, rate, samples, []), found)
        assert seconds * RATE - 60 <= len(found) <= seconds * RATE
        ideal = 0.5 * np.sin(2 * np.pi * hertz * np.arange(len(found)) / RATE)
        inside = slice(60, -60)
        wanted = ideal[inside] if hertz < RATE / 2 else np.zeros(len(found) - 120)
        assert found[inside] == pytest.approx(wanted, abs=2e-3)
