"""Routings learn 16 real utterances by heart: wideband and narrowband, both tasks; and what it
learns lies in the experts that frames are sent to."""

import json
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from turnout.audio.features import log_mel
from turnout.audio.telephone import TelephoneChannel
from turnout.audio.waveform import read_audio
from turnout.backends.torch import TorchBackend
from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    RoutingConfig,
    TrainConfig,
    VocabularyConfig,
)
from turnout.data.batch import Collator, Example, text_guidance
from turnout.decoding.decode import decode
from turnout.decoding.requests import Request, Utterance
from turnout.experts.bank import ExpertBank
from turnout.guidance import Bandwidth, Guide, Task
from turnout.model.build import build_model
from turnout.text.sentencepieces import SentencePieceTokenizer
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState
from turnout.training.step import Stepper

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
FEWEST_STEPS, MOST_STEPS = 60, 300
"""Before, nothing is known by heart."""
ROUTINGS = ["dense", "switch", "omni", "hybrid"]
"""What supervised experts learn, the test below shows."""


def words(name: str, count: int) -> list[tuple[dict[str, str], bytes]]:
    """The first recording of each of `count` words of a set."""
    archive = DATA / f"{name}.tar"
    if not archive.is_file():
        pytest.skip(f"real recordings are needed: {name}.tar in ../shared/data")
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile(f"{name}/manifest.jsonl")
        assert manifest is not None
        rows = {row["text"]: row for row in map(json.loads, reversed(manifest.readlines()))}
        chosen = [rows[text] for text in sorted(rows)[:count]]
        files = [tar.extractfile(f"{name}/{row['audio_filepath']}") for row in chosen]
        return [(row, file.read()) for row, file in zip(chosen, files, strict=True) if file]


@cache
def examples() -> tuple[Example, ...]:
    """Four Arabic words wideband, four through a telephone, eight English digits at 8 kHz."""
    made: list[Example] = []
    for number, (row, data) in enumerate(words("arabic_commands", 8) + words("fsdd", 8)):
        wave = read_audio(data)
        samples, bandwidth = wave.samples, Bandwidth.NARROWBAND
        if number < 4:
            bandwidth = Bandwidth.WIDEBAND
        elif number < 8:
            samples = TelephoneChannel().apply(samples, np.random.default_rng(number))
        language, target = row["lang"], row["target_lang"]
        texts = {
            text_guidance(bandwidth, language, None): row["text"],
            text_guidance(bandwidth, language, target): row["translation"],
        }
        features = log_mel(samples, FeatureConfig())
        made.append(
            Example(
                id=str(number),
                log_mel=features,
                num_frames=len(features),
                bandwidth=bandwidth,
                language=language,
                transcript=row["text"],
                texts=texts,
            )
        )
    return tuple(made)


def configuration(kind: str, size: int) -> TrainConfig:
    routing = RoutingConfig(kind=kind, num_experts=2)  # type: ignore[arg-type]
    return TrainConfig(
        model=ModelConfig(
            vocabulary=VocabularyConfig(size=size),
            encoder=EncoderConfig(
                num_layers=2, d_model=64, d_feedforward=96, dropout=0.0, routing=routing
            ),
            decoder=DecoderConfig(
                num_layers=1,
                d_feedforward=96,
                dropout=0.0,
                routing=replace(routing, guided_by=(Guide.TASK,)),
            ),
        ),
        objective=ObjectiveConfig(label_smoothing=0.0),
        optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=20, decay="constant"),
        device="cpu",
    )


def recited(
    stepper: Stepper, tokenizer: SentencePieceTokenizer
) -> list[tuple[str, str, str | None]]:
    """What the model writes: transcript, translation, language (found, not told)."""
    both = (Task.TRANSCRIBE, Task.TRANSLATE)
    utterances = [
        Utterance(log_mel=e.log_mel, request=Request(tasks=both, bandwidth=e.bandwidth))
        for e in examples()
    ]
    stepper.model.eval()
    found = decode(TorchBackend(stepper.model, "cpu"), tokenizer, utterances)
    return [(*(h.text for h in item.hypotheses), item.language) for item in found]  # type: ignore[misc]


@contextmanager
def silenced(bank: ExpertBank, expert: int) -> Iterator[None]:
    """One expert of a layer answers nothing."""
    down = bank.experts[expert].down
    before = {name: tensor.clone() for name, tensor in down.state_dict().items()}
    with torch.no_grad():
        for tensor in down.parameters():
            tensor.zero_()
    yield
    down.load_state_dict(before)


@pytest.mark.parametrize("kind", ROUTINGS)
def test_sixteen_utterances_are_learned_by_heart(kind: str) -> None:
    texts = [text for example in examples() for text in example.texts.values()]
    tokenizer = SentencePieceTokenizer.train(texts, VocabularyConfig(size=512))
    config = configuration(kind, tokenizer.size)
    torch.manual_seed(0)
    stepper = Stepper(config, build_model(config.model), Ranks(open_fabric(config)))
    batch = Collator(config.model, tokenizer).batch(examples())
    wanted = [(*example.texts.values(), example.language) for example in examples()]
    written: list[tuple[str, str, str | None]] = []
    for step in range(MOST_STEPS):
        stepper([batch], RunState(step=step, updates=step), step / MOST_STEPS)
        if step % 5 == 4 and step >= FEWEST_STEPS:
            written = recited(stepper, tokenizer)
            if written == wanted:
                break
    assert written == wanted


GUIDED = {
    "dense": RoutingConfig(),
    "supervised": RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,)),
    "hybrid": RoutingConfig(kind="hybrid", num_experts=2, guided_by=(Guide.BANDWIDTH,)),
}


def double_meanings() -> list[Example]:
    """Eight recordings twice over: as narrowband they say their words, as wideband those of the
    next one. Not one bit of the features tells which."""
    made: list[Example] = []
    some = [example for example in examples() if example.language == "en"]
    for number, example in enumerate(some):
        for bandwidth, said in ((Bandwidth.NARROWBAND, number), (Bandwidth.WIDEBAND, number + 1)):
            text = some[said % len(some)].transcript
            made.append(
                replace(
                    example,
                    id=f"{number}-{bandwidth}",
                    bandwidth=bandwidth,
                    transcript=text,
                    texts={text_guidance(bandwidth, "en", None): text},
                )
            )
    return made


@pytest.mark.parametrize("kind", list(GUIDED))
def test_guidance_that_reaches_only_the_experts_decides_what_is_heard(kind: str) -> None:
    """Where it reaches none, no model can be right more than half of the time."""
    pairs = double_meanings()
    tokenizer = SentencePieceTokenizer.train(
        [example.transcript for example in pairs], VocabularyConfig(size=512)
    )
    config = configuration("dense", tokenizer.size)
    shape = replace(
        config.model,
        bandwidth_token=False,
        encoder=replace(config.model.encoder, routing=GUIDED[kind]),
        decoder=replace(config.model.decoder, num_layers=0),
    )
    config = replace(config, model=shape)
    torch.manual_seed(0)
    stepper = Stepper(config, build_model(shape), Ranks(open_fabric(config)))
    batch = Collator(shape, tokenizer).batch(pairs)
    right = [False]
    # It hears the same of both: at no step can it tell one from the other.
    most = MOST_STEPS if GUIDED[kind].guided else 25
    for step in range(most):
        stepper([batch], RunState(step=step, updates=step), step / most)
        if step % 25 == 24:
            right = understood(stepper, tokenizer, pairs)
            if all(right):
                break
    if kind == "dense":
        # Of each recording it is right in one meaning at most.
        assert not any(
            narrow and wide for narrow, wide in zip(right[::2], right[1::2], strict=True)
        )
        return
    assert all(right)
    if kind == "supervised":
        check_each_expert_has_its_part(stepper, tokenizer, pairs)


def check_each_expert_has_its_part(
    stepper: Stepper, tokenizer: SentencePieceTokenizer, pairs: list[Example]
) -> None:
    """Without an expert, of what is guided to it some is lost, and of nothing else."""
    banks = [m for m in stepper.model.encoder.modules() if isinstance(m, ExpertBank)]
    for expert in (0, 1):
        with ExitStack() as silence:
            for bank in banks:
                silence.enter_context(silenced(bank, expert))
            right = understood(stepper, tokenizer, pairs)
        own, other = right[expert::2], right[1 - expert :: 2]
        assert all(other)
        assert not all(own), f"expert {expert} is not needed"


def understood(
    stepper: Stepper, tokenizer: SentencePieceTokenizer, pairs: list[Example]
) -> list[bool]:
    """Whether a model with CTC alone writes what each means."""
    utterances = [
        Utterance(log_mel=e.log_mel, request=Request(bandwidth=e.bandwidth, language="en"))
        for e in pairs
    ]
    stepper.model.eval()
    found = decode(TorchBackend(stepper.model, "cpu"), tokenizer, utterances)
    texts = [item.hypotheses[0].text for item in found]
    return [text == example.transcript for text, example in zip(texts, pairs, strict=True)]
