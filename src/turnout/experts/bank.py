"""The experts of one feed-forward, and how frames reach them.

Experts take decisions already made; nothing here knows how a decision came about. Each expert
keeps its own weight tensors, so that export and quantisation find plain matrix products.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from turnout.experts import grouped

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
LEVELS = 256


class Dropout(nn.Module):
    """Inverted dropout with its rate rounded to the nearest 1/256; nothing in evaluation.

    From random bytes: on CPU ten times as fast as drawing a Bernoulli for each element. The whole
    model's, yet it lies here: experts drop out too, and import nothing of the model.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped_levels = round(rate * LEVELS)

    def forward(self, hidden: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Zero a share of the elements, scale the rest so that the mean stays."""
        if not self.training or self.dropped_levels == 0:
            return hidden
        count = hidden.numel()
        # Drawn as words of eight bytes, one byte for an element: the generator makes whole words.
        words = torch.empty(-(-count // 8), dtype=torch.int64, device=hidden.device)
        levels = words.random_(-(2**63), None).view(torch.uint8)[:count].view(hidden.shape)
        scale = LEVELS / (LEVELS - self.dropped_levels)
        return hidden * levels.ge_(self.dropped_levels).to(hidden.dtype).mul_(scale)


class Expert(nn.Module):
    """Linear, activation, Linear; dropout after the activation."""

    def __init__(
        self, d_model: int, d_feedforward: int, activation: str, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_feedforward)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.down = nn.Linear(d_feedforward, d_model)

    def forward(self, hidden: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
        """One frame a row."""
        return self.down(self.dropout(self.activation(self.up(hidden))))


class ExpertBank(nn.Module):
    """Experts side by side; dropless, and padding reaches none of them."""

    def __init__(
        self,
        num_experts: int,
        d_model: int,
        d_feedforward: int,
        activation: str,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            Expert(d_model, d_feedforward, activation, dropout) for _ in range(num_experts)
        )

    def forward(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        expert_index: Int[Tensor, "batch frames"],
        frame_mask: Bool[Tensor, "batch frames"],
        gate: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames d_model"]:
        """gate * expert(hidden) of each valid frame, zero elsewhere."""
        if len(self.experts) == 1:
            return self.plain(hidden, frame_mask, gate=gate)
        if torch.compiler.is_compiling():
            return self.dispatched(hidden, expert_index, frame_mask, gate)
        if self.groups(hidden):
            return self.grouped(hidden, expert_index, frame_mask, gate)
        return self.sorted(hidden, expert_index, frame_mask, gate)

    def sorted(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        expert_index: Int[Tensor, "batch frames"],
        frame_mask: Bool[Tensor, "batch frames"],
        gate: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames d_model"]:
        """The same with the frames in the order of their experts: gathered once, put back once.

        docs/speed.md holds it beside the loop and beside what others use.
        """
        count = len(self.experts)
        chosen = torch.where(frame_mask, expert_index, count).reshape(-1)
        # Stable, so that an expert sees its frames in the order in which `dispatched` shows them.
        order = chosen.argsort(stable=True)
        taken = torch.bincount(chosen, minlength=count + 1).tolist()[:count]
        rows = order[: sum(taken)]
        given = hidden.reshape(-1, hidden.shape[-1]).index_select(0, rows)
        return put_back(self.answers(given, taken), rows, hidden, gate)

    def answers(
        self, frames: Float[Tensor, "rows d_model"], taken: list[int]
    ) -> Float[Tensor, "rows d_model"]:
        """What the experts make of frames in their order, so many of each."""
        # Zeros are a gradient where none is not, so then experts without frames are asked too.
        everyone = torch.is_grad_enabled() or not len(frames)
        pairs = zip(self.experts, frames.split(taken), strict=True)
        return torch.cat([expert(own) for expert, own in pairs if everyone or len(own)])

    def groups(self, hidden: Float[Tensor, "batch frames d_model"]) -> bool:
        """Whether `grouped` is the way for these frames."""
        experts: list[Any] = list(self.experts)
        weight = experts[0].up.weight
        rows = hidden.numel() // hidden.shape[-1]
        if not 0 < rows <= grouped.MOST_ROWS * len(experts):
            return False
        precision = grouped.precision_of(hidden, weight)
        if not grouped.has_kernel(hidden.device, precision, weight.shape):
            return False
        # What adds to the product of its weights, as low rank does, is to be called itself.
        return all(type(linear) is nn.Linear for one in experts for linear in (one.up, one.down))

    def grouped(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        expert_index: Int[Tensor, "batch frames"],
        frame_mask: Bool[Tensor, "batch frames"],
        gate: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames d_model"]:
        """The same by one product for all experts, which does not wait for the device.

        In the precision of the products from the first to the last. Padding is sorted and carried
        along, and computed in nothing but the activation.
        """
        experts: list[Any] = list(self.experts)
        precision = grouped.precision_of(hidden, experts[0].up.weight)
        padding = ~frame_mask.reshape(-1)
        order = grouped.ordered(expert_index.reshape(-1), padding, len(experts), precision)
        padding = padding.unsqueeze(1)
        frames = grouped.taken(hidden.reshape(-1, hidden.shape[-1]), order, padding)
        inner = experts[0].activation(grouped.through(frames, order, [e.up for e in experts]))
        answers = grouped.through(experts[0].dropout(inner), order, [e.down for e in experts])
        output = grouped.put_back(answers, order.source).masked_fill(padding, 0)
        if gate is not None:
            output = output * gate.reshape(-1, 1).masked_fill(padding, 0)
        return output.to(hidden.dtype).reshape(hidden.shape)

    def dispatched(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        expert_index: Int[Tensor, "batch frames"],
        frame_mask: Bool[Tensor, "batch frames"],
        gate: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames d_model"]:
        """The same by a static loop over the experts, with no branch on the data: what exports."""
        frames = hidden.reshape(-1, hidden.shape[-1])
        # -1 is no expert: padding reaches none, and adds to no gradient.
        chosen = torch.where(frame_mask, expert_index, -1).reshape(-1)
        mixed = torch.zeros_like(frames)
        for index, expert in enumerate(self.experts):
            rows = torch.nonzero(chosen == index).squeeze(1)
            # On no rows too: a branch would not export, and zeros are a gradient where none is not.
            output = expert(frames.index_select(0, rows))
            if gate is not None:
                output = output * gate.reshape(-1).index_select(0, rows).unsqueeze(1)
            # Under autocast experts answer in bfloat16; the stream keeps its own precision.
            mixed = mixed.index_add(0, rows, output.to(mixed.dtype))
        return mixed.reshape(hidden.shape)

    def plain(
        self,
        hidden: Float[Tensor, "batch frames d_model"],
        frame_mask: Bool[Tensor, "batch frames"],
        expert: int = 0,
        gate: Float[Tensor, "batch frames"] | None = None,
    ) -> Float[Tensor, "batch frames d_model"]:
        """The same where one expert takes every frame.

        Where nothing is padded, nothing is sought, gathered or put back either, and the result is
        that of `dispatched` to the last bit.
        """
        only = self.experts[expert]
        # A graph cannot ask, and masks whatever comes.
        if torch.compiler.is_compiling():
            return masked(only, hidden, frame_mask, gate)
        if not bool(frame_mask.all()):
            rows = frame_mask.reshape(-1).nonzero().squeeze(1)
            given = hidden.reshape(-1, hidden.shape[-1]).index_select(0, rows)
            return put_back(only(given), rows, hidden, gate)
        output = only(hidden.reshape(-1, hidden.shape[-1])).to(hidden.dtype).reshape(hidden.shape)
        return output if gate is None else output * gate.unsqueeze(-1)


def put_back(
    output: Float[Tensor, "rows d_model"],
    rows: Int[Tensor, " rows"],
    hidden: Float[Tensor, "batch frames d_model"],
    gate: Float[Tensor, "batch frames"] | None,
) -> Float[Tensor, "batch frames d_model"]:
    """gate * output at `rows` of the flattened frames of `hidden`, zero elsewhere; in its dtype."""
    if gate is not None:
        output = output * gate.reshape(-1).index_select(0, rows).unsqueeze(1)
    # Under autocast experts answer in bfloat16; the stream keeps its own precision.
    output = output.to(hidden.dtype)
    frames = hidden.reshape(-1, hidden.shape[-1])
    # No row comes twice. Added, since that has the cheapest gradient: the rows gathered.
    return torch.zeros_like(frames).index_add_(0, rows, output).reshape(hidden.shape)


def masked(
    expert: nn.Module,
    hidden: Float[Tensor, "batch frames d_model"],
    frame_mask: Bool[Tensor, "batch frames"],
    gate: Float[Tensor, "batch frames"] | None = None,
) -> Float[Tensor, "batch frames d_model"]:
    """gate * expert(hidden) with padding computed and left out: no row is sought."""
    padding = ~frame_mask.unsqueeze(-1)
    if torch.is_grad_enabled():
        hidden = hidden.masked_fill(padding, 0)  # zero times NaN would be a weight's gradient
    frames = hidden.reshape(-1, hidden.shape[-1])
    output = expert(frames).to(hidden.dtype).reshape(hidden.shape)
    if gate is not None:
        output = output * gate.unsqueeze(-1)
    return output.masked_fill(padding, 0)
