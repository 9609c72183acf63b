"""T13: who else is in a batch changes nothing: not the tokens, nor log-probabilities by 1e-4.

The negative control is what others dispatch with, a capacity of 1.25 times an expert's share: the
same trials then see frames dropped because of whoever came before.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from inspect import signature
from pathlib import Path
from random import Random

import numpy as np
import pytest

import turnout
from tests.doubles import tokenizer
from tests.models import EXPORTED, SHAPES, exported, saved
from tests.reliability.mates import (
    KINDS,
    MOST_MATES,
    MOST_PADDING,
    NEAR_TIE,
    Answer,
    Leaking,
    Padded,
    answer,
    banks,
    limit_dispatch,
    mate,
    needles,
    put_among,
    request_of,
    router_gaps,
)
from tests.reliability.tally import Tally
from turnout.audio.features import log_mel
from turnout.backends.onnx import OnnxBackend
from turnout.backends.torch import TorchBackend, load_model
from turnout.config import ModelConfig, TranscriptionOptions
from turnout.decoding.backend import Backend
from turnout.decoding.requests import DecodingOptions, Request, Utterance
from turnout.errors import ModelFolderError
from turnout.export.parity import check_parity
from turnout.guidance import Bandwidth, Guide, Task
from turnout.model_folder import CONFIG, ModelFolder, write_folder
from turnout.text.tokenizer import Tokenizer
from turnout.transcription.transcriber import Transcriber

TOLERANCE = 1e-4
CAPACITY = 1.25
GROUPS = 4
"""Parts of the test of the shipped model, each with every fourth needle; the small size has one."""
RANDOM_SHAPES = ("switch", "omni", "hybrid")
TORCH_SHAPES = ("dense", "ctc_only")
"""At the full size, on PyTorch."""
SMALL = (("onnx", "hybrid"), ("torch", "switch"), ("torch", "omni"))
"""At the small size graphs are exported of one shape alone: it takes long."""
RANDOM_KINDS = ("noise", "noise", "silence", "longest", "same expert")
LONGEST_FRAMES = 300
SHORT = DecodingOptions(max_tokens_per_second=4)
"""Random weights seldom end by themselves."""

Mates = Callable[[int, Random], list[Utterance]]


@cache
def shipped(backend: str) -> Transcriber:
    """The model that ships."""
    return turnout.load("commands", backend=backend, threads=1)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Haystack:
    """A model with needles and where their mates come from."""

    backend: Backend
    twin: TorchBackend
    """The same weights on PyTorch: its routers can be watched and its dispatch limited."""
    tokenizer: Tokenizer
    needles: Sequence[Utterance]
    mates: Mates
    """Of the needle of this number."""

    def alone(self, number: int, backend: Backend) -> Answer:
        """What a needle gives by itself."""
        return answer(backend, self.tokenizer, [self.needles[number]], 0)

    def among(self, number: int, backend: Backend, rng: Random) -> Answer:
        """What it gives among random mates, at a random place, with random padding."""
        batch, position = put_among(self.needles[number], self.mates(number, rng), rng)
        padded = Padded(backend, rng.randrange(MOST_PADDING), rng.randrange(2**32))
        return answer(padded, self.tokenizer, batch, position)

    def near_ties(self, number: int) -> tuple[int, int]:
        """Decisions of learned routers over this needle: those left to rounding, and all."""
        with router_gaps(self.twin) as gaps:
            self.alone(number, self.twin)
        return sum(gap < NEAR_TIE for gap in gaps), len(gaps)


def run(stack: Haystack, tally: Tally, wanted: int, batches: int) -> None:
    """So many needles in so many batches each; where a decision of a learned router over a needle
    is left to rounding, the next needle takes its place."""
    ties = decisions = left_out = tokens = compared = 0
    worst = 0.0
    for number in range(len(stack.needles)):
        if compared == wanted:
            break
        tied, made = stack.near_ties(number)
        ties, decisions = ties + tied, decisions + made
        if tied:
            left_out += 1
            continue
        compared += 1
        alone = stack.alone(number, stack.backend)
        tokens += sum(map(len, alone.tokens))
        for batch in range(batches):
            with tally.trial(f"needle {number} batch {batch}"):
                found = stack.among(number, stack.backend, tally.random(number, batch))
                change = alone.difference(found)
                worst = max(worst, change)
                assert found.language == alone.language
                assert found.tokens == alone.tokens
                assert change <= TOLERANCE, f"a log-probability changed by {change:.1e}"
    assert tokens, "needles without a word prove nothing"
    assert tally.trials == wanted * batches, f"{left_out} needles left out, and none to replace"
    tally.measure(
        tokens_of_the_needles=tokens,
        worst_log_prob_change=worst,
        router_decisions=decisions,
        near_ties=ties,
        needles_compared=compared,
        needles_left_out=left_out,
    )


def control(stack: Haystack, tally: Tally, batches: int) -> None:
    """The same with a capacity limit, which must be seen; with a model that has no expert to be
    full, with frames that hold a little of what else is in the batch."""
    changed, made = 0, 0
    dense = not any(len(bank.experts) > 1 for bank in banks(stack.twin))
    backend = Leaking(stack.twin) if dense else stack.twin
    with pytest.MonkeyPatch.context() as patch:
        limit_dispatch(patch, CAPACITY)
        for batch in range(batches):
            number = batch % len(stack.needles)
            alone = stack.alone(number, backend)
            found = stack.among(number, backend, tally.random("control", batch))
            changed += found.tokens != alone.tokens or alone.difference(found) > TOLERANCE
            made += 1
            if changed and not tally.full:
                break  # how many are seen is of the full size
    tally.measure(
        **{f"changed_{'by_leaking' if dense else 'under_capacity'}": f"{changed} of {made}"}
    )
    tally.controlled(changed > 0)


@pytest.mark.parametrize(
    "group", [0, *(pytest.param(other, marks=pytest.mark.full) for other in range(1, GROUPS))]
)
@pytest.mark.parametrize("backend", ["onnx", "torch"])
@pytest.mark.counts("T13", "shipped model")
def test_mates_change_nothing(backend: str, group: int, tally: Tally) -> None:
    transcriber = shipped(backend)
    features = transcriber.backend.config.features
    twin = shipped("torch").backend
    assert isinstance(twin, TorchBackend)
    chosen = needles()[group::GROUPS][: tally.size(1, 4)]
    kinds: Counter[str] = Counter()

    def mates(number: int, rng: Random) -> list[Utterance]:
        drawn = rng.choices(KINDS, k=rng.randint(2, MOST_MATES))
        kinds.update(drawn)
        return [mate(kind, chosen[number], rng, features) for kind in drawn]

    stack = Haystack(
        backend=transcriber.backend,
        twin=twin,
        tokenizer=transcriber.tokenizer,
        needles=[
            Utterance(log_mel(speech.samples, features), request_of(speech, said=number % 2 == 0))
            for number, speech in enumerate(chosen)
        ],
        mates=mates,
    )
    run(stack, tally, len(chosen), tally.size(3, 50))
    tally.measure(mates=dict(kinds))
    assert tally.measured["router_decisions"] == 0, "the shipped model has no learned router"
    assert tally.measured["needles_left_out"] == 0
    control(stack, tally, tally.size(2, 8))


def random_utterance(config: ModelConfig, rng: Random, frames: int | None = None) -> Utterance:
    """Noise for a model with random weights, asked for something that it can do."""
    guides = {
        guide
        for routing in (config.encoder.routing, config.decoder.routing)
        if routing.guided
        for guide in routing.guided_by
    }
    tasks = [tuple(Task), (Task.TRANSCRIBE,), (Task.TRANSLATE,)]
    if not config.decoder.num_layers:
        tasks = [(Task.TRANSCRIBE,)]
    languages = ("ar", "en") if Guide.LANGUAGE in guides else (None, "ar", "en")
    request = Request(
        tasks=rng.choice(tasks),
        bandwidth=rng.choice(tuple(Bandwidth)),
        language=rng.choice(languages),
    )
    noise = np.random.default_rng(rng.randrange(2**32))
    size = (frames or rng.randrange(4, 200), 80)
    return Utterance(noise.normal(size=size).astype(np.float32), request, SHORT)


def random_mate(kind: str, needle: Utterance, config: ModelConfig, rng: Random) -> Utterance:
    """An utterance of this kind that goes into the batch of a needle of noise."""
    found = random_utterance(config, rng, LONGEST_FRAMES if kind == "longest" else None)
    if kind == "silence":
        return replace(found, log_mel=np.zeros_like(found.log_mel))
    if kind == "same expert":  # its frames compete with the needle's for each of its experts
        return replace(needle, log_mel=np.roll(needle.log_mel, rng.randrange(9), axis=0))
    return found


def case(backend: str, shape: str) -> object:
    """A model, and what runs it."""
    marks = () if (backend, shape) in SMALL else pytest.mark.full
    return pytest.param(backend, shape, id=f"{backend}-{shape}", marks=marks)


@pytest.mark.parametrize(
    ("backend", "shape"),
    [
        *(case("onnx", shape) for shape in RANDOM_SHAPES),
        *(case("torch", shape) for shape in RANDOM_SHAPES + TORCH_SHAPES),
    ],
)
@pytest.mark.counts("T13", "random weights")
def test_mates_change_nothing_with_learned_routers(backend: str, shape: str, tally: Tally) -> None:
    twin = TorchBackend(load_model(ModelFolder.open(saved(shape))))
    onnx = backend == "onnx"
    config = SHAPES[shape]
    wanted = tally.size(2, 16)
    candidates = [random_utterance(config, tally.random("needle", n)) for n in range(2 * wanted)]
    kinds: Counter[str] = Counter()

    def mates(number: int, rng: Random) -> list[Utterance]:
        drawn = rng.choices(RANDOM_KINDS, k=rng.randint(2, MOST_MATES))
        kinds.update(drawn)
        return [random_mate(kind, candidates[number], config, rng) for kind in drawn]

    found = OnnxBackend.open(ModelFolder.open(exported(shape)), threads=1) if onnx else twin
    if onnx and shape not in EXPORTED:
        check_parity(twin, found)
    stack = Haystack(
        backend=found,
        twin=twin,
        tokenizer=tokenizer(),
        needles=candidates,
        mates=mates,
    )
    run(stack, tally, wanted, tally.size(4, 50))
    tally.measure(mates=dict(kinds))
    control(stack, tally, tally.size(6, 40))


def names_in(kind: type) -> Iterator[str]:
    """The fields of a dataclass and of those inside it."""
    for field in fields(kind):
        yield field.name
        if isinstance(field.default_factory, type) and is_dataclass(field.default_factory):
            yield from names_in(field.default_factory)


def refusal(folder: Path) -> str:
    """Why the configuration of a model folder is not taken; nothing where it is."""
    try:
        _ = ModelFolder.open(folder).config
    except ModelFolderError as error:
        return str(error)
    return ""


@pytest.mark.counts("T13", "no capacity to be had")
def test_inference_has_no_capacity_to_be_set(tmp_path: Path, tally: Tally) -> None:
    offered = {
        "model": names_in(ModelConfig),
        "decoding": names_in(DecodingOptions),
        "transcribe": names_in(TranscriptionOptions),
        "load": signature(turnout.load).parameters,
    }
    for what, names in offered.items():
        with tally.trial(what):
            assert not [name for name in names if "capacity" in name]
    whole = ModelFolder.open(saved("switch"))
    for key in ("capacity", "capacity_factor", "expert_capacity"):
        with tally.trial(f"config.json with {key}"):
            content = json.loads(whole.read(CONFIG))
            content["model"]["encoder"]["routing"][key] = CAPACITY
            write_folder(tmp_path / key, {**whole.files(), CONFIG: json.dumps(content).encode()})
            said = refusal(tmp_path / key)
            assert f"unknown key 'model.encoder.routing.{key}'" in said
            assert "\n" not in said
