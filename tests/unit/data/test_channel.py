"""The channel of a recipe: what it draws, for whom, and what it says where it cannot be had."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tests.unit.data.words import word, write_words
from turnout.audio import telephone
from turnout.audio.features import mel_power
from turnout.config import AugmentConfig, ChannelConfig, FeatureConfig
from turnout.config.plain import from_plain, to_plain
from turnout.corpora.clips import Clip, read_clips
from turnout.data import channel as channel_module
from turnout.data.channel import Channel, Draws, open_channel, telephone_of
from turnout.data.store import FeatureStore, digest_of, open_store
from turnout.data.variants import VariantConfig, generator_of, variants_of
from turnout.errors import ConfigError
from turnout.guidance import Bandwidth

RECIPES = Path(__file__).parents[3] / "recipes"
NOISE_ROOMS = RECIPES.parents[1] / "shared/data/noise_rooms.tar"
QUIET = ChannelConfig(
    codecs=("none",), packet_loss=0.0, room=0.0, noise=0.0, level=0.0, clipping=0.0
)
PLAIN = VariantConfig(features=FeatureConfig(), telephone_variants=2, narrowband=True, trim=False)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of noises and rooms with a manifest."""
    folder, rng = tmp_path / "sounds", np.random.default_rng(5)
    folder.mkdir()
    lines = []
    for number, split in enumerate(("train", "train", "test")):
        noise = 0.1 * rng.standard_normal(16_000).astype(np.float32)
        room = np.concatenate([[1.0], 0.3 * rng.standard_normal(4000)]).astype(np.float32) * 0.5
        for kind, samples in (("noise", noise), ("impulse response", room)):
            name = f"{kind.split(maxsplit=1)[0]}-{number}.flac"
            soundfile.write(folder / name, samples, 16_000)
            lines.append({"audio_filepath": name, "kind": kind, "split": split})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def draws(seed: int) -> Draws:
    line, place, moment = (np.random.default_rng([seed, part]) for part in range(3))
    return Draws(line=line, place=place, moment=moment)


@pytest.mark.parametrize("split", ["Evaluation", "val-noises", "my_test", "testset"])
def test_noises_of_a_held_out_split_are_kept_out_however_it_is_called(
    sounds: Path, split: str
) -> None:
    manifest = sounds / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"test"', f'"{split}"'))
    channel = open_channel(ChannelConfig(noises=str(sounds), rooms=str(sounds)))
    assert (len(channel.noises), len(channel.rooms)) == (2, 2)


def test_a_manifest_tells_noises_from_rooms_and_keeps_the_test_out(sounds: Path) -> None:
    made = open_channel(ChannelConfig(codecs=("none",), noises=str(sounds), rooms=str(sounds)))
    assert [Path(sound.path).name for sound in made.noises] == ["noise-0.flac", "noise-1.flac"]
    assert [Path(sound.path).name for sound in made.rooms] == ["impulse-0.flac", "impulse-1.flac"]


def test_any_folder_of_recordings_will_do(sounds: Path) -> None:
    (sounds / "manifest.jsonl").unlink()
    (sounds / "deeper").mkdir()
    (sounds / "noise-2.flac").rename(sounds / "deeper" / "noise.FLAC")
    (sounds / "licence.txt").write_text("free")
    found = open_channel(ChannelConfig(codecs=("none",), noises=str(sounds))).noises
    assert len(found) == 6
    assert list(found) == sorted(found, key=lambda sound: sound.path)


def test_a_quiet_channel_is_the_recording() -> None:
    samples = word("uno", 120.0)
    after = open_channel(QUIET).version(samples, draws(0), telephone=False)
    np.testing.assert_array_equal(after, samples)


@pytest.mark.parametrize("telephone", [False, True])
def test_the_same_seeds_give_the_same_samples(sounds: Path, telephone: bool) -> None:
    config = ChannelConfig(
        codecs=("none", "mulaw", "gsm"), noises=str(sounds), rooms=str(sounds), room=0.5
    )
    made, samples = open_channel(config), word("tres", 120.0)
    versions = [made.version(samples, draws(seed), telephone=telephone) for seed in range(20)]
    channel_module.samples_of.cache_clear()
    for seed, version in enumerate(versions):
        assert version.shape == samples.shape
        assert version.dtype == np.float32
        assert np.abs(version).max() <= 1.01
        again = made.version(samples, draws(seed), telephone=telephone)
        np.testing.assert_array_equal(again, version)
    assert len({version.tobytes() for version in versions}) > 15


@pytest.mark.parametrize(
    ("changes", "share"),
    [({"noise": 0.3}, 0.3), ({"room": 0.4}, 0.4), ({"level": 0.5}, 0.5), ({"clipping": 0.2}, 0.2)],
)
def test_each_share_is_kept(sounds: Path, changes: dict[str, float], share: float) -> None:
    config = replace(QUIET, noises=str(sounds), rooms=str(sounds), **changes)
    made, samples = open_channel(config), word("uno", 120.0)
    count = sum(
        not np.array_equal(made.version(samples, draws(seed), telephone=False), samples)
        for seed in range(400)
    )
    assert count / 400 == pytest.approx(share, abs=0.07)


def test_the_noise_of_a_version_has_a_ratio_of_the_range(sounds: Path) -> None:
    config = replace(QUIET, noises=str(sounds), noise=1.0, noise_snr_db=(12.0, 12.0))
    samples = word("dos", 120.0)
    added = open_channel(config).version(samples, draws(3), telephone=False) - samples
    ratio = np.square(samples, dtype=np.float64).mean() / np.square(added, dtype=np.float64).mean()
    assert 10 * np.log10(ratio) == pytest.approx(12.0, abs=0.5)


def test_every_codec_and_packet_loss_is_heard() -> None:
    config = ChannelConfig(codecs=("mulaw", "gsm"), packet_loss=0.5)
    lines = [channel_module._line(config, np.random.default_rng(seed)) for seed in range(200)]
    assert {line.codec for line in lines} == {"mulaw", "gsm"}
    losing = [line.loss for line in lines if line.loss is not None]
    assert 70 < len(losing) < 130
    assert all(0.01 <= rate <= 0.15 and 1.0 <= burst <= 4.0 for rate, burst in losing)


def test_one_share_does_not_move_what_others_draw(sounds: Path) -> None:
    config = replace(QUIET, codecs=("mulaw", "gsm"), noises=str(sounds), noise=0.5)
    for seed in range(20):
        one, other = (
            channel_module._line(changed, np.random.default_rng(seed))
            for changed in (config, replace(config, packet_loss=1.0))
        )
        assert replace(one, loss=None) == replace(other, loss=None)


def clips_of(folder: Path) -> list[Clip]:
    return read_clips(write_words(folder, takes=1))


def versions(clip: Clip, config: VariantConfig) -> list[bytes]:
    return [v.log_power.tobytes() for v in variants_of(clip, word("uno", 120.0), config)]


def test_a_line_is_the_speakers_and_a_place_the_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float, float]] = []

    def noted(self: Channel, samples: np.ndarray, drawn: Draws, *, telephone: bool) -> np.ndarray:
        seen.append((drawn.line.random(), drawn.place.random(), drawn.moment.random()))
        return samples

    monkeypatch.setattr(Channel, "version", noted)
    first, second = clips_of(tmp_path)[:2]
    assert first.speaker == second.speaker
    for trim in (False, True):
        config = replace(PLAIN, trim=trim, channel=open_channel(QUIET))
        seen.clear()
        for clip in (first, second):
            variants_of(clip, word("uno", 120.0), config)
        half = len(seen) // 2
        assert half == 4
        for one, other in zip(seen[:half], seen[half:], strict=True):
            assert one[0] == other[0]
            # Words that are joined are said in one place.
            assert (one[1] == other[1]) is trim
            assert one[2] != other[2]
        assert len({drawn[0] for drawn in seen}) == half


def test_wideband_has_versions_of_its_own(tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "w")
    config = replace(PLAIN, channel=open_channel(replace(QUIET, level=1.0, wideband_variants=3)))
    assert config.numbers(clips[0]) == [0, 1, 2, 3, 4, 5]
    store = open_store(clips, config, tmp_path)
    assert (store.offsets >= 0).sum(axis=1).tolist() == [6] * len(clips)
    assert top(store, 4) > top(store, 1) + 3.0
    only_wide = replace(config, narrowband=False)
    assert only_wide.numbers(clips[0]) == [0, 3, 4, 5]
    fewer = open_store(clips, only_wide, tmp_path)
    assert (fewer.offsets[0] >= 0).tolist() == [True, False, False, True, True, True]
    np.testing.assert_array_equal(fewer.variant(0, 3).log_power, store.variant(0, 3).log_power)
    narrow = replace(clips[0], bandwidth=Bandwidth.NARROWBAND)
    assert config.numbers(narrow) == [0, 1, 2]


def top(store: FeatureStore, number: int) -> float:
    """Mean log power above 4.3 kHz."""
    return float(store.variant(0, number).log_power[:, 66:].astype(np.float32).mean())


def test_the_old_channel_and_its_stores_stay(tmp_path: Path) -> None:
    clips = [replace(clip, path=f"/no/such/{clip.id}.wav") for clip in clips_of(tmp_path / "w")]
    # Of the commit before there was another channel: stores that were made are found again.
    assert digest_of(clips, PLAIN) == "ef6ec182df86cc95d83093f8"
    line, noise = generator_of("s0"), generator_of(clips[0].id)
    samples = word("uno", 120.0)
    for found in variants_of(clips[0], samples, PLAIN)[1:]:
        expected = mel_power(telephone.random_channel(line).apply(samples, noise), PLAIN.features)
        np.testing.assert_array_equal(found.log_power, np.log(expected).astype(np.float16))
    found = telephone_of(None)(word("dos", 120.0), np.random.default_rng(4))
    rng = np.random.default_rng(4)
    expected = telephone.random_channel(rng).apply(word("dos", 120.0), rng)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["commands", "commands_sounds", "telephone"])
def test_the_shipped_recipes_keep_the_old_channel(name: str) -> None:
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text("utf-8"))
    augment = from_plain(AugmentConfig, recipe["data"]["augment"])
    assert (augment.channel is None) is name.startswith("commands")


def test_the_digest_follows_the_channel(sounds: Path, tmp_path: Path) -> None:
    clips = clips_of(tmp_path / "w")
    digests = {digest_of(clips, PLAIN)}
    for settings in (QUIET, replace(QUIET, noise=0.5, noises=str(sounds))):
        digests.add(digest_of(clips, replace(PLAIN, channel=open_channel(settings))))
    soundfile.write(sounds / "noise-0.flac", np.linspace(0, 0.1, 99), 16_000)
    settings = replace(QUIET, noise=0.5, noises=str(sounds))
    digests.add(digest_of(clips, replace(PLAIN, channel=open_channel(settings))))
    assert len(digests) == 4


@pytest.mark.parametrize("option", ["noises", "rooms"])
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path, option: str) -> None:
    def opened(folder: Path) -> Channel:
        return open_channel(ChannelConfig(codecs=("none",), **{option: str(folder)}))

    with pytest.raises(ConfigError, match=rf"augment\.channel\.{option} is .*: no such folder"):
        opened(tmp_path / "missing")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "readme.txt").write_text("nothing")
    with pytest.raises(ConfigError, match=rf"{option} is .*: no recording in it"):
        opened(empty)
    (empty / "broken.wav").write_bytes(b"RIFF but no audio")
    with pytest.raises(ConfigError, match=rf"{option}: .*broken.wav: not a recording"):
        opened(empty)
    soundfile.write(empty / "broken.wav", np.zeros(800), 16_000)
    with pytest.raises(ConfigError, match="nothing but silence"):
        opened(empty)
    for listed, message in (
        ('{"audio_filepath": "gone.wav"}', r"gone.wav: there is no such file"),
        ('{"audio_filepath": "a\\u0000.wav"}', r"not a path \(embedded null byte\)"),
        ('{"audio_filepath": 7}', r"manifest.jsonl:1: field 'audio_filepath': is 7"),
    ):
        (empty / "manifest.jsonl").write_text(listed)
        with pytest.raises(ConfigError, match=rf"{option}: .*{message}"):
            opened(empty)
    with pytest.raises(ConfigError, match=rf"{option} is empty: name a folder"):
        open_channel(ChannelConfig(codecs=("none",), **{option: ""}))
    (empty / "manifest.jsonl").write_text("{no json")
    with pytest.raises(ConfigError, match=rf"{option}: .*manifest.jsonl:1: is not JSON"):
        opened(empty)


def test_a_room_keeps_what_comes_straight_from_the_mouth(tmp_path: Path) -> None:
    """A trimmed impulse response begins with it, and may have nothing else."""
    for name, response in (("room", [0.5, 0.0, 0.1, 0.2]), ("anechoic", [0.5, 0.0, 0.0])):
        soundfile.write(tmp_path / f"{name}.wav", response, 16_000, subtype="FLOAT")
    made = open_channel(replace(QUIET, rooms=str(tmp_path), room=1.0))
    dry, room = (channel_module.samples_of(sound) for sound in made.rooms)
    np.testing.assert_array_equal(room, np.float32([0.5, 0.0, 0.1, 0.2]))
    np.testing.assert_array_equal(dry, np.float32([0.5, 0.0, 0.0]))


def test_an_offset_is_no_noise(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "dc.wav", np.full(16_000, 0.3), 16_000)
    with pytest.raises(ConfigError, match=r"noises: .*dc.wav: is nothing but silence"):
        open_channel(ChannelConfig(codecs=("none",), noises=str(tmp_path)))


@pytest.mark.parametrize("option", ["noises", "rooms"])
@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(16_000), 16_000, "nothing but silence"),
        (np.full(400, 0.3), 4000, "sampling rate is 4000 Hz"),
        (np.r_[0.1, np.full(99, np.nan)], 16_000, "holds NaN"),
    ],
)
def test_what_no_noise_can_be_made_of_is_refused_before_anything_is_made(
    tmp_path: Path, option: str, samples: np.ndarray, rate: int, message: str
) -> None:
    soundfile.write(tmp_path / "odd.wav", samples, rate, subtype="FLOAT")
    with pytest.raises(ConfigError, match=rf"channel\.{option}: .*odd.wav: .*{message}"):
        open_channel(ChannelConfig(codecs=("none",), **{option: str(tmp_path)}))


def test_a_noise_of_hours_is_heard_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process keeps some of them."""
    monkeypatch.setattr(channel_module, "LONGEST_NOISE", 2)
    noise = 0.1 * np.random.default_rng(1).standard_normal(5 * 16_000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", noise, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", noise[:16_000], 16_000, subtype="FLOAT")
    made = open_channel(ChannelConfig(codecs=("none",), noises=str(tmp_path)))
    channel_module.samples_of.cache_clear()
    long, short = map(channel_module.samples_of, made.noises)
    np.testing.assert_array_equal(long, noise[: 2 * 16_000])
    np.testing.assert_array_equal(short, noise[:16_000])


def test_noises_are_not_taken_for_rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rain = 0.1 * np.random.default_rng(1).standard_normal(21 * 8000)
    soundfile.write(tmp_path / "rain.wav", rain, 8000)
    config = ChannelConfig(codecs=("none",), rooms=str(tmp_path))
    with pytest.raises(ConfigError, match=r"rain.wav: is longer than 20 s, and so no impulse"):
        open_channel(config)
    with pytest.raises(ConfigError, match=r"both .* no manifest.jsonl to tell them apart"):
        open_channel(replace(config, noises=str(tmp_path)))
    # One folder under two spellings is one folder.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"both .* no manifest.jsonl to tell them apart"):
        open_channel(replace(config, noises="."))
    soundfile.write(tmp_path / "rain.wav", rain[:8000], 8000)
    (tmp_path / "manifest.jsonl").write_text('{"audio_filepath": "rain.wav"}')
    assert open_channel(config).rooms
    with pytest.raises(ConfigError, match=r"jsonl:1: states no kind"):
        open_channel(replace(config, noises="."))


@pytest.mark.skipif(not NOISE_ROOMS.is_file(), reason="../shared/data/noise_rooms.tar is missing")
def test_real_noises_and_rooms(tmp_path: Path) -> None:
    with tarfile.open(NOISE_ROOMS) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = str(tmp_path / "noise_rooms")
    made = open_channel(ChannelConfig(codecs=("none",), noises=folder, rooms=folder))
    names = {Path(sound.path).stem for sound in (*made.noises, *made.rooms)}
    assert len(made.noises) == len(made.rooms) == 7
    assert {"rain", "room-backslap1"} < names
    assert names.isdisjoint({"birds", "coffee-shop", "room-omni-35-10", "room-echo-chamber"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codecs": ()}, "codecs is empty"),
        ({"noise": 1.5}, "channel.noise is 1.5"),
        ({"noise_snr_db": (20.0, 5.0)}, r"noise_snr_db is \(20.0, 5.0\): \(low, high\)"),
        ({"packet_loss_rate": (0.5, 1.0)}, r"packet_loss_rate is .* <= 0.9 is needed"),
        ({"packet_loss_burst": (0.0, 2.0)}, r"packet_loss_burst is .* 1 <= low"),
        ({"clipped": (-0.1, 0.5)}, "clipped is"),
        ({"wideband_variants": -1}, "at least 0"),
    ],
)
def test_bad_values_are_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChannelConfig(**changes)  # type: ignore[arg-type]


def test_a_configuration_survives_being_written() -> None:
    for config in (AugmentConfig(), AugmentConfig(channel=ChannelConfig(noises="n"))):
        assert from_plain(AugmentConfig, json.loads(json.dumps(to_plain(config)))) == config
