"""The processes of one run: sums over them, decisions that all of them take alike, and requests to
stop.

Gradients are summed here once a step rather than inside the backward pass: every rank then holds
the same sum over the same parameters, whether or not its own batches reached each expert. What
travels is plain tensors; nothing is pickled.
"""

import logging
import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed import ReduceOp, all_gather, all_reduce, all_to_all_single, broadcast
from torch.distributed.tensor import DTensor

from turnout.config import TrainConfig
from turnout.data.workers import DIED
from turnout.errors import ConfigError, TrainingError
from turnout.training.neighbours import Neighbours

BUCKET_ELEMENTS = 8 * 1024 * 1024
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set in the environment of ranks that torchrun started."""


class Ranks:
    """What one rank knows of the others."""

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank: int = fabric.global_rank
        self.size: int = fabric.world_size
        self.device: torch.device = fabric.device
        self._neighbours = Neighbours({})
        if self.size > 1:
            names = self.gather_text(Neighbours.own_name())
            with connected():
                self._neighbours = Neighbours.of(names)

    @property
    def first(self) -> bool:
        """Whether this rank writes the files that exist once."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, the same bits on each; `values` stays as it is."""
        return self._reduce(values, ReduceOp.SUM)

    def largest(self, value: int) -> int:
        """The largest of the ranks' numbers: how one rank's word becomes everybody's."""
        return int(self._reduce(torch.tensor(value, device=self.device), ReduceOp.MAX))

    def _reduce(self, values: Tensor, how: ReduceOp.RedOpType) -> Tensor:
        if self.size == 1:
            return values
        reduced = values.clone()
        with connected():
            work = all_reduce(reduced, how, async_op=True)
            assert work is not None
            self._neighbours.wait(work)
        return reduced

    def gather_rows(self, own: Tensor) -> Tensor:
        """The ranks' tensors, which are of one shape, under each other in rank order, on each."""
        if self.size == 1:
            return own
        gathered = own.new_empty((self.size * own.shape[0], *own.shape[1:]))
        with connected():
            work = all_gather(list(gathered.chunk(self.size)), own.contiguous(), async_op=True)
            assert work is not None
            self._neighbours.wait(work)
        return gathered

    def exchange(self, values: Tensor, sent: Sequence[int], coming: Sequence[int]) -> Tensor:
        """What the other ranks have for this one: each sends the first of its rows to rank 0, the
        next to rank 1; `sent` and `coming` say how many, all ranks ask together."""
        received = values.new_empty((sum(coming), *values.shape[1:]))
        with connected():
            work = all_to_all_single(
                received, values.contiguous(), list(coming), list(sent), async_op=True
            )
            assert work is not None
            self._neighbours.wait(work)
        return received

    def sum_among(self, values: Tensor, members: Sequence[int]) -> Tensor:
        """The sum over `members`, this rank among them, the same bits on each; all ranks ask
        together, each for the members of its own part of them."""
        if len(members) == 1:
            return values
        width = -(-values.numel() // len(members))
        padded = values.new_zeros(len(members) * width)
        padded[: values.numel()] = values.reshape(-1)
        each = [int(rank in members) for rank in range(self.size)]
        # Each sums a part of it, and has those of the others: as a ring, without a group of theirs.
        own = self.exchange(padded.view(-1, width), each, each).sum(dim=0)
        summed = self.exchange(own.expand(len(members), width), each, each)
        return summed.reshape(-1)[: values.numel()].view_as(values)

    def from_rank(self, source: int, values: Tensor) -> Tensor:
        """Those of rank `source`, on each; the others' say how many there are, and may be
        without memory."""
        if self.rank == source:
            received = values.contiguous()
        else:
            received = torch.empty(values.shape, dtype=values.dtype, device=self.device)
        with connected():
            work = broadcast(received, source, async_op=True)
            assert work is not None
            self._neighbours.wait(work)
        return received

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every parameter the sum of its gradients over ranks, zeros where nobody has one.

        Those of sharded parameters are sums already, each rank's own rows of them.
        """
        # In buckets: one message for many small gradients, none as large as the model.
        bucket: list[Tensor] = []
        elements = 0
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if isinstance(parameter.grad, DTensor):
                continue
            bucket.append(parameter.grad)
            elements += parameter.numel()
            if elements >= BUCKET_ELEMENTS:
                self._sum_in_place(bucket)
                bucket, elements = [], 0
        self._sum_in_place(bucket)

    def _sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        if self.size == 1 or not tensors:
            return
        summed = self.sum(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, part in zip(tensors, summed.split(sizes), strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather_text(self, text: str) -> list[str]:
        """The texts of all ranks, in rank order, on every rank."""
        if self.size == 1:
            return [text]
        data = text.encode()
        lengths = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        lengths[self.rank] = len(data)
        lengths = self.sum(lengths)
        # Each row is zero on all ranks but one: their sum holds every text, and pickles nothing.
        table = torch.zeros((self.size, int(lengths.max())), dtype=torch.int32, device=self.device)
        values = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0)
        table[self.rank, : len(data)] = values.to(table)
        table = self.sum(table).to("cpu", torch.uint8)
        rows = zip(table, lengths.tolist(), strict=True)
        return [bytes(row[:length].tolist()).decode() for row, length in rows]

    def barrier(self) -> None:
        """Wait for the others."""
        self.largest(0)


@contextmanager
def connected() -> Iterator[None]:
    """Around what needs the other ranks: TrainingError where one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        if DIED in str(error):  # its death is told of at any moment
            raise
        # Without the place in a library's source that it begins with, and its advice.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        reason = re.sub(r"^\[[^]]*\] ", "", first).partition(". ")[0]
        raise TrainingError(
            f"the other ranks cannot be reached ({reason}): one of them ended, and says why where "
            "it could; started again, the run goes on from its last checkpoint"
        ) from error


def open_fabric(config: TrainConfig) -> Fabric:
    """Device, precision and processes as the configuration and the launcher say."""
    # Fabric tells of every rank that it begins.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no device 'cuda': PyTorch sees no GPU; leave device 'auto' or say 'cpu'")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
    fabric = Fabric(
        accelerator=config.device,
        devices=local,
        num_nodes=max(1, processes // local),
        strategy="ddp" if processes > 1 else "auto",
        precision="bf16-mixed" if config.precision == "bfloat16" else "32-true",
    )
    with connected():
        fabric.launch()
    return fabric


class StopSignals:
    """Inside the context, Ctrl-C, SIGTERM and SIGUSR1 are noted, to be obeyed between two steps.

    torchrun passes SIGTERM and SIGINT on to its ranks; killed by any other signal, it leaves them
    behind. A rank whose launcher has gone stops as if its terminal had hung up.
    """

    def __init__(self) -> None:
        self._noted = 0
        self._launcher = os.getppid() if LAUNCHED in os.environ else None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def received(self) -> int:
        """Number of the first signal, 0 before it; that of SIGHUP where the launcher has gone."""
        if self._launcher not in (None, os.getppid()):
            self._noted = self._noted or signal.SIGHUP
        return self._noted

    def __enter__(self) -> Self:
        # Python takes signals in the main thread alone; elsewhere the caller stops by itself.
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._noted = self._noted or number
