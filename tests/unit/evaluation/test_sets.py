"""Sets side by side, each with what its recordings go through."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from turnout.audio.bandwidth import measure_bandwidth
from turnout.audio.waveform import Waveform, read_audio
from turnout.cli import main
from turnout.cli.evaluate import read_sets
from turnout.config import ModelConfig, TranscriptionOptions
from turnout.config.sets import SetChannel, SetConfig, SetsConfig
from turnout.corpora.clips import Clip
from turnout.errors import AudioError, ConfigError
from turnout.evaluation import evaluate as evaluation
from turnout.evaluation.alteration import Alteration
from turnout.evaluation.references import Data
from turnout.evaluation.sets import evaluate_sets, lines_of
from turnout.guidance import Bandwidth, Task
from turnout.text.transcript import Transcript

ROOT = Path(__file__).resolve().parents[3]
CLIP = Clip(
    id="a", path="a.wav", start=0.0, duration=2.0, channel=None, text="one two", language="en",
    speaker="s", bandwidth=Bandwidth.WIDEBAND, translations={}, split=None,
)  # fmt: skip


def speech() -> Waveform:
    return read_audio(ROOT / "examples" / "arabic-1.flac")


def altered(**changes: object) -> np.ndarray:
    found = Alteration.of(SetChannel(**changes)).samples(CLIP, speech())  # type: ignore[arg-type]
    assert isinstance(found, Waveform)
    return found.samples


def test_a_channel_does_nothing_but_what_is_named() -> None:
    assert np.array_equal(altered(), speech().samples)
    assert not np.array_equal(altered(level=1.0, level_db=(-20.0, -20.0)), speech().samples)


def test_a_telephone_makes_narrowband_the_same_at_every_call() -> None:
    once, again = (altered(telephone=True, codecs=("mulaw",)) for _ in range(2))
    assert np.array_equal(once, again)
    assert len(once) == len(speech().samples)
    assert measure_bandwidth(once, 16_000) is Bandwidth.NARROWBAND
    channel = Alteration.of(SetChannel(telephone=True))
    assert channel.clip(CLIP).bandwidth is Bandwidth.NARROWBAND
    assert Alteration.of(SetChannel()).clip(CLIP) == CLIP
    other = channel.samples(replace(CLIP, id="b", speaker="t"), speech())
    assert isinstance(other, Waveform) and not np.array_equal(other.samples, once)


def test_speed_changes_how_long_it_takes() -> None:
    assert len(altered(speed=1.25)) == pytest.approx(len(speech().samples) / 1.25, abs=2)
    assert len(altered(speed=0.8)) == pytest.approx(len(speech().samples) / 0.8, abs=2)


def test_noise_has_the_ratio_that_is_named_and_is_of_the_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = []
    for split in ("train", "test"):
        soundfile.write(tmp_path / f"{split}.wav", 0.1 * rng.standard_normal(48_000), 16_000)
        lines.append(
            json.dumps({"audio_filepath": f"{split}.wav", "kind": "noise", "split": split})
        )
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    folder = str(tmp_path)
    heard = altered(noises=folder, noise=1.0, noise_snr_db=(10.0, 10.0))
    clean = speech().samples
    noise = heard - clean
    ratio = 10 * np.log10(np.square(clean).mean() / np.square(noise).mean())
    assert ratio == pytest.approx(10.0, abs=0.1)
    for split in ("train", "test"):
        channel = Alteration.of(SetChannel(noises=folder, noise=1.0, sounds=split)).channel  # type: ignore[arg-type]
        assert [Path(one.path).stem for one in channel.noises] == [split]


def test_what_cannot_go_through_a_channel_says_so() -> None:
    channel = Alteration.of(SetChannel(speed=1.1))
    error = AudioError("a.wav", "it ends early")
    assert channel.samples(CLIP, error) is error
    whole = channel.samples(CLIP, Path("a.wav"))
    assert isinstance(whole, AudioError) and "too long for a channel" in str(whole)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sets: []", "sets is empty: name at least one"),
        ("sets: [{data: [a]}]", "a set has no name"),
        ("sets: [{name: a}]", "the set 'a' has no data"),
        ("sets: [{name: a, data: [x]}, {name: a, data: [y]}]", "'a' twice"),
        ("sets: [{name: a, data: [x], chanel: {}}]", "chanel"),
        ("sets: [{name: a, data: [x], limit: 0}]", "a.limit is 0"),
        ("sets: [{name: a, data: [x], channel: {speed: 9}}]", "channel.speed is 9"),
        ("sets: [{name: a, data: [x], channel: {noise: 1.0}}]", "channel.noises names no folder"),
        ("sets: [{name: a, data: [x], channel: {codecs: [mp3]}}]", "mp3"),
        ("sets: [a", "is not YAML"),
    ],
)
def test_a_bad_file_of_sets_is_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sets.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_sets(path)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert main(["evaluate", "--sets", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_data_or_sets_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate"]) == 2
    assert main(["evaluate", "a.jsonl.gz", "--sets", "sets.yaml"]) == 2
    assert capsys.readouterr().err.count("name data to score") == 2


def test_the_recipe_has_ten_sets_out_of_its_domain() -> None:
    names = [one.name for one in read_sets(ROOT / "recipes" / "sets.yaml").sets]
    assert len(names) == 11


class Hears:
    """A Transcriber whose texts are the lengths of what it hears."""

    folder = adapted = None
    backend = SimpleNamespace(config=ModelConfig())

    def transcribe_files(self, sources, options):  # type: ignore[no-untyped-def]  # noqa: ARG002
        for source in sources:
            text = "one two" if len(source.samples) == 32_000 else "one"
            yield Transcript(
                text=text, language="en", task=Task.TRANSCRIBE, duration_seconds=2.0,
                bandwidth=Bandwidth.WIDEBAND,
            )  # fmt: skip


def test_sets_come_in_one_table_with_their_average(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int | None] = []

    def read(sources, limit, options):  # type: ignore[no-untyped-def]
        limits.append(limit)
        return Data(clips=(CLIP,), notes=(f"note of {sources[0]}",))

    wave = Waveform(np.zeros(32_000, np.float32), 16_000)
    monkeypatch.setattr(evaluation, "read_data", read)
    monkeypatch.setattr(evaluation, "sources_of", lambda *_: [(0, wave)])
    asked = SetsConfig(
        sets=(
            SetConfig(name="clean", data=("x",)),
            SetConfig(name="fast", data=("y",), channel=SetChannel(speed=2.0), limit=3),
        )
    )
    report = evaluate_sets(Hears(), asked, TranscriptionOptions(task="both"), limit=7)  # type: ignore[arg-type]
    assert limits == [7, 3]
    assert [one.rows[0].wer.value for one in report.reports.values()] == [0.0, 50.0]
    assert report.averages["transcribe wer"] == 25.0
    assert lines_of(report, lambda one: one.warnings) == ["clean: note of x", "fast: note of y"]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(report)
    assert "average of 2 sets: transcribe wer 25.00 %" in shown.get()
    content = json.loads(report.to_json())
    assert content["sets"]["fast"]["set"]["channel"]["speed"] == 2.0
    assert content["sets"]["clean"]["rows"][0]["utterances"] == 1
