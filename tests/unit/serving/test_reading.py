"""An upload is heard as the command line hears it, by a process that a hostile file alone ends."""

import os
import re
import signal
import socket
import subprocess
import textwrap
import threading
import time
from collections import deque
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.containers import encode
from tests.doubles import tone
from tests.reliability.bombs import flac_of_silence
from tests.reliability.seeds import FAMILIES, Form, seed
from turnout.audio.waveform import open_recording
from turnout.config import TranscriptionOptions
from turnout.config.serving import ServingConfig
from turnout.errors import (
    AudioError,
    AudioTooLong,
    Busy,
    Cancelled,
    EngineError,
    TurnoutError,
)
from turnout.serving import readers as readers_module
from turnout.serving import reading_child
from turnout.serving.readers import Readers
from turnout.serving.reading import Reading, opened_file

Heard = tuple[int, NDArray[np.float32], tuple[str, ...]]
FORMS = [form for family in FAMILIES.values() for form in family]
NAME = "a client's name.wav"


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    found = Readers(ServingConfig())
    found.start()
    yield found
    found.close()


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten hours of silence in 20 kB: it takes seconds to decode."""
    path = tmp_path_factory.mktemp("hours") / "hours.flac"
    path.write_bytes(flac_of_silence(10 * 3600))
    return path


def begun(readers: Readers, path: Path, **options: Any) -> Reading:
    return readers.open(opened_file(path, NAME), NAME, TranscriptionOptions(**options))


def elsewhere(readers: Readers, path: Path, **options: Any) -> Heard:
    """A recording as another process reads it."""
    reading = begun(readers, path, **options)
    try:
        recording = reading.recording(TranscriptionOptions(**options).max_duration)
        samples = np.concatenate(list(recording.blocks()))
        return recording.native_rate, samples, recording.warnings
    finally:
        reading.close()


def here(path: Path, **options: Any) -> Heard:
    """The same, read in this process."""
    recording = open_recording(path, name=NAME, **options)
    samples = np.concatenate(list(recording.blocks()))
    return recording.native_rate, samples, recording.warnings


def why(read: Any, *given: Any, **options: Any) -> tuple[type[TurnoutError], str]:
    """Why a recording is refused."""
    with pytest.raises(TurnoutError) as caught:
        read(*given, **options)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_container_is_heard_as_in_this_process(
    readers: Readers, form: Form, tmp_path: Path
) -> None:
    path = tmp_path / f"upload{form.ending}"
    path.write_bytes(seed(form, 3))
    (rate, samples, warnings), (wanted_rate, wanted, said) = elsewhere(readers, path), here(path)
    assert (rate, warnings) == (wanted_rate, said)
    np.testing.assert_array_equal(samples, wanted)


def test_what_was_amiss_and_taken_is_told(readers: Readers, tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    data = encode(tone(3.0), container="FLAC")
    path.write_bytes(data[: len(data) // 2])
    assert elsewhere(readers, path)[2] == here(path)[2]
    assert "end early" in elsewhere(readers, path)[2][0]


@pytest.mark.parametrize("channel", [0, 1])
def test_a_channel_is_chosen(readers: Readers, channel: int, tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    path.write_bytes(encode(np.stack([tone(1.0), 0.1 * tone(1.0, frequency_hz=900)], axis=1)))
    found = elsewhere(readers, path, channel=channel)[1]
    np.testing.assert_array_equal(found, here(path, channel=channel)[1])


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"", {}),
        (b"#EXTM3U\nhttp://127.0.0.1/a.ts\n", {}),
        (b"RIFF", {}),
        (encode(tone(0.0)), {}),
        (encode(np.full(1600, np.nan, np.float32), subtype="FLOAT"), {}),
        (encode(tone(2.0)), {"max_duration": 1.0}),
        (encode(tone(1.0)), {"channel": 3}),
        (encode(tone(1.0)), {"track": 2}),
        (flac_of_silence(3600), {"max_duration": 60.0}),
    ],
)
def test_a_refusal_has_the_same_words(
    readers: Readers, content: bytes, options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(content)
    kind, message = why(elsewhere, readers, path, **options)
    assert (kind, message) == why(here, path, **options)
    assert message.startswith(f"{NAME}: ")


def test_a_file_may_be_deleted_once_it_is_open(readers: Readers, tmp_path: Path) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(encode(tone(1.0)))
    wanted = here(path)[1]
    file = opened_file(path, NAME)
    path.unlink()
    reading = readers.open(file, NAME, TranscriptionOptions())
    found = np.concatenate(list(reading.recording(100.0).blocks()))
    reading.close()
    np.testing.assert_array_equal(found, wanted)
    assert why(opened_file, path, NAME)[0] is AudioError


def test_what_takes_too_much_time_is_ended(hours: Path) -> None:
    short = Readers(ServingConfig(reading_cpu_seconds=1))
    # All ten hours: a quick machine decodes four within the second.
    reading = begun(short, hours, max_duration=1e6)
    try:
        # What comes is thrown away as it comes: it is gigabytes.
        kind, message = why(deque, reading.recording(1e9).blocks(), maxlen=0)
    finally:
        reading.close()
        short.close()
    assert kind is AudioError
    assert "or 1 s" in message


def test_what_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "wide.wav"
    # A block of it is four million bytes, and what is made of it more.
    path.write_bytes(encode(np.zeros((2000, 1024), np.float32), 192_000, "WAV", "PCM_U8"))
    tight = Readers(ServingConfig(reading_memory_mb=64))
    code = textwrap.dedent(
        """
        import turnout.serving.reading_child as child
        child.SPARE_BYTES = -60 * 2**20
        child.main()
        """
    )
    real = subprocess.Popen

    def started(command: list[str], **more: Any) -> "subprocess.Popen[bytes]":
        return real([command[0], "-c", code, command[-1]], **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", started)
        tight.start()
    try:
        kind, message = why(elsewhere, tight, path)
    finally:
        tight.close()
    assert kind is AudioError
    assert "64 MB" in message


def test_what_gives_no_sound_is_given_up(hours: Path) -> None:
    patient = Readers(ServingConfig(reading_stall_seconds=0.3))
    reading = begun(patient, hours)
    try:
        blocks = reading.recording(1e6).blocks()
        next(blocks)
        for child in children_of(patient):
            os.kill(child, signal.SIGSTOP)
        kind, message = why(list, blocks)
        reading.close()
        assert gone(patient), "a child that neither reads nor writes is killed"
    finally:
        patient.close()
    assert kind is AudioError
    assert "no sound for 0.3 s" in message


def children_of(readers: Readers) -> list[int]:
    """The processes that decode now."""
    assert readers._process is not None
    tasks = Path(f"/proc/{readers._process.pid}/task/{readers._process.pid}/children")
    return [int(one) for one in tasks.read_text().split()]


def gone(readers: Readers) -> bool:
    """Whether nothing is decoded any more, after a moment."""
    until = time.monotonic() + 5.0
    while children_of(readers) and time.monotonic() < until:
        time.sleep(0.05)
    return not children_of(readers)


def test_whoever_waits_for_sound_is_told_that_it_is_not_wanted(
    readers: Readers, hours: Path
) -> None:
    reading = begun(readers, hours)
    blocks = reading.recording(1e9).blocks()
    next(blocks)
    stop = threading.Timer(0.2, reading.stop)
    stop.start()
    assert why(list, blocks)[0] is Cancelled
    reading.close()
    stop.join()
    assert gone(readers)


def test_a_process_that_was_killed_is_started_again(readers: Readers, tmp_path: Path) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(encode(tone(1.0)))
    elsewhere(readers, path)
    assert readers._process is not None
    before = readers._process
    before.kill()
    before.wait()
    assert len(elsewhere(readers, path)[1]) == 16_000
    assert readers._process is not before


def open_files() -> int:
    """Of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_behind(readers: Readers, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    good.write_bytes(encode(tone(0.1)))
    bad.write_bytes(b"not audio")
    elsewhere(readers, good)
    before = open_files(), threading.active_count()
    for _ in range(20):
        elsewhere(readers, good)
        why(elsewhere, readers, bad)
        begun(readers, good).close()
    assert (open_files(), threading.active_count()) == before
    assert gone(readers)


def test_the_children_end_with_the_process(hours: Path) -> None:
    own = Readers(ServingConfig())
    reading = begun(own, hours)
    next(reading.recording(1e9).blocks())
    (child,) = children_of(own)
    own.close()
    until = time.monotonic() + 5.0
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
    reading.close()


@pytest.mark.skipif(find_spec("av") is None, reason="needs the extra av")
def test_a_child_needs_to_import_nothing_more(readers: Readers, tmp_path: Path) -> None:
    """Or it would fail, since it can open no file: of containers that PyAV reads, above all."""
    mp4 = next(form for form in FORMS if form.name.startswith("mp4"))
    path = tmp_path / "upload.m4a"
    path.write_bytes(seed(mp4, 0))
    assert len(elsewhere(readers, path)[1])
    assert why(elsewhere, readers, path, track=5)[1] == why(here, path, track=5)[1]


def test_a_message_of_a_recording_that_is_too_long_says_so(
    readers: Readers, tmp_path: Path
) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(encode(tone(2.0)))
    assert why(elsewhere, readers, path, max_duration=0.5)[0] is AudioTooLong


def test_a_machine_without_room_for_a_process_refuses_one_file_and_reads_the_others(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    ours, theirs = os.pipe()
    monkeypatch.setattr(reading_child.os, "fork", full)
    children: dict[int, int] = {}
    order = {"number": 7, "kill": False}
    with socket.socket() as orders:
        reading_child.obey(order, [os.open(os.devnull, os.O_RDONLY), theirs], orders, children)
    assert not children
    reading = Reading(readers, 7, ours, NAME, ServingConfig())
    try:
        assert why(reading.recording, 10.0) == (
            Busy, "no process can be begun to read this: try again later",
        )  # fmt: skip
    finally:
        reading.close()


def test_the_log_of_a_decoder_s_mistake_holds_nothing_of_the_file() -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        b"a song's title \xff".decode("ascii")
    found = reading_child.place_of(caught.value)
    assert re.fullmatch(r"UnicodeDecodeError < test_reading\.py:\d+", found)


def test_a_file_is_not_blamed_where_the_process_that_forks_has_ended(hours: Path) -> None:
    readers = Readers(ServingConfig())
    reading = begun(readers, hours)
    try:
        blocks = reading.recording(1e6).blocks()
        next(blocks)
        assert readers._process is not None
        readers._process.kill()
        assert why(list, blocks) == (
            EngineError, "the process that decodes uploads has ended: send it again",
        )  # fmt: skip
    finally:
        reading.close()
        readers.close()


def test_the_end_waits_for_no_process_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readers_module, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(readers_module, "PING_SECONDS", 600.0)
    readers = Readers(ServingConfig())
    readers.start()
    process = readers._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    until = time.monotonic() + 60
    while readers._asked is None or time.monotonic() < readers._asked.at + 1:
        assert time.monotonic() < until
        time.sleep(0.05)
    closing = threading.Thread(target=readers.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive(), "it waits for an answer"
    assert process.poll() is not None


def test_a_process_that_somebody_has_stopped_costs_one_file_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(encode(tone(1.0)))
    monkeypatch.setattr(readers_module, "PING_SECONDS", 0.5)
    readers = Readers(ServingConfig(reading_stall_seconds=1.0))
    readers.start()
    try:
        process = readers._process
        assert process is not None
        assert not readers.are_stuck()
        os.kill(process.pid, signal.SIGSTOP)
        assert why(elsewhere, readers, path) == (
            EngineError, "the process that decodes uploads was stuck: send it again",
        )  # fmt: skip
        assert process.poll() is not None, "it is still there"
        monkeypatch.undo()
        readers._config = ServingConfig()
        np.testing.assert_array_equal(elsewhere(readers, path)[1], here(path)[1])
    finally:
        readers.close()
