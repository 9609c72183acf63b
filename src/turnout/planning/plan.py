"""What a run will take, from its configuration, the hours of speech and the devices."""

from dataclasses import asdict, dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from turnout.config import TrainConfig
from turnout.config.model import FRAMES_PER_SECOND
from turnout.config.planning import PlanConfig
from turnout.planning.disk import checkpoint_bytes, run_bytes, store_bytes
from turnout.planning.memory import RESERVE, Memory, Sharing, memory_of, places_of
from turnout.planning.micro_batch import MicroBatch, micro_batch_of, of_length
from turnout.planning.operations import operations_of, taught_operations
from turnout.planning.traffic import Traffic, traffic_of
from turnout.planning.weights import Weights, weights_of

if TYPE_CHECKING:
    from turnout.planning.measure import Measured

GB = 1e9
SECONDS_OF_HOUR, SECONDS_OF_DAY = 3600, 86400


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of the model."""

    total: int
    active: int
    """That one frame or token meets: of experts one of each feed-forward."""
    trained: int


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long the run is."""

    per_epoch: int
    total: int
    limit: str
    """What ends it: the first of max_steps, max_epochs and max_hours that is reached."""
    epochs: float
    audio_seconds: float
    """Speech in one step of all devices."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Operations (multiplications and additions) of the forward and the backward pass, and of a
    teacher's forward pass."""

    per_audio_second: float
    per_step: float
    """On one device."""
    total: float
    """Of the whole run, on all devices."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """One way of sharing the model between the devices."""

    memory: Memory
    traffic: Traffic
    fits: bool
    """Whether the memory of a device holds it, a fifth being left to the driver, libraries and the
    gaps between tensors."""


@dataclass(frozen=True, kw_only=True)
class Duration:
    """How long it takes, what devices send each other aside."""

    step_seconds: float
    days: float
    source: str
    """Where the speed is from."""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """Bytes on the disk."""

    feature_store: int
    checkpoint: int
    run: int
    """All that the run keeps at one time, the feature store aside."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take."""

    parameters: Parameters
    micro_batch: MicroBatch
    steps: Steps
    work: Work
    sharing: dict[Sharing, Shared]
    disk: Disk
    duration: Duration | None
    """None where no speed is known."""
    measured: "Measured | None"
    devices: int
    memory_gb: float

    def to_plain(self) -> dict[str, Any]:
        """For JSON; bytes and seconds throughout."""
        plain = asdict(self)
        for name, shared in self.sharing.items():
            plain["sharing"][name]["memory"]["total"] = shared.memory.total
            plain["sharing"][name]["traffic"]["total"] = shared.traffic.total
        return plain


def plan_run(config: TrainConfig, plan: PlanConfig) -> Plan:
    """The plan; where it is to be measured, after a few steps on this machine.

    Raises ConfigError for what no run could be made of, TrainingError where a measured step needs
    more memory than there is.
    """
    weights, batch = weights_of(config), micro_batch_of(config, plan)
    steps = steps_of(config, plan, batch)
    each = operations_of(config.model, weights, batch).all + taught_operations(config, batch)
    work = Work(
        per_audio_second=each / batch.audio_seconds,
        per_step=each * config.optimizer.accumulate,
        total=each * config.optimizer.accumulate * plan.devices * steps.total,
    )
    measured = measure(config, plan, batch) if plan.measure else None
    step_seconds, source = speed_of(config, plan, batch, each, measured)
    moved = sum(weight.size for weight in weights.moved)
    clip = plan.utterance_seconds or batch.audio_seconds / batch.utterances
    return Plan(
        parameters=Parameters(total=weights.total, active=weights.active, trained=moved),
        micro_batch=batch,
        steps=steps,
        work=work,
        sharing={
            name: shared(config, weights, batch, name, plan)
            for name in sharings(config, weights, plan.devices)
        },
        disk=Disk(
            feature_store=store_bytes(config, plan.hours, clip),
            checkpoint=checkpoint_bytes(weights),
            run=run_bytes(config, weights),
        ),
        duration=None
        if step_seconds is None
        else Duration(
            step_seconds=step_seconds,
            days=step_seconds * steps.total / SECONDS_OF_DAY,
            source=source,
        ),
        measured=measured,
        devices=plan.devices,
        memory_gb=plan.memory_gb,
    )


def steps_of(config: TrainConfig, plan: PlanConfig, batch: MicroBatch) -> Steps:
    """An epoch hears all the speech once, or `data.epoch_hours` of it; a run ends at the first of
    its limits."""
    audio = batch.audio_seconds * plan.devices * config.optimizer.accumulate
    epoch = (config.data.epoch_hours or plan.hours) * SECONDS_OF_HOUR
    per_epoch = ceil(epoch / audio)
    limits: dict[str, int] = {}
    if config.max_steps is not None:
        limits["max_steps"] = config.max_steps
    if config.max_epochs is not None:
        limits["max_epochs"] = config.max_epochs * per_epoch
    if config.max_hours is not None:
        limits["max_hours"] = ceil(config.max_hours * SECONDS_OF_HOUR / audio)
    limit = min(limits, key=lambda name: limits[name])
    return Steps(
        per_epoch=per_epoch,
        total=limits[limit],
        limit=limit,
        epochs=limits[limit] / per_epoch,
        audio_seconds=audio,
    )


def sharings(config: TrainConfig, weights: Weights, devices: int) -> tuple[Sharing, ...]:
    """The ways that there are: one device has all of the model, and experts are sharded where a
    layer has some that can be."""
    if devices == 1:
        return ("ddp",)
    spread = any(places_of(config.model, weight, devices) > 1 for weight in weights.all)
    return ("ddp", "fsdp", "experts") if spread else ("ddp", "fsdp")


def shared(
    config: TrainConfig, weights: Weights, batch: MicroBatch, name: Sharing, plan: PlanConfig
) -> Shared:
    """Memory and traffic under one way."""
    memory = memory_of(config, weights, batch, name, plan.devices)
    return Shared(
        memory=memory,
        traffic=traffic_of(config, weights, batch, name, plan.devices),
        fits=memory.total <= plan.memory_gb * GB * (1 - RESERVE),
    )


def measure(config: TrainConfig, plan: PlanConfig, batch: MicroBatch) -> "Measured":
    """Steps on this machine, of the run's micro-batch, or scaled down."""
    # Here, not above: a plan of paper needs no PyTorch.
    from turnout.planning.measure import measured_of, one_layer  # noqa: PLC0415

    if plan.measure == "whole":
        return measured_of(config, batch)
    seconds = batch.audio_seconds / batch.utterances
    heard = batch.feature_frames / FRAMES_PER_SECOND
    single = of_length(config.model, 1, heard, batch.targets, audio_seconds=seconds)
    return measured_of(one_layer(config), single)


def speed_of(
    config: TrainConfig,
    plan: PlanConfig,
    batch: MicroBatch,
    operations: float,
    measured: "Measured | None",
) -> tuple[float | None, str]:
    """Seconds of one step of the run, and where they are from."""
    micro_batches = config.optimizer.accumulate
    if plan.tflops is not None:
        seconds = operations / (plan.tflops * 1e12)
        return seconds * micro_batches, f"given: {plan.tflops:g} TFLOP/s a device"
    if plan.speed is not None:
        seconds = batch.audio_seconds / plan.speed
        return seconds * micro_batches, f"given: {plan.speed:g} s of speech a second and device"
    if measured is None:
        return None, ""
    # Of the whole batch that is 1, but for what a teacher does, which is not measured.
    seconds = measured.seconds * operations / measured.operations
    if plan.measure == "whole":
        return seconds * micro_batches, f"measured on this machine ({measured.device})"
    return (
        seconds * micro_batches,
        f"scaled by operations from one layer and one utterance measured on this machine "
        f"({measured.device})",
    )
