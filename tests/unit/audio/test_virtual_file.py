"""What libsndfile's callbacks meet: nothing that is raised there may reach stderr or be lost."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from tests.containers import encode, encode_av
from turnout.audio.decoders import SoundFileDecoder, VirtualFile
from turnout.audio.pyav import AvDecoder
from turnout.audio.waveform import open_recording, read_audio
from turnout.errors import AudioError

FAULTS = Path(__file__).parents[4] / "shared" / "faults"
NOISE = 0.1 * np.random.default_rng(0).standard_normal(40_000)


FFMPEG = {"mp4": ("mov", "aac", 16_000), "adts": ("aac", "aac", 16_000),
          "amr": ("amr", "amr_nb", 8000)}  # fmt: skip
"""A container's name when it is read, its codec and rate."""


class Failing(BytesIO):
    """A file whose reading fails from a place on."""

    def __init__(self, data: bytes, place: int, error: BaseException) -> None:
        super().__init__(data)
        self._place, self._error = place, error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._place:
            raise self._error
        return super().read(size)


def with_chunk_sizes(data: bytes, name: bytes, size: int) -> bytes:
    """The AIFF file with another size of this chunk."""
    place = data.index(name) + 4
    return data[:place] + struct.pack(">I", size % 2**32) + data[place + 4 :]


@pytest.mark.parametrize("chunk", [b"FORM", b"COMM", b"SSND"])
@pytest.mark.parametrize("size", [0, 1, 2**31 - 1, 2**31, -8, -18, -60, -200, -1])
def test_sizes_that_send_it_anywhere_say_nothing_on_stderr(
    chunk: bytes, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data = with_chunk_sizes(encode(NOISE, container="AIFF"), chunk, size)
    try:
        assert read_audio(data).samples.any()
    except AudioError as error:
        assert "\n" not in str(error)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no ../shared/faults")
def test_the_file_that_was_found_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(AudioError, match=r"negative-seek\.aiff: not a recording that can be read"):
        read_audio(FAULTS / "damaged" / "negative-seek.aiff")
    assert capsys.readouterr().err == ""


def test_places_before_the_beginning_and_far_behind_the_end_hold_nothing() -> None:
    raw = BytesIO(b"0123456789")
    file = VirtualFile(raw, raw.read)
    for offset, whence, place in ((-3, 0, -3), (1, 1, -2), (-20, 2, -10), (50, 0, 50)):
        file.seek(offset, whence)
        assert (file.tell(), file.read(4)) == (place, b"")
    file.seek(-2, 2)
    assert (file.read(100), file.tell()) == (b"89", 10)
    for offset in (2**63, -(2**63), 2**70):
        file.seek(offset)
        assert abs(file.tell()) < 2**63
        assert file.read(1) == b""
    file.seek(4)
    assert (file.read(-1), file.read(2)) == (b"", b"45")
    file.check()


@pytest.mark.parametrize("place", [0, 20, 30_000])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF"])
def test_what_reading_raises_is_raised_to_the_caller(
    place: int, container: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = encode(NOISE, container=container)
    for error in (OSError(5, "Input/output error"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            for _ in SoundFileDecoder(Failing(data, place, error), "call.wav").blocks():
                pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", [0, 3000])
@pytest.mark.parametrize("container", FFMPEG)
def test_so_is_what_ffmpeg_meets(
    place: int, container: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, codec, rate = FFMPEG[container]
    data = encode_av(np.tile(NOISE, 12), rate, container, codec)
    for error in (OSError(5, "Input/output error"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            for _ in AvDecoder(Failing(data, place, error), "call", name, None).blocks():
                pass
    assert capsys.readouterr().err == ""


def test_a_place_before_the_beginning_is_said_to_ffmpeg_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """PyAV prints what it cannot keep: a second error before the first is taken."""
    data = encode_av(NOISE, 8000, "caf", "amr_nb")
    place = data.index(b"data") + 4
    for size in (2**64 - 200, 2**64 - 9000, 2**63, 2**63 - 1):
        try:
            read_audio(data[:place] + size.to_bytes(8, "big") + data[place + 8 :])
        except AudioError as error:
            assert "\n" not in str(error)
    assert capsys.readouterr().err == ""


def test_a_disk_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "call.wav"
    path.touch()
    for place in (0, 30_000):
        failing = Failing(encode(NOISE), place, OSError(5, "Input/output error"))
        monkeypatch.setattr(Path, "open", lambda _self, _mode, failing=failing: failing)
        with pytest.raises(AudioError, match=r"call\.wav: cannot be read \(Input/output error\)"):
            list(open_recording(path).blocks())


FORKS = ["._", ".AppleDouble/"]
"""Where libsndfile looks beside a file without a name for Apple's other half of one."""


@pytest.mark.parametrize("fork", FORKS)
def test_nothing_beside_the_file_is_read(
    fork: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "mp3": encode(NOISE, 44_100, "MP3", "MPEG_LAYER_III"),
        "wav": encode(NOISE),
        "neither": b"neither " * 5000,
    }
    files["tagged mp3"] = b"ID3\3\0\0\0\0\0\0" + files["mp3"]
    alone = {name: outcome(data) for name, data in files.items()}
    assert "Format not recognised" in str(alone["neither"])
    monkeypatch.chdir(tmp_path)
    Path(fork).mkdir() if fork.endswith("/") else Path(fork).touch()
    for name, data in files.items():
        assert outcome(data) == alone[name], name


def outcome(data: bytes) -> tuple[object, ...]:
    """What becomes of it."""
    try:
        wave = read_audio(data)
    except AudioError as error:
        return (str(error),)
    return (wave.samples.tobytes(), wave.warnings)
