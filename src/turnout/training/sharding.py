"""A model that is spread over the ranks: by rows of every tensor (FSDP2), or by experts.

By rows, a layer is whole while it is computed with; gradients are summed, not averaged, onto the
rank that keeps them. On gloo everything that ranks tell each other goes through `Ranks`, which
notices where one of them has ended.
"""

import copy
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup, ReduceOp
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from turnout.config import TrainConfig
from turnout.errors import ConfigError
from turnout.model.decoder import DecoderBlock
from turnout.model.speech_model import SpeechModel
from turnout.training.distributed import Ranks
from turnout.training.expert_parallel import check_experts, spread_experts
from turnout.training.whole_tensors import full, holders_of


def is_sharded(config: TrainConfig, ranks: Ranks) -> bool:
    """Whether a run spreads its model: one rank has nothing to share it with."""
    return config.parallel != "replicated" and ranks.size > 1


def check_sharding(config: TrainConfig, ranks: Ranks, say: Callable[[str], None]) -> None:
    """Say where nothing will be spread; raises ConfigError for devices that cannot, and where so
    many ranks can share the experts of no layer."""
    if config.parallel == "replicated":
        return
    if ranks.size == 1:
        say(
            f"warning: parallel is '{config.parallel}', and one process has nothing to share: it "
            "trains as with 'replicated'; torchrun starts several"
        )
        return
    if ranks.device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"parallel is '{config.parallel}', which device '{ranks.device.type}' cannot be: set "
            "device to cpu or cuda, or parallel to replicated"
        )
    if config.parallel == "experts":
        check_experts(config.model, ranks.size)


class Sharding:
    """A model and the other ranks that hold it."""

    def __init__(
        self, model: SpeechModel, ranks: Ranks, spread: Callable[[SpeechModel, Ranks], None]
    ) -> None:
        """Spread `model`, which is the same on every rank, in place; its parameters are others
        from then on."""
        self.model = model
        self.ranks = ranks
        self._names = [name for name, _ in model.named_parameters()]
        hollow = {
            id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()
        }
        self._hollow: SpeechModel = copy.deepcopy(model, hollow)
        spread(model, ranks)

    @torch.no_grad()
    def whole_model(self) -> SpeechModel:
        """A plain model of these weights on this rank's device, in whose memory it stands where
        this rank holds all of a tensor; all ranks ask for it together."""
        parameters = [self.model.get_parameter(name) for name in self._names]
        held_by = holders_of(parameters, self.ranks)
        whole = {
            id(self._hollow.get_parameter(name)): nn.Parameter(
                full(parameter, holders, self.ranks), parameter.requires_grad
            )
            for name, parameter, holders in zip(self._names, parameters, held_by, strict=True)
        }
        return copy.deepcopy(self._hollow, whole)

    def norm(self, own: Tensor) -> Tensor:
        """The norm of what all ranks hold, from that of what this rank counts."""
        return self.ranks.sum(own.to(self.ranks.device).square()).sqrt()


def spread_rows(model: SpeechModel, ranks: Ranks) -> None:
    """Leave this rank its rows of every tensor."""
    # Of a Linear of more than one row; nobody here changes an output in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    group = torch.distributed.group.WORLD
    assert group is not None, "ranks are connected before a model is spread"
    mesh = DeviceMesh.from_group(group, ranks.device.type)
    for unit in units_of(model):
        sharded = fully_shard(unit, mesh=mesh)
        # Losses are divided by what all ranks have: the default would divide once more.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)  # gloo has no other way not to divide
        if torch.distributed.get_backend(group) == "gloo":
            watch(sharded, ranks)


SPREAD = {"sharded": spread_rows, "experts": spread_experts}
"""By what `parallel` says."""


def units_of(model: SpeechModel) -> Iterator[nn.Module]:
    """What is made whole at one time, inner parts first: every layer, and the rest, which stays
    whole for a step; experts come with their layer, whichever of them a rank's frames take."""
    blocks = [*model.encoder.blocks, *(() if model.decoder is None else model.decoder.blocks)]
    for block in blocks:
        if isinstance(block, DecoderBlock):
            # `Decoder.cross` asks them before their layer is run.
            yield block.cross_attention.key
            yield block.cross_attention.value
        yield block
    yield model


def watch(unit: FSDPModule, ranks: Ranks) -> None:
    """Let FSDP2 talk through `Ranks`."""
    unit.set_custom_all_gather(Gathering(ranks))  # pyright: ignore[reportArgumentType]
    unit.set_custom_reduce_scatter(Scattering(ranks))  # pyright: ignore[reportArgumentType]


class Messages:
    """What FSDP2 asks of both: where messages lie."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks

    def allocate(
        self, size: tuple[int, ...], *, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Memory as any other."""
        return torch.empty(size, dtype=dtype, device=device)


class Gathering(Messages):
    """All ranks' parameters."""

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: ProcessGroup,  # noqa: ARG002 - FSDP2's signature
        async_op: bool = False,  # noqa: ARG002
    ) -> None:
        """`input_tensor` of every rank, into `output_tensor`."""
        output_tensor.copy_(self.ranks.gather_rows(input_tensor))


class Scattering(Messages):
    """The sum of all ranks' gradients, this rank's part of it."""

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: ProcessGroup,  # noqa: ARG002 - FSDP2's signature
        op: ReduceOp.RedOpType,
        async_op: bool = False,  # noqa: ARG002
    ) -> None:
        """As gloo does it itself: the whole sum on all, of which each takes its part."""
        assert op == ReduceOp.SUM, f"gradients are summed, and {op} was asked for"
        parts = self.ranks.sum(input_tensor).chunk(self.ranks.size)
        output_tensor.copy_(parts[self.ranks.rank])
