"""What is recognised by its content: tags before a container, AAC, AMR, broadcasts, and tracks."""

from pathlib import Path

import numpy as np
import pytest

from tests.containers import Track, encode, encode_av, encode_tracks, repeat_av, with_id3
from turnout.audio.waveform import Waveform, read_audio
from turnout.config import TranscriptionOptions
from turnout.errors import AudioError, ConfigError

FAULTS = Path(__file__).parents[4] / "shared" / "faults"


def tone(seconds: float = 1.0, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def pitch(wave: Waveform) -> float:
    """Of a tone, in Hz."""
    spectrum = np.abs(np.fft.rfft(wave.samples * np.hanning(len(wave.samples))))
    return float(spectrum.argmax()) * 16_000 / len(wave.samples)


@pytest.mark.parametrize("size", [0, 70, 1677, 300_000])
@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "ULAW"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("OGG", "OPUS"),
     ("OGG", "VORBIS"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("AU", "PCM_16"),
     ("MP3", "MPEG_LAYER_III")],
)  # fmt: skip
def test_tags_before_a_container_are_passed_over(container: str, subtype: str, size: int) -> None:
    data = encode(tone(), 16_000, container, subtype)
    expected = read_audio(data)
    once = with_id3(data, size)
    for tagged in (once, with_id3(once, 33), with_id3(data, size, footer=True)):
        wave = read_audio(tagged)
        np.testing.assert_array_equal(wave.samples, expected.samples)
        assert wave.warnings == ()


def test_a_tagged_wav_of_unknown_size_is_whole() -> None:
    data = encode(tone())
    data = data[:40] + bytes(4) + data[44:]
    np.testing.assert_array_equal(read_audio(with_id3(data, 99)).samples, read_audio(data).samples)


def test_a_tag_longer_than_its_file_is_no_recording() -> None:
    for data in (with_id3(b"", 5000)[:300], with_id3(b"", 20), b"ID3", b"ID3" * 4000):
        with pytest.raises(AudioError, match="not a recording that can be read"):
            read_audio(data)


AV = [
    ("adts", "aac", 16_000),
    ("adts", "aac", 44_100),
    ("amr", "amr_nb", 8000),
    ("mpegts", "aac", 48_000),
    ("mpegts", "mp2", 48_000),
    ("3gp", "amr_nb", 8000),
    ("3gp", "aac", 16_000),
    ("mov", "pcm_s16le", 16_000),
    ("asf", "mp2", 44_100),
    ("flv", "aac", 44_100),
    ("avi", "pcm_s16le", 16_000),
    ("vob", "mp2", 48_000),
    ("wav", "adpcm_g726", 8000),
    ("wav", "mp2", 16_000),
    ("caf", "amr_nb", 8000),
]


@pytest.mark.parametrize(("container", "codec", "rate"), AV)
def test_what_phones_and_broadcasts_write_is_read_whole(
    container: str, codec: str, rate: int
) -> None:
    data = encode_av(tone(2.0, rate), rate, container, codec)
    for file in (data, with_id3(data, 500)):
        wave = read_audio(file)
        assert wave.native_rate == rate
        # Up to two frames more, of which one is priming: 1,024 samples of AAC, 1,152 of MP2.
        assert wave.duration == pytest.approx(2.0, abs=2 * 1152 / rate)
        assert pitch(wave) == pytest.approx(440, abs=1)
        assert wave.samples[4000:-4000].std() == pytest.approx(0.3 / np.sqrt(2), rel=0.2)
        assert wave.warnings == ()


@pytest.mark.parametrize(
    ("container", "subtype", "rate"),
    [("WAV", "GSM610", 8000), ("WAV", "IMA_ADPCM", 16_000), ("WAV", "MS_ADPCM", 16_000),
     ("WAV", "G721_32", 16_000), ("W64", "PCM_16", 16_000), ("RF64", "PCM_16", 16_000),
     ("WAVEX", "PCM_24", 16_000), ("CAF", "ALAC_16", 16_000), ("CAF", "PCM_16", 16_000),
     ("AU", "ULAW", 8000), ("AIFF", "ALAW", 8000), ("AIFF", "GSM610", 8000)],
)  # fmt: skip
def test_what_libsndfile_reads_besides_is_whole(container: str, subtype: str, rate: int) -> None:
    wave = read_audio(encode(tone(2.0, rate), rate, container, subtype))
    assert wave.duration == pytest.approx(2.0, abs=0.05)
    assert pitch(wave) == pytest.approx(440, abs=1)
    assert wave.warnings == ()


def test_windows_media_is_read() -> None:
    wave = read_audio(repeat_av(tone(2.0, 44_100), 44_100, 2.0, "asf", "wmav2", {"b": "64000"}))
    assert wave.duration == pytest.approx(2.0, abs=0.1)
    assert pitch(wave) == pytest.approx(440, abs=1)


def test_wideband_amr_is_read() -> None:
    pytest.importorskip("av")
    frame = b"\x04" + np.random.default_rng(0).bytes(17)  # 6.6 kbit/s
    wave = read_audio(b"#!AMR-WB\n" + frame * 50)
    assert (wave.native_rate, wave.duration) == (16_000, pytest.approx(1.0))


def test_a_broadcast_that_begins_amidst_a_frame_is_read_from_there() -> None:
    data = encode_av(tone(4.0, 48_000), 48_000, "mpegts", "aac")
    wave = read_audio(data[188 * 40 :])
    assert 2.5 < wave.duration < 4.0
    assert pitch(wave) == pytest.approx(440, abs=1)


def test_a_broadcast_that_changes_its_channels_goes_on() -> None:
    mono = encode_av(tone(1.0), 16_000, "adts", "aac")
    stereo = bytearray(encode_av(tone(1.0, hz=880), 16_000, "adts", "aac"))
    place = 0
    while place + 7 <= len(stereo):  # channel configuration 2 of one channel's data: damaged frames
        stereo[place + 3] = stereo[place + 3] & 0x3F | 0x80
        place += int.from_bytes(stereo[place + 3 : place + 6], "big") >> 5 & 0x1FFF
    wave = read_audio(mono + bytes(stereo) + mono)
    assert wave.duration > 1.9


@pytest.mark.parametrize(
    "data", [b"#!AMR\n", b"#!AMR_MC1.0\n" + bytes(99), b"\xff\xf1\x60\x40" * 9, b"G" * 999]
)
def test_what_only_begins_like_them_is_refused(data: bytes) -> None:
    pytest.importorskip("av")
    with pytest.raises(
        AudioError, match=r"^recording: (not a recording that|holds no samples|its samp)"
    ):
        read_audio(data)


FIRST, SECOND = tone(2.0, hz=440), tone(1.5, hz=880)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "aac"), ("matroska", "aac"), ("mpegts", "aac"), ("mov", "aac")]
)
def test_one_of_several_tracks_is_heard_and_the_others_are_told(container: str, codec: str) -> None:
    tracks = [
        Track(samples=FIRST, default=True, language="eng", title="Director's"),
        Track(samples=SECOND, language="ara"),
    ]
    data = encode_tracks(tracks, 48_000 // 3, container, codec)
    wave = read_audio(data)
    assert pitch(wave) == pytest.approx(440, abs=1)
    (warning,) = wave.warnings
    assert warning.startswith("of its 2 audio tracks 0 ('eng'")
    assert warning.endswith("was heard, and not 1 ('ara'): choose one with track")
    for number, (hz, seconds) in enumerate([(440, 2.0), (880, 1.5)]):
        wave = read_audio(data, track=number)
        assert pitch(wave) == pytest.approx(hz, abs=1)
        assert wave.duration == pytest.approx(seconds, abs=0.2)
        assert wave.warnings == ()


def test_streams_beside_each_other_in_ogg_are_tracks() -> None:
    tracks = [Track(samples=tone(2.0, 48_000)), Track(samples=tone(1.5, 48_000, 880.0))]
    data = encode_tracks(tracks, 48_000, "ogg", "libopus")
    (warning,) = read_audio(data).warnings
    assert warning == "of its 2 audio tracks 0 was heard, and not 1: choose one with track"
    for number, (hz, seconds) in enumerate([(440, 2.0), (880, 1.5)]):
        wave = read_audio(data, track=number)
        assert pitch(wave) == pytest.approx(hz, abs=1)
        assert wave.duration == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_the_default_track_is_preferred(container: str) -> None:
    tracks = [Track(samples=FIRST), Track(samples=SECOND, default=True), Track(samples=FIRST)]
    wave = read_audio(encode_tracks(tracks, 16_000, container, "aac"))
    assert pitch(wave) == pytest.approx(880, abs=1)
    assert wave.duration == pytest.approx(1.5, abs=0.2)
    assert wave.warnings == (
        "of its 3 audio tracks 1 was heard, and not 0, 2: choose one with track",
    )


def test_a_track_that_is_not_there_is_refused_with_those_that_are() -> None:
    tracks = [
        Track(samples=FIRST, default=True),
        Track(samples=SECOND, language="ara", title="A\nB"),
    ]
    data = encode_tracks(tracks, 16_000, "matroska", "aac")
    message = r"audio track 2 is not there: it has 2, counted from 0: 0, 1 \('ara', 'A\\nB'\)$"
    with pytest.raises(AudioError, match=message):
        read_audio(data, track=2)
    call = encode_av(tone(rate=8000), 8000, "amr", "amr_nb")
    for source in (encode(tone()), Waveform(tone(), 16_000), call):
        assert read_audio(source, track=0).duration == pytest.approx(1.0, abs=0.05)
        with pytest.raises(AudioError, match=r"there is no audio track 1: it has 1|is not there"):
            read_audio(source, track=1)
    with pytest.raises(ConfigError, match="track is -1"):
        TranscriptionOptions(track=-1)


@pytest.mark.parametrize(("container", "codec"), [("matroska", "aac"), ("mp4", "aac")])
def test_titles_that_are_no_utf8_are_no_reason_to_refuse(container: str, codec: str) -> None:
    tracks = [Track(samples=FIRST, title="TITLEA"), Track(samples=SECOND, title="TITLEB")]
    plain = encode_tracks(tracks, 16_000, container, codec)
    latin = plain.replace(b"TITLE", b"T\xe9\xffLL")
    wave = read_audio(latin)
    np.testing.assert_array_equal(wave.samples, read_audio(plain).samples)
    assert container == "mp4" or "T\ufffd\ufffdLLB" in wave.warnings[0]


def test_a_default_track_that_cannot_be_decoded_gives_way() -> None:
    tracks = [Track(samples=FIRST, default=True), Track(samples=SECOND)]
    data = encode_tracks(tracks, 16_000, "matroska", "aac").replace(b"A_AAC", b"A_ZZZ", 1)
    assert pitch(read_audio(data)) == pytest.approx(880, abs=1)
    with pytest.raises(AudioError, match="audio track 0 cannot be decoded: it has 2"):
        read_audio(data, track=0)


def test_a_damaged_packet_is_told_and_what_is_behind_it_is_heard() -> None:
    data = encode_av(tone(4.0), 16_000, "adts", "aac")
    frames, place = [], 0
    while place < len(data):
        length = int.from_bytes(data[place + 3 : place + 6], "big") >> 5 & 0x1FFF
        frames.append(data[place : place + length])
        place += length
    frames[20] = frames[20][:7] + b"\xff" * (len(frames[20]) - 7)
    wave = read_audio(b"".join(frames))
    assert wave.duration == pytest.approx(4.0, abs=0.15)
    assert wave.warnings[0].startswith("silent where 1 packets cannot be decoded (decoder: ")


def test_pauses_that_were_not_sent_are_silence() -> None:
    """Phones say in six bytes, or in one, that nobody speaks: time passes all the same."""
    call = encode_av(tone(rate=8000), 8000, "amr", "amr_nb")
    pause = b"\x44\1\2\3\4\5" + b"\x7c" * 7
    wave = read_audio(call + pause * 25 + call[6:])
    assert wave.duration == pytest.approx(6.0, abs=0.05)
    assert wave.warnings == ()
    assert np.abs(wave.samples[3 * 16_000 : 4 * 16_000]).max() < 0.01
    assert wave.samples[-12_000:-4000].std() > 0.1
    assert read_audio(call[:6] + pause * 25).duration == pytest.approx(4.0)


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no ../shared/faults")
def test_the_faults_that_were_found() -> None:
    assert read_audio(FAULTS / "containers" / "id3-before-riff.wav").warnings == ()
    (warning,) = read_audio(FAULTS / "containers" / "silent-then-speech.mp4").warnings
    assert "of its 2 audio tracks 0 was heard, and not 1" in warning
    assert (
        read_audio(FAULTS / "containers" / "silent-then-speech.mp4", track=1).samples.std() > 0.01
    )
