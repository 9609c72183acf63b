"""A plan in words, for a terminal."""

from collections.abc import Iterator

from turnout.planning.memory import Memory, Sharing
from turnout.planning.plan import GB, Plan, Shared

NAMES: dict[Sharing, str] = {
    "ddp": "DDP",
    "fsdp": "FSDP2",
    "experts": "experts sharded",
}
PARTS = (
    "weights", "gradients", "optimizer", "teacher", "copies", "activations", "features", "update",
)  # fmt: skip
COLUMN = 17


def lines_of(plan: Plan) -> Iterator[str]:
    """One thought a line."""
    numbers, batch, steps, work = plan.parameters, plan.micro_batch, plan.steps, plan.work
    yield (
        f"parameters: {millions(numbers.total)} in total, {millions(numbers.active)} active, "
        f"{millions(numbers.trained)} trained"
    )
    yield (
        f"micro-batch of a device: {batch.utterances} utterances, {batch.audio_seconds:.0f} s of "
        f"speech, {batch.all_frames:,} hidden frames, {batch.all_tokens:,} decoder tokens"
    )
    yield (
        f"steps: {steps.per_epoch:,} an epoch, {steps.total:,} in all ({steps.epochs:.2f} epochs, "
        f"ended by {steps.limit}), each of {steps.audio_seconds:,.0f} s of speech"
    )
    yield (
        f"operations: {work.per_audio_second / 1e9:,.1f} GFLOP a second of speech, "
        f"{work.per_step / 1e12:,.2f} TFLOP a step and device, "
        f"{work.total / 1e18:,.2f} EFLOP in all"
    )
    yield duration_line(plan)
    yield from memory_lines(plan)
    if plan.measured is not None and plan.measured.peak_bytes is not None:
        yield f"measured on {plan.measured.device}: {gb(plan.measured.peak_bytes)} at most"
    if plan.devices > 1:
        yield "sent by each device in a step:"
        for name, shared in plan.sharing.items():
            yield f"  {NAMES[name]}: {traffic_words(shared)}"
    disk = plan.disk
    yield (
        f"disk: {gb(disk.feature_store)} of features, {gb(disk.checkpoint)} a checkpoint, "
        f"{gb(disk.run)} of checkpoints and weights at most"
    )


def duration_line(plan: Plan) -> str:
    """How long, and who says so."""
    if plan.duration is None:
        return "time: unknown without a speed: give --tflops or --speed, or --measure whole"
    found = plan.duration
    return (
        f"time: {found.days:,.1f} days, {found.step_seconds:.3g} s a step (speed {found.source}; "
        "what devices send is not counted)"
    )


def memory_lines(plan: Plan) -> Iterator[str]:
    """A table: a row for each part, a column for each way of sharing."""
    names = [NAMES[name] for name in plan.sharing] if plan.devices > 1 else ["one device"]
    memories = [shared.memory for shared in plan.sharing.values()]
    yield row(f"memory of each device of {plan.devices}:", names)
    for part in PARTS:
        if part == "teacher" and not any(memory.teacher for memory in memories):
            continue
        yield row(f"  {part}{' (not added)' if part == 'update' else ''}", parts(memories, part))
    yield row("  at most", [gb(memory.total) for memory in memories])
    fits = ["yes" if shared.fits else "no" for shared in plan.sharing.values()]
    yield row(f"  fits {plan.memory_gb:g} GB, a fifth left free", fits)


def parts(memories: list[Memory], part: str) -> list[str]:
    """One part under each way."""
    return [gb(getattr(memory, part)) for memory in memories]


def row(head: str, cells: list[str]) -> str:
    """Right-aligned cells."""
    return f"{head:<36}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)


def traffic_words(shared: Shared) -> str:
    """What is sent how."""
    kinds = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
    amounts = {kind: getattr(shared.traffic, kind) for kind in kinds}
    return ", ".join(
        f"{gb(amount)} {kind.replace('_', '-')}" for kind, amount in amounts.items() if amount
    )


def millions(count: int) -> str:
    """Parameters."""
    return f"{count / 1e6:,.1f}M"


def gb(count: float) -> str:
    """Bytes, in GB of 10^9, with three digits where it is little."""
    return f"{count / GB:,.2f} GB" if count >= GB / 10 else f"{count / 1e6:,.2f} MB"
