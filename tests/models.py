"""Small models with random weights, as folders with graphs; made once per test session."""

import fcntl
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch

from tests.doubles import tokenizer
from tests.traced import remembered
from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    ModelConfig,
    RoutingConfig,
    VocabularyConfig,
)
from turnout.export.save import export_folder, save_model
from turnout.guidance import Guide
from turnout.model.build import build_model

shared: Path | None = None
"""The folder of a test run, once it has one."""
SMALL = {"num_layers": 1, "d_model": 16, "num_heads": 2, "d_feedforward": 24, "conv_kernel": 5}


def vocabulary() -> VocabularyConfig:
    """The fixed tokenizer's."""
    return VocabularyConfig(size=tokenizer().size)


def decoder(routing: RoutingConfig | None = None, **changes: object) -> DecoderConfig:
    """One layer."""
    fields: dict[str, object] = {"num_layers": 1, "num_heads": 2, "d_feedforward": 24}
    return DecoderConfig(routing=routing or RoutingConfig(), **{**fields, **changes})  # type: ignore[arg-type]


def encoder(routing: RoutingConfig, **changes: object) -> EncoderConfig:
    """One layer by default."""
    return EncoderConfig(routing=routing, **{**SMALL, **changes})  # type: ignore[arg-type]


SHAPES: dict[str, ModelConfig] = {
    "dense": ModelConfig(
        vocabulary=vocabulary(),
        encoder=encoder(RoutingConfig(), block="transformer", subsampling="stack4"),
        decoder=decoder(DecoderConfig().routing, positions="rotary", tie_embeddings=False),
    ),
    "ctc_only": ModelConfig(
        vocabulary=vocabulary(),
        encoder=encoder(
            RoutingConfig(kind="switch", num_experts=3),
            block="transformer",
            subsampling="stack4",
            positions="sinusoidal",
        ),
        decoder=DecoderConfig(num_layers=0),
        bandwidth_token=False,
    ),
    "switch": ModelConfig(
        vocabulary=vocabulary(),
        encoder=encoder(RoutingConfig(kind="switch", num_experts=3)),
        decoder=decoder(RoutingConfig(kind="switch", num_experts=2), num_layers=2),
    ),
    "omni": ModelConfig(
        vocabulary=vocabulary(),
        encoder=encoder(
            RoutingConfig(kind="omni", num_experts=2),
            block="transformer",
            num_layers=2,
            subsampling="conv2",
            positions="learned",
        ),
        decoder=decoder(
            RoutingConfig(kind="omni", num_experts=2),
            positions="learned",
            num_layers=2,
            alignment_heads=((1, 1), (0, 1), (1, 0)),
        ),
        ctc=False,
        bandwidth_token=False,
    ),
    "supervised": ModelConfig(
        vocabulary=vocabulary(),
        # But for its experts that of `dense`, so a path that is cut out has the graphs of that.
        encoder=encoder(
            RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,)),
            block="transformer",
            subsampling="stack4",
        ),
        decoder=decoder(
            RoutingConfig(kind="supervised", guided_by=(Guide.TASK,)),
            positions="rotary",
            tie_embeddings=False,
        ),
        window_seconds=3.0,
    ),
    "hybrid": ModelConfig(
        vocabulary=vocabulary(),
        encoder=encoder(
            RoutingConfig(kind="hybrid", num_experts=2, guided_by=(Guide.BANDWIDTH,)),
            left_context=8,
            right_context=4,
        ),
        decoder=decoder(
            RoutingConfig(kind="hybrid", num_experts=2, guided_by=(Guide.TASK, Guide.LANGUAGE))
        ),
    ),
}


EXPORTED = [shape for shape in SHAPES if shape != "switch"]
"""Whose graphs are compared in every run: its router is that of `ctc_only` as well, experts in a
decoder are those of `omni` and `hybrid`, and tracing takes long."""


@cache
def root() -> Path:
    """Where the folders lie: the test processes of one run share it, and pytest removes it."""
    return Path(tempfile.mkdtemp(prefix="turnout-models-")) if shared is None else shared


@cache
def saved(shape: str, *, half: bool = True) -> Path:
    """The folder of a model with random weights, without graphs; not to be changed."""
    path = root() / str(os.getpid()) / f"{shape}-{'half' if half else 'full'}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build_model(SHAPES[shape])
        # Random biases and a louder output: near-ties and uniform distributions hide mistakes.
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.2)
                elif "embedding" in name or "ctc_head" in name or "router" in name:
                    parameter.mul_(3)
    save_model(path, model, tokenizer(), "A random model for tests.", half=half)
    return path


@cache
def exported(shape: str) -> Path:
    """The same with graphs; not to be changed. Exported once for all test processes."""
    path = root() / shape
    with (root() / f".{shape}.lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not path.exists():
            partial = root() / f".{shape}"
            shutil.copytree(saved(shape), partial)
            with remembered():
                export_folder(partial)
            partial.rename(path)
    return path
