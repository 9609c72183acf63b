"""Recordings: what is taken, what is refused, what is taken with a warning."""

import os
import subprocess
import sys
import tempfile
import tracemalloc
from contextlib import closing
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.containers import (
    AV_CONTAINERS,
    CONTAINERS,
    encode,
    encode_av,
    with_flac_length,
    with_wav_rate,
    with_wav_size,
)
from turnout.audio import decoders, pyav, waveform
from turnout.audio.waveform import Waveform, open_recording, read_audio
from turnout.errors import AudioError, AudioTooLong, MissingExtra, UsageError


def tone(seconds: float = 1.0, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def refused(data: bytes | str, **options: float) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(data, name="call.wav", **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith("call.wav: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_every_container_gives_the_samples(container: str, subtype: str) -> None:
    wave = read_audio(encode(tone(), 16_000, container, subtype))
    assert wave.samples.dtype == np.float32
    assert wave.native_rate == 16_000
    assert wave.warnings == ()
    assert wave.duration == pytest.approx(1.0, abs=0.001)
    assert np.abs(wave.samples - tone())[1000:-1000].max() < 0.1


@pytest.mark.parametrize("rate", [8000, 11_025, 16_001, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_rate_and_number_of_channels_is_taken(rate: int, channels: int) -> None:
    stored = np.repeat(tone(rate=rate)[:, None], channels, axis=1)
    wave = read_audio(encode(stored, rate))
    assert wave.native_rate == rate
    assert abs(len(wave.samples) - 16_000) <= 1
    np.testing.assert_allclose(wave.samples[500:15_000], tone()[500:15_000], atol=2e-3)


def test_blocks_are_the_whole_recording_in_short_pieces() -> None:
    data = encode(tone(11.0, 48_000), 48_000)
    blocks = list(open_recording(data).blocks())
    assert len(blocks) > 3
    assert max(len(block) for block in blocks) <= 5 * 16_000
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(data).samples)


def test_a_path_a_string_bytes_and_a_stream_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "call.raw"  # an ending that soundfile would take for headerless samples
    path.write_bytes(encode(tone()))
    waves = [read_audio(source) for source in (path, str(path), path.read_bytes())]
    with path.open("rb") as stream:
        waves.append(read_audio(stream))
        assert not stream.closed
    for wave in waves:
        np.testing.assert_array_equal(wave.samples, waves[0].samples)


def test_whatever_holds_bytes_is_taken() -> None:
    data = encode(tone())
    expected = read_audio(data).samples
    spread = memoryview(bytes(byte for pair in zip(data, data, strict=True) for byte in pair))[::2]
    for source in (bytearray(data), memoryview(data), spread):
        assert (read_audio(source).samples == expected).all()


def test_a_closed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(tone()))
    with path.open("rb") as file:
        pass
    with pytest.raises(AudioError, match="recording: cannot be read .*closed file"):
        open_recording(file)


def test_a_file_that_gives_letters_is_no_recording() -> None:
    class Letters:
        def read(self, _size: int) -> str:
            return "RIFF"

    with pytest.raises(UsageError, match="of type Letters: give the path"):
        open_recording(Letters())  # type: ignore[arg-type]


def test_a_limit_of_any_size_is_one() -> None:
    assert len(read_audio(encode(tone(2.0)), max_duration=1e308).samples) == 32_000


def test_the_name_is_the_path_and_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(encode(tone()))
    with closing(open_recording(path)) as recording:
        assert recording.name == str(path)
        assert recording.native_rate == 16_000


def test_a_recording_is_read_once() -> None:
    recording = open_recording(encode(tone()), name="call.wav")
    assert sum(len(block) for block in recording.blocks()) == 16_000
    with pytest.raises(RuntimeError, match=r"call\.wav was read already"):
        next(recording.blocks())


def test_stereo_is_mixed_and_a_channel_can_be_picked() -> None:
    left, right = tone(hz=440), tone(hz=1000)
    data = encode(np.stack([left, right], axis=1))
    np.testing.assert_allclose(read_audio(data).samples, (left + right) / 2, atol=1e-4)
    np.testing.assert_allclose(read_audio(data, channel=1).samples, right, atol=1e-4)
    message = refused(data, channel=2)
    assert "there is no channel 2: it has 2, counted from 0" in message


def test_channels_that_cancel_give_the_loudest() -> None:
    samples = tone(7.0)
    data = encode(np.stack([0.9 * samples, -samples], axis=1))
    np.testing.assert_allclose(read_audio(data).samples, -samples, atol=1e-4)


def test_a_dead_channel_leaves_the_other() -> None:
    data = encode(np.stack([tone(), np.zeros(16_000, np.float32)], axis=1))
    np.testing.assert_allclose(read_audio(data).samples, tone() / 2, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 159, 160, 399, 400, 401])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 192_000])
def test_one_sample_and_more_is_taken(length: int, rate: int) -> None:
    wave = read_audio(encode(tone(rate=rate)[:length], rate))
    assert len(wave.samples) >= 1
    assert wave.warnings == ()


@pytest.mark.parametrize("offset", [0.0, 0.3, -1.0])
def test_an_offset_alone_is_digital_silence(offset: float) -> None:
    wave = read_audio(encode(np.full((30_000, 2), offset, np.float32), 8000))
    assert len(wave.samples) == 60_000
    assert not wave.samples.any()


def test_speech_after_an_offset_is_untouched() -> None:
    samples = np.concatenate([np.full(100_000, 0.1, np.float32), tone()])
    read = read_audio(encode(samples)).samples
    assert not read[:100_000].any()
    np.testing.assert_allclose(read[100_001:], tone()[1:], atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_values_that_are_no_samples_are_refused(value: float) -> None:
    samples = tone(5.0)
    samples[70_000] = value
    assert "NaN, infinite or absurdly large" in refused(encode(samples, subtype="FLOAT"))


def test_files_that_are_no_recordings_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(str(tmp_path / "missing.wav"))
    assert "is a directory" in refused(str(tmp_path))
    assert "not a path" in refused("a\0b")
    assert "is empty" in refused(b"")
    assert "holds no samples" in refused(encode(tone()[:0]))
    for text in (b"hello " * 100, b"#EXTM3U\nhttp://example.org/a.ts\n", b"ffconcat version 1.0\n"):
        assert "not a recording that can be read" in refused(text)


@pytest.mark.parametrize("rate", [1, 2, 7999, 192_001, 655_350])
def test_rates_that_no_recording_has_are_refused(rate: int) -> None:
    message = refused(with_wav_rate(encode(tone()), rate))
    assert f"sampling rate is {rate} Hz: accepted are 8000 to 192000" in message


def test_a_claimed_length_is_not_believed() -> None:
    for claimed in (0, 2**36 - 1):
        wave = read_audio(with_flac_length(encode(tone(), container="FLAC"), claimed))
        np.testing.assert_allclose(wave.samples, tone(), atol=1e-4)
        assert bool(wave.warnings) == (claimed != 0)


def test_what_a_codec_makes_of_no_bytes_is_not_taken() -> None:
    """libsndfile decodes the last block again and again where W64 claims a negative size."""
    data = bytearray(encode(tone(), container="W64", subtype="GSM610"))
    data[data.index(b"data") + 23] |= 0x80
    wave = read_audio(bytes(data), max_duration=60)
    assert len(wave.samples) <= 5 * len(data)
    assert any(said.startswith("the data end early") for said in wave.warnings)


def test_a_recording_that_unpacks_to_hours_stops_at_the_limit() -> None:
    bomb = encode(np.zeros(8000 * 1200, np.float32), 8000, "FLAC")
    assert len(bomb) < 70_000
    tracemalloc.start()
    with pytest.raises(AudioTooLong, match=r"longer than the allowed 300 s: .* raise max_duration"):
        for _ in open_recording(bomb, max_duration=300.0).blocks():
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_the_limit_itself_is_allowed() -> None:
    assert len(read_audio(encode(tone(2.0)), max_duration=2.0).samples) == 32_000
    with pytest.raises(AudioTooLong):
        read_audio(encode(tone(2.01)), max_duration=2.0)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [pair for pair in CONTAINERS if pair != ("OGG", "VORBIS")],  # its last page holds it all
)
def test_data_that_end_early_are_taken_with_a_warning(container: str, subtype: str) -> None:
    samples = np.random.default_rng(0).standard_normal(64_000).astype(np.float32) * 0.1
    data = encode(samples, 16_000, container, subtype)
    wave = read_audio(data[: len(data) // 2])
    assert 12_000 < len(wave.samples) < 48_000  # Ogg pages are a second long
    assert len(wave.warnings) == 1
    assert wave.warnings[0].startswith("the data end early")


@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_a_cut_anywhere_gives_a_recording_or_one_line(container: str, subtype: str) -> None:
    data = encode(tone(), 16_000, container, subtype)
    for part in range(0, 64, 3):
        try:
            wave = read_audio(data[: len(data) * part // 64], name="call.wav")
        except AudioError as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(wave, Waveform)
            assert np.isfinite(wave.samples).all()


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF024])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_written_to_a_pipe_is_whole(size: int, subtype: str) -> None:
    data = encode(tone(), subtype=subtype)
    wave = read_audio(with_wav_size(data, size))
    np.testing.assert_array_equal(wave.samples, read_audio(data).samples)
    assert wave.warnings == ()


def test_a_wav_of_digital_silence_written_to_a_pipe_is_whole() -> None:
    wave = read_audio(with_wav_size(encode(0 * tone()), 0))
    assert len(wave.samples) == 16_000


@pytest.mark.parametrize("behind", [b"", b"LIST\x04\0\0\0INFO", b"junk\1\0\0\0x\0id3 \0\0\0\0"])
def test_a_wav_without_samples_has_none_whatever_is_behind_them(behind: bytes) -> None:
    assert "holds no samples" in refused(encode(tone()[:0]) + behind)


def test_ogg_streams_one_after_the_other_are_warned_of() -> None:
    first, second = (encode(tone(hz=hz), container="OGG", subtype="OPUS") for hz in (440, 880))
    wave = read_audio(first + second)
    assert len(wave.samples) == 16_000
    assert len(wave.warnings) == 1


@pytest.mark.parametrize(("container", "codec"), AV_CONTAINERS)
def test_m4a_and_webm_are_read_by_pyav(container: str, codec: str) -> None:
    data = encode_av(tone(2.0, 48_000), 48_000, container, codec)
    wave = read_audio(data)
    assert wave.native_rate == 48_000
    assert wave.duration == pytest.approx(2.0, abs=0.05)
    assert wave.warnings == ()
    assert wave.samples[4000:-4000].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


def test_webm_that_ends_early_is_taken_with_a_warning() -> None:
    data = encode_av(tone(2.0, 48_000), 48_000, "webm", "libopus")
    wave = read_audio(data[: len(data) // 2])
    assert 0.5 < wave.duration < 1.5
    assert wave.warnings[0].startswith("the data end early")


def test_a_frame_longer_than_any_codec_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_av(tone(2.0), 16_000, "ipod", "alac")
    monkeypatch.setattr(pyav, "LONGEST_FRAME", 4095)
    assert "not a recording that can be read" in refused(data)
    monkeypatch.setattr(pyav, "LONGEST_FRAME", 4096)
    monkeypatch.setattr(decoders, "BLOCK_VALUES", 1000)
    blocks = list(open_recording(data).blocks())
    assert max(len(block) for block in blocks) < 2000
    np.testing.assert_allclose(np.concatenate(blocks), tone(2.0), atol=1e-4)


def test_without_pyav_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"call\.m4a.*pip install 'turnout\[av\]'"):
        read_audio(b"\0\0\0\x20ftypM4A " + bytes(100), name="call.m4a")


@pytest.mark.parametrize("head", [b"\0\0\0\x20ftypM4A ", b"\x1a\x45\xdf\xa3"])
def test_damaged_m4a_and_webm_are_refused(head: bytes) -> None:
    pytest.importorskip("av")
    assert "not a recording that can be read" in refused(head + bytes(200))


def test_a_track_of_an_unknown_codec_is_refused() -> None:
    data = encode_av(tone(), 48_000, "webm", "libopus")
    message = refused(data.replace(b"A_OPUS", b"A_ZZZZ"))
    assert "no audio track in it that can be decoded" in message


class Endless(RawIOBase):
    """Zeros without end, as `/dev/zero` through a pipe."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_a_stream_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveform, "MOST_PIPED_BYTES", 2**25)
    stream: Any = BufferedReader(Endless())
    with pytest.raises(
        AudioError, match=r"^call\.wav: longer than the 33,554,432 bytes .* a file$"
    ):
        read_audio(stream, name="call.wav")
    assert not stream.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_without_an_end_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform, "MOST_PIPED_BYTES", 2**25)
    opened: list[Any] = []
    spooled = tempfile.SpooledTemporaryFile

    def noted(*arguments: Any) -> Any:
        opened.append(spooled(*arguments, dir=str(tmp_path / "temporary")))
        return opened[-1]

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", noted)
    (tmp_path / "temporary").mkdir()
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    with (
        subprocess.Popen(["sh", "-c", f"cat /dev/zero > '{pipe}'"], stderr=subprocess.DEVNULL),
        pytest.raises(AudioError, match=r"pipe\.wav: longer than the 33,554,432 bytes"),
    ):
        read_audio(pipe)
    assert [file.closed for file in opened] == [True]
    assert not list((tmp_path / "temporary").iterdir())


def test_a_stream_of_just_so_many_bytes_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(tone())
    monkeypatch.setattr(waveform, "MOST_PIPED_BYTES", len(data))
    assert len(read_audio(BytesIO(data)).samples) == 16_000
    monkeypatch.setattr(waveform, "MOST_PIPED_BYTES", len(data) - 1)
    with pytest.raises(AudioError, match="bytes that are taken from a pipe"):
        read_audio(BytesIO(data))


def test_samples_are_a_recording_of_their_native_rate() -> None:
    samples = np.linspace(0, 0.5, 100_000, dtype=np.float32)
    given = Waveform(samples, 8000, ("cut",))
    before = samples.copy()
    read = read_audio(given)
    assert np.array_equal(read.samples, samples) and np.array_equal(samples, before)
    assert (read.native_rate, read.warnings) == (8000, ("cut",))
    with pytest.raises(AudioTooLong):
        read_audio(given, max_duration=6.0)
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(Waveform(samples[:0], 8000))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((10, 2), np.float32), r"shape \[10, 2\] and type float32: give one dimension"),
        (np.zeros(10), r"shape \[10\] and type float64: give one dimension of float32"),
        ([0.0, 0.5], r"type None"),
    ],
)
def test_samples_that_are_none_are_refused(samples: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Waveform(samples, 16_000)
