"""`synthesize` with `engine: flite`: few voices, made from real speakers."""

import shutil
from pathlib import Path

import pytest
import soundfile

from tests.unit.corpora.recordings import cuts_of, noise
from turnout.config.preparation import SynthesisConfig
from turnout.errors import ManifestError, UsageError
from turnout.synthesis.engines import find_flite
from turnout.synthesis.grammar import read_grammar
from turnout.synthesis.synthesize import draw_sayings, synthesize

TWO_WORDS = """
language: en
engine: flite
speakers: 2
speed: [100, 330]
pitch: [0, 99]
voices: [slt, kal16]
sentences: [one, two]
"""


def write(folder: Path, text: str = TWO_WORDS) -> Path:
    (folder / "g.yaml").write_text(text)
    return folder / "g.yaml"


@pytest.fixture
def fake_flite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in flite's place, which 'speaks' noise and writes down how it was called."""
    folder = tmp_path / "bin"
    noise(folder / "noise.wav", 0.5, rate=16000)
    program = folder / "flite"
    program.write_text(
        f"""#!/bin/sh
if [ "$1" = -lv ]; then echo "Voices available: kal awb_time kal16 slt "; exit; fi
echo "$@ < $(/bin/cat)" >> {folder}/calls
for last; do true; done
/bin/cp {folder}/noise.wav "$last"
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_flite_is_given_the_text_and_the_voice(tmp_path: Path, fake_flite: Path) -> None:
    summary = synthesize(write(tmp_path), tmp_path / "out", SynthesisConfig(seed=1))
    assert summary.splits["cuts"].utterances == 4
    speakers = {
        c.supervisions[0].speaker.split("-")[0] for c in cuts_of(tmp_path / "out/cuts.jsonl.gz")
    }
    assert speakers == {"slt", "kal16"}
    calls = (fake_flite / "calls").read_text().splitlines()
    assert len(calls) == 4
    for saying, call in zip(
        draw_sayings(read_grammar(tmp_path / "g.yaml"), SynthesisConfig(seed=1)), calls, strict=True
    ):
        stretch = 165 / saying.voice.speed
        assert f"-voice {saying.voice.name} " in call
        assert f"duration_stretch={stretch:.3f} -f - -o " in call
        assert call.endswith(f"< {saying.phrase.text}")


@pytest.mark.parametrize(("rate", "bandwidth"), [(8000, "narrowband"), (16_000, "wideband")])
def test_the_rate_of_a_voice_is_its_bandwidth(
    tmp_path: Path, fake_flite: Path, rate: int, bandwidth: str
) -> None:
    noise(fake_flite / "noise.wav", 0.5, rate=rate)  # flite's kal speaks at 8 kHz
    summary = synthesize(write(tmp_path), tmp_path / "out")
    assert set(summary.splits["cuts"].bandwidths) == {bandwidth}


def test_pitches_run_over_what_people_have(fake_flite: Path, tmp_path: Path) -> None:
    synthesize(write(tmp_path, TWO_WORDS.replace("[0, 99]", "[0, 1]")), tmp_path / "out")
    synthesize(write(tmp_path, TWO_WORDS.replace("[0, 99]", "[98, 99]")), tmp_path / "out2")
    calls = (fake_flite / "calls").read_text().split()
    hertz = sorted(float(w.split("=")[1]) for w in calls if w.startswith("int_f0_target_mean"))
    assert 75 <= hertz[0] <= 77
    assert 245 <= hertz[-1] <= 253


def test_what_flite_lacks_is_refused_with_the_nearest(tmp_path: Path, fake_flite: Path) -> None:
    assert find_flite().voices == {"kal", "kal16", "slt"}
    with pytest.raises(UsageError, match="flite has no voice 'stl': the nearest are slt"):
        synthesize(write(tmp_path, TWO_WORDS.replace("[slt", "[stl")), tmp_path / "out")
    with pytest.raises(UsageError, match=r"flite has no variants \('m1' is one\)"):
        synthesize(write(tmp_path, TWO_WORDS + "variants: [m1]\n"), tmp_path / "out")
    with pytest.raises(ManifestError, match="'engine': is 'festival': espeak-ng or flite was"):
        read_grammar(write(tmp_path, TWO_WORDS.replace("engine: flite", "engine: festival")))
    assert not (tmp_path / "out").exists()


def test_a_missing_flite_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="flite is not installed .*'apt install flite'"):
        synthesize(write(tmp_path), tmp_path / "out")


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_flite_itself_speaks(tmp_path: Path) -> None:
    synthesize(write(tmp_path), tmp_path / "out")
    lengths = []
    for cut in cuts_of(tmp_path / "out/cuts.jsonl.gz"):
        samples, _ = soundfile.read(cut.recording.sources[0].source)
        assert 0.05 < abs(samples).max() < 0.97
        lengths.append(len(samples) / 16000)
    assert all(0.1 < length < 3 for length in lengths)
