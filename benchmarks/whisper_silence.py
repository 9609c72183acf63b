"""How many recordings without speech come out empty from a converted Whisper checkpoint.

    python benchmarks/whisper_silence.py --weights FOLDER [--clips 1000] [--seed 0] [--kept FILE]

Clips of 1 to 30 s at levels from -60 to -10 dB of full scale, drawn by the seed: the noises of
`noise_rooms` cut at random, hum of 50 and 60 Hz with harmonics, tones, chords, arpeggios, clicks,
white, pink and brown noise, digital silence, and noise that nobody hears. Transcribed as a user
would, with nothing said about them. Counted by kind are the clips that come out empty, and those of
which the detector lets nothing through; every text that comes is shown. With --kept the texts are
written to a file as they come, and a clip that stands there is not heard again. Writes
results/whisper_silence-SEED.json beside this file.
"""

import argparse
import json
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from heard import Heard, weights_in
from numpy.typing import NDArray
from origin import ROOT, origin
from voice_activity import coloured
from whisper_speech import RATE, at_16khz, content

import turnout
from turnout.audio.waveform import Waveform
from turnout.decoding.backend import Backend, Encoded
from turnout.hub.convert import convert

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
LEVELS_DB = (-60.0, -10.0)
UNHEARD_DB = (-95.0, -70.0)
ROOTS_HZ = 110 * 2 ** (np.arange(36) / 12)
SCALE = 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
THIRDS = {"major": (0, 4, 7, 12), "minor": (0, 3, 7, 12), "seventh": (0, 4, 7, 10)}

Floats = NDArray[np.float64]
Makes = Callable[[int, np.random.Generator], Floats]
"""So many samples, by a generator; their level is nobody's concern."""


@dataclass(frozen=True)
class Sound:
    """A clip in which nobody speaks."""

    id: str
    kind: str
    samples: NDArray[np.float32]


def hum(length: int, rng: np.random.Generator) -> Floats:
    """Of the mains: harmonics that grow weaker, each with a phase of its own, the even ones at
    times absent."""
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    numbers = np.arange(1, rng.integers(2, 40), rng.choice([1, 2]))
    total = np.zeros(length)
    for number in numbers:
        phase = rng.uniform(0, 2 * np.pi)
        total += np.sin(
            2 * np.pi * base * number * seconds(length) + phase
        ) / number ** rng.uniform(0.5, 1.5)
    return total + 1e-3 * rng.standard_normal(length)


def tones(length: int, rng: np.random.Generator) -> Floats:
    """One to three, held, pulsed as telephones ring, or sliding."""
    time = seconds(length)
    total = np.zeros(length)
    for pitch in rng.uniform(100, 4000, int(rng.integers(1, 4))):
        slide = rng.choice([0.0, 0.0, rng.uniform(-pitch, pitch) / (2 * time[-1])])
        total += np.sin(2 * np.pi * (pitch + slide * time / 2) * time)
    period = rng.uniform(0.1, 4.0)
    pulsed = rng.random() < 0.5
    return total * (time % period < period * rng.uniform(0.2, 0.8)) if pulsed else total


def music(length: int, rng: np.random.Generator) -> Floats:
    """Notes one after the other or three at once, plucked or held, with overtones."""
    total = np.zeros(length)
    root, beat = rng.choice(ROOTS_HZ), rng.uniform(0.12, 0.8)
    together, decay = rng.random() < 0.5, rng.uniform(0.5, 8.0)
    overtones = int(rng.integers(1, 8))
    for number, begin in enumerate(np.arange(0, length / RATE, beat)):
        first = round(begin * RATE)
        since = seconds(min(length - first, round(2 * beat * RATE)))
        degree = rng.choice(SCALE)
        chord = list(THIRDS.values())[int(rng.integers(3))]
        steps = chord if together else (chord[number % len(chord)],)
        for step in steps:
            pitch = root * degree * 2 ** (step / 12)
            for overtone in range(1, overtones + 1):
                wave = np.sin(2 * np.pi * pitch * overtone * since) / overtone
                total[first : first + len(since)] += wave * np.exp(-decay * since)
    return total


def clicks(length: int, rng: np.random.Generator) -> Floats:
    """Of keys, relays or a worn record: so many a second, each a short burst."""
    places = rng.random(length) < rng.uniform(0.5, 20) / RATE
    burst = np.exp(-np.arange(800) / rng.uniform(5, 200)) * rng.standard_normal(800)
    return np.convolve(places * rng.standard_normal(length), burst)[:length]


def noise_of(slope: float) -> Makes:
    """Gaussian noise whose amplitude falls so with frequency."""
    return lambda length, rng: coloured(length, slope, rng)


def recorded(found: dict[str, NDArray[np.float32]], name: str) -> Makes:
    """A stretch of a recording from a random place on, again from its beginning where it ends."""

    def cut(length: int, rng: np.random.Generator) -> Floats:
        samples = found[name]
        return np.resize(np.roll(samples, -int(rng.integers(len(samples)))), length).astype(float)

    return cut


def seconds(length: int) -> Floats:
    """The time of each sample."""
    return np.arange(length) / RATE


def makers(data: Path) -> dict[str, tuple[int, list[Makes]]]:
    """Of each kind: its share of a thousand, and what makes it, in turn."""
    found = noises(data)
    return {
        "recorded noise": (400, [recorded(found, name) for name in sorted(found)]),
        "hum": (100, [hum]),
        "tones": (100, [tones]),
        "music-like": (150, [music]),
        "clicks": (50, [clicks]),
        "white noise": (40, [noise_of(0.0)]),
        "pink noise": (40, [noise_of(0.5)]),
        "brown noise": (40, [noise_of(1.0)]),
        "near silence": (40, [noise_of(0.0), noise_of(0.5)]),
        "digital silence": (40, [lambda length, _: np.zeros(length)]),
    }


def noises(data: Path) -> dict[str, NDArray[np.float32]]:
    """The recorded noises, by name."""
    with tarfile.open(data / "noise_rooms.tar") as tar:
        rows = map(json.loads, content(tar, "noise_rooms/manifest.jsonl").decode().splitlines())
        return {
            Path(row["audio_filepath"]).stem: at_16khz(
                content(tar, f"noise_rooms/{row['audio_filepath']}")
            )
            for row in rows
            if row["kind"] == "noise"
        }


def sounds(data: Path, count: int, seed: int) -> Iterator[Sound]:
    """So many clips, of every kind its share."""
    for kind, (share, makes) in makers(data).items():
        for number in range(round(share * count / 1000)):
            rng = np.random.default_rng((seed, *kind.encode(), number))
            length = round(rng.uniform(SHORTEST_SECONDS, LONGEST_SECONDS) * RATE)
            level = rng.uniform(*(UNHEARD_DB if kind == "near silence" else LEVELS_DB))
            made = makes[number % len(makes)](length, rng)
            power = max(float(np.sqrt(np.square(made).mean())), 1e-12)
            samples = np.clip(made * 10 ** (level / 20) / power, -1, 1)
            # As a recorder writes it: 16 bits.
            whole = np.round(samples * 32767) / 32768
            yield Sound(f"{seed} {kind} {number}", kind, whole.astype(np.float32))


class Watched:
    """A backend, and whether it was asked anything: the detector let something through."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.asked = backend, False

    def __getattr__(self, name: str) -> Any:
        """All but this is the backend's own."""
        return getattr(self.backend, name)

    def encode(self, *arguments: Any) -> Encoded:
        """See `Backend.encode`."""
        self.asked = True
        return self.backend.encode(*arguments)


def written(model: turnout.Transcriber, watched: Watched, sound: Sound) -> str:
    """What came of a clip: whether anything passed the detector, and the text."""
    watched.asked = False
    text = model.transcribe(Waveform(sound.samples, RATE)).text
    return json.dumps([watched.asked, text], ensure_ascii=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="of earlier runs, taken and added to")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    made_by = origin(arguments.seed, "numpy", "onnxruntime")
    with tempfile.TemporaryDirectory() as place:
        model = turnout.load(convert(arguments.weights, Path(place) / "model"), threads=1)
    watched = Watched(model.backend)
    model = turnout.Transcriber(watched, model.tokenizer, model.folder)
    made_with = f"weights {weights_in(arguments.weights)}, seed {arguments.seed}"
    heard = Heard(arguments.kept, made_with)
    rows: defaultdict[str, dict[str, Any]] = defaultdict(
        lambda: {"clips": 0, "passed": 0, "empty": 0, "texts": []}
    )
    for sound in sounds(arguments.data, arguments.clips, arguments.seed):
        asked, text = json.loads(
            heard.text("turnout", sound.id, partial(written, model, watched, sound))
        )
        row = rows[sound.kind]
        row["clips"] += 1
        row["passed"] += asked
        row["empty"] += not text
        row["texts"] += [text] if text else []
    total = {name: sum(row[name] for row in rows.values()) for name in ("clips", "passed", "empty")}
    for kind, row in rows.items():
        print(kind, row)
    print(total, f"{100 * total['empty'] / total['clips']:.2f} % empty")
    result = {**made_by, **total, "kinds": rows}
    target = Path(__file__).parent / "results" / f"whisper_silence-{arguments.seed}.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
