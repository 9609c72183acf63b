"""A run: objective, optimizer, schedule, what is saved and when. No torch here."""

from dataclasses import dataclass, field
from typing import Literal

from turnout.config.bounds import above_zero, at_least, require, share
from turnout.config.data import DataConfig
from turnout.config.model import ModelConfig

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The parts of the loss."""

    ctc_weight: float = 0.3
    """Share of CTC; the rest is attention's. A model without decoder is CTC alone."""
    label_smoothing: float = 0.1
    """Of the attention loss."""
    balance_weight: float = 0.01
    """Switch's load-balance loss, per learned routing (arXiv 2101.03961, equation 4)."""
    text_weight: float = 1.0
    """Of CTC's and attention's loss together; 0 leaves distillation alone."""
    distil_encoder: float = 0.0
    """Weight of the mean squared difference to what the encoder of init_from hears in the same
    recording as it was: not by telephone, without noise and masks, in the whole window. Needs no
    right text."""
    distil_decoder: float = 0.0
    """Weight of the KL divergence from the distributions of its decoder, which has heard that, over
    the given text."""
    teacher_cache_gb: float = 2.0
    """Most disk that the outputs of its encoder may take in the run's folder; the least recently
    used give way. They come again where data.plans is set."""

    def __post_init__(self) -> None:
        share(self, "objective.", "ctc_weight")
        at_least(0, self, "objective.", "balance_weight", "text_weight", "teacher_cache_gb")
        at_least(0, self, "objective.", "distil_encoder", "distil_decoder")
        require(
            self.text_weight > 0 or self.distils,
            "objective.text_weight is 0, and so nothing is learned: set distil_encoder or "
            "distil_decoder beside it",
        )
        require(0 <= self.label_smoothing < 1, "objective.label_smoothing: from 0 to below 1")

    @property
    def distils(self) -> bool:
        """Whether the model that a run begins from teaches."""
        return self.distil_encoder > 0 or self.distil_decoder > 0

    @property
    def decodes(self) -> bool:
        """Whether the decoder takes part, where there is one."""
        return self.text_weight > 0 or self.distil_decoder > 0


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up and decay."""

    learning_rate: float = 1e-3
    """At the end of the warm-up."""
    warmup_steps: int = 500
    """Steps of linear warm-up."""
    decay: Literal["cosine", "linear", "inverse_sqrt", "constant"] = "cosine"
    """After the warm-up; 'cosine' and 'linear' end at final_share of the peak."""
    final_share: float = 0.01
    """What is left of the learning rate at the end of the run."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Of Adam's moments."""
    weight_decay: float = 0.01
    """On matrices only."""
    clip_norm: float = 1.0
    """Largest global gradient norm."""
    accumulate: int = 1
    """Batches whose gradients are added before a step."""

    def __post_init__(self) -> None:
        above_zero(self, "optimizer.", "learning_rate", "clip_norm")
        at_least(1, self, "optimizer.", "accumulate")
        at_least(0, self, "optimizer.", "warmup_steps", "weight_decay")
        share(self, "optimizer.", "final_share")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"optimizer.betas are {self.betas}: each must lie from 0 to below 1",
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run. Stops at the first of steps, epochs, hours of audio that is reached."""

    output: str = "runs/default"
    """The run's folder: checkpoints, logs, the plot and, at the end, `model/`."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """What is trained."""
    data: DataConfig = field(default_factory=DataConfig)
    """On what."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Towards what."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How."""
    init_from: str | None = None
    """Model folder whose weights are the start; what did not fit is listed."""
    init_tokenizer: Literal["keep", "new"] | None = None
    """'keep': that of init_from. 'new': trained on the texts of the run; pieces that both have keep
    what was learned of them. By default a new one where that of init_from lacks a language."""
    trainable: tuple[str, ...] = ()
    """Parts that are trained, the rest stays what it is; all by default. encoder.experts,
    encoder.experts.narrowband (or whatever guides to an expert), decoder.attention, decoder.norms,
    or shell patterns over names of parameters, such as decoder.blocks.[3-5].*"""
    low_rank: int | None = None
    """The trained matrices move by a product of this rank alone, which is added to them at the end:
    far fewer numbers, and so smaller adapters."""
    tie_experts_until: int = 0
    """The experts of a layer train as one for this many steps, then apart."""
    max_steps: int | None = 10_000
    """Optimizer steps."""
    max_epochs: int | None = None
    """Passes through the plan of batches."""
    max_hours: float | None = None
    """Hours of audio consumed."""
    seed: int = 0
    """Of weights, batches, augmentation, dropout and jitter."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """'bfloat16': autocast, the weights and the routers stay float32."""
    device: str = "auto"
    """'auto', 'cpu' or 'cuda'."""
    parallel: Literal["replicated", "sharded", "experts"] = "replicated"
    """How several ranks hold the model. 'replicated': each has all of it, as with DDP. 'sharded':
    each has its part of weights, gradients and moments (FSDP2), and for a moment whole what it
    computes with. 'experts': each has its share of every layer's experts and all of the rest;
    frames are sent to their experts and back. The batches, the losses and the files of a run are
    the same."""
    threads: int | None = None
    """CPU threads; by default PyTorch's choice."""
    validate_every: int = 500
    """Steps between validations."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Newest checkpoints kept, beside the best."""
    average_last: int = 5
    """Validated weights that are averaged into the final model; 1 takes the best alone."""
    log_every: int = 10
    """Steps between lines of the log."""

    def __post_init__(self) -> None:
        require(bool(self.output), "output must name a folder")
        limits = (self.max_steps, self.max_epochs, self.max_hours)
        require(
            any(limit is not None for limit in limits), "set max_steps, max_epochs or max_hours"
        )
        at_least(1, self, "", "max_steps", "max_epochs", "threads", "log_every")
        at_least(1, self, "", "validate_every", "checkpoint_every", "keep_checkpoints")
        at_least(1, self, "", "average_last", "low_rank")
        at_least(0, self, "", "tie_experts_until", "seed")
        above_zero(self, "", "max_hours")
        require(
            self.low_rank is None or bool(self.trainable),
            "low_rank is for parts of a model: name them in trainable, such as encoder.attention",
        )
        require(
            self.init_from is not None or not self.objective.distils,
            "objective.distil_encoder and distil_decoder keep to the model that init_from names: "
            "name one",
        )
        require(
            self.device in DEVICES, f"device is '{self.device}': it must be {', '.join(DEVICES)}"
        )
