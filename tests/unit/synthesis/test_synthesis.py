"""`synthesize`: a grammar becomes recordings with cuts."""

import shutil
import stat
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from tests.unit.corpora.recordings import cuts_of, noise
from turnout.config.preparation import SynthesisConfig
from turnout.errors import ConfigError, StorageError, UsageError
from turnout.synthesis.engines import find_espeak
from turnout.synthesis.grammar import read_grammar
from turnout.synthesis.synthesize import draw_sayings, synthesize

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"
)
TWO_WORDS = """
language: en
speakers: 3
voices: [en-us, en-gb]
variants: [m1, f2]
sentences:
  - {text: one, translations: {de: eins}}
  - {text: two, translations: {de: zwei}}
"""
VOICES = """Pty Language       Age/Gender VoiceName          File                 Other Languages
 2  en-gb           --/M      English_(Great_Britain) gmw/en               (en 2)
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 5  en-us           --/M      us-mbrola-2        mb/mb-us2            (en 7)
 5  ar              --/M      arabic-mbrola-1    mb/mb-ar1
"""
VARIANTS = """Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  variant         70/M      male1              !v/m1
 5  variant         --/F      female2            !v/f2
 5  variant         --/M      Mr_Serious         !v/Mr serious
"""


def write(folder: Path, text: str = TWO_WORDS) -> Path:
    (folder / "g.yaml").write_text(text)
    return folder / "g.yaml"


@pytest.fixture
def fake_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in espeak-ng's place, which 'speaks' noise and writes down how it was called."""
    folder = tmp_path / "bin"
    noise(folder / "noise.wav", 0.5, rate=22050)
    (folder / "voices").write_text(VOICES)
    (folder / "variants").write_text(VARIANTS)
    program = folder / "espeak-ng"
    program.write_text(
        f"""#!/bin/sh
cd {folder}
case "$1" in
  --voices) exec /bin/cat voices;;
  --voices=variant) exec /bin/cat variants;;
esac
echo "$@ < $(/bin/cat)" >> calls
while [ "$1" != -w ]; do shift; done
/bin/cp noise.wav "$2"
"""
    )
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_every_voice_is_a_speaker_with_its_cuts(tmp_path: Path, fake_espeak: Path) -> None:
    summary = synthesize(write(tmp_path), tmp_path / "out", SynthesisConfig(seed=1))
    cuts = cuts_of(tmp_path / "out/cuts.jsonl.gz")
    assert summary.splits["cuts"].utterances == len(cuts) == 6
    assert summary.splits["cuts"].speakers == 3
    assert summary.splits["cuts"].translations == {"en>de": 6}
    said = Counter((c.supervisions[0].text, c.supervisions[0].custom["bandwidth"]) for c in cuts)
    assert said == {("one", "wideband"): 3, ("two", "wideband"): 3}
    info = soundfile.info(cuts[0].recording.sources[0].source)
    assert (info.format, info.samplerate, info.channels) == ("FLAC", 16000, 1)
    assert info.frames == cuts[0].recording.num_samples
    calls = (fake_espeak / "calls").read_text()
    assert "-z -b 1 -w" in calls
    assert "--stdin" in calls
    assert calls.count(" < one\n") == 3


def test_the_plan_follows_from_the_seed(tmp_path: Path) -> None:
    grammar = read_grammar(write(tmp_path))
    plans = [draw_sayings(grammar, SynthesisConfig(seed=seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    for saying in plans[0]:
        assert 140 <= saying.voice.speed <= 180
        assert 30 <= saying.voice.pitch <= 70


def test_all_timbres_take_turns_and_no_voice_comes_twice(tmp_path: Path) -> None:
    sayings = draw_sayings(read_grammar(write(tmp_path)), SynthesisConfig(speakers=12))
    voices = {(s.voice.name, s.voice.variant, s.voice.pitch) for s in sayings}
    assert len(voices) == 12
    assert set(Counter(voice[:2] for voice in voices).values()) == {3}


def test_speakers_are_dealt_out_to_splits(tmp_path: Path, fake_espeak: Path) -> None:
    synthesize(write(tmp_path), tmp_path / "out", SynthesisConfig(split="train=0.6,dev=0.4"))
    found = [
        {cut.supervisions[0].speaker for cut in cuts_of(tmp_path / f"out/{name}.jsonl.gz")}
        for name in ("train", "dev")
    ]
    assert [len(speakers) for speakers in found] == [2, 1]
    assert not found[0] & found[1]


def test_more_speakers_than_voices_is_refused(tmp_path: Path) -> None:
    grammar = read_grammar(write(tmp_path))
    with pytest.raises(UsageError, match="165 speakers were asked for, .* give 164"):
        draw_sayings(grammar, SynthesisConfig(speakers=165))
    with pytest.raises(ConfigError, match="speakers is 0: at least 1 is needed"):
        SynthesisConfig(speakers=0)
    with pytest.raises(ConfigError, match="sentences_per_speaker: at most 1,000,000 can be asked"):
        SynthesisConfig(sentences_per_speaker=10**400)


def test_unknown_voices_are_refused_with_the_nearest(tmp_path: Path, fake_espeak: Path) -> None:
    with pytest.raises(UsageError, match="has no voice 'en-uk': the nearest are en-us"):
        synthesize(write(tmp_path, TWO_WORDS.replace("en-gb", "en-uk")), tmp_path / "out")
    with pytest.raises(UsageError, match="no variant 'm2': .*'espeak-ng --voices=variant' lists"):
        synthesize(write(tmp_path, TWO_WORDS.replace("m1", "m2")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_voices_that_need_other_data_are_not_offered(fake_espeak: Path) -> None:
    found = find_espeak()
    assert found.voices == {"en-gb", "en-us"}
    assert found.variants == {"m1", "f2", "Mr serious"}


def test_a_missing_espeak_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="espeak-ng is not installed .*'apt install espeak-ng' or"):
        synthesize(write(tmp_path), tmp_path / "out")


def test_a_voice_that_gives_no_sound_is_named(tmp_path: Path, fake_espeak: Path) -> None:
    (fake_espeak / "noise.wav").write_bytes(b"")
    with pytest.raises(UsageError, match=r"did not speak '\w+' with voice 'en-(us|gb)\+"):
        synthesize(write(tmp_path), tmp_path / "out")


def test_a_recording_is_written_whole_or_not_at_all(
    tmp_path: Path, fake_espeak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"fLaC")
        raise soundfile.LibsndfileError(2, "no space: ")

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(StorageError, match=r"0000\.flac: cannot be written \(no space"):
        synthesize(write(tmp_path), tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@needs_espeak
def test_espeak_itself_speaks(tmp_path: Path) -> None:
    text = TWO_WORDS + "speed: [100, 200]\n"
    summary = synthesize(write(tmp_path, text), tmp_path / "out")
    assert summary.splits["cuts"].seconds > 6 * 0.15
    for cut in cuts_of(tmp_path / "out/cuts.jsonl.gz"):
        samples, _ = soundfile.read(cut.recording.sources[0].source)
        assert 0.05 < abs(samples).max() < 0.97
