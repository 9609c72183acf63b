"""A model's tensors for a successor of other languages: rows of the vocabulary by what they stand
for, experts by what guides to them. For `fit_state`, which copies what then fits."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from turnout.config import ModelConfig, RoutingConfig
from turnout.guidance import ANY, ExpertMap
from turnout.model.convert import EXPERT

VOCABULARY = (
    "ctc_head.weight",
    "ctc_head.bias",
    "decoder.embedding.weight",
    "decoder.output.weight",
)
"""One row for each id."""
ROUTER = re.compile(r"\.routers?\.\d+\.linear\.")


def with_rows(
    state: Mapping[str, Tensor],
    random: Mapping[str, Tensor],
    pieces: tuple[Sequence[str], Sequence[str]],
    languages: Sequence[str],
) -> dict[str, Tensor]:
    """The tensors with a row for each of the pieces, from those of other pieces (before, now).

    A piece that both have keeps its row; a language that is new begins as the mean of `languages`,
    those before; every other row is the successor's own in `random`.
    """
    before, now = pieces
    places = {piece: place for place, piece in enumerate(before)}
    origins = [places.get(piece, -1) for piece in now]
    known = torch.tensor([place for place, origin in enumerate(origins) if origin >= 0])
    taken = torch.tensor([origin for origin in origins if origin >= 0])
    spoken = [places[symbol(code)] for code in languages]
    new = [place for place, origin in enumerate(origins) if origin < 0 and is_language(now[place])]
    rows = dict(state)
    for name in VOCABULARY:
        if (
            name not in state
            or name not in random
            or random[name].shape[1:] != state[name].shape[1:]
        ):
            continue
        rows[name] = random[name].detach().clone()
        rows[name][known] = state[name][taken].to(rows[name].dtype)
        if new:
            rows[name][new] = state[name][spoken].mean(dim=0).to(rows[name].dtype)
    return rows


def symbol(language: str) -> str:
    """The piece that stands for a language."""
    return f"<|{language}|>"


def is_language(piece: str) -> bool:
    """Whether a piece that another model has not stands for a language: of the symbols those alone
    differ from model to model, and what is reserved for more."""
    return bool(re.fullmatch(r"<\|(?!reserved\d).*\|>", piece))


def with_experts(
    state: Mapping[str, Tensor], before: ModelConfig, now: ModelConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors with each expert, or group of them, where the successor's guidance looks for it,
    and a line for each that is new: it begins as its nearest, the one with most of its guides."""
    moved, said = dict(state), list[str]()
    for part in ("encoder", "decoder"):
        old, new = getattr(before, part).routing, getattr(now, part).routing
        if not (old.guided and new.guided) or group_size(old) != group_size(new):
            continue
        maps = before.expert_map(old), now.expert_map(new)
        origins = [
            nearest(maps[0], values_of(maps[1], index)) for index in range(maps[1].num_groups)
        ]
        for index, origin in enumerate(origins):
            if maps[1].name(index) != maps[0].name(origin):
                said.append(
                    f"the {part}'s experts of {maps[1].name(index)} begin as those of "
                    f"{maps[0].name(origin)}"
                )
        for name in [name for name in state if name.startswith(f"{part}.")]:
            if EXPERT.search(name) or ROUTER.search(name):
                del moved[name]
        moved |= _placed(state, part, origins, group_size(new))
    return moved, said


def group_size(routing: RoutingConfig) -> int:
    """Experts that one choice of guidance leads to."""
    return routing.num_experts if routing.learned else 1


def values_of(choices: ExpertMap, index: int) -> dict[str, str]:
    """What guides to an expert: guide -> value, or ANY."""
    values = choices.values(index)
    return {guide.value: value for guide, value in zip(choices.guides, values, strict=True)}


def nearest(choices: ExpertMap, wanted: Mapping[str, str]) -> int:
    """The expert whose guides have most of these values, the first of equals. That both take any
    says less than one value that both name."""
    shared = [values_of(choices, i).items() & wanted.items() for i in range(choices.num_groups)]
    common = [(sum(value != ANY for _, value in some), len(some)) for some in shared]
    return common.index(max(common))


def _placed(
    state: Mapping[str, Tensor], part: str, origins: Sequence[int], size: int
) -> dict[str, Tensor]:
    """The experts and router rows of a part, group after group as `origins` names them."""
    placed: dict[str, Tensor] = {}
    rows = [origin * size + place for origin in origins for place in range(size)]
    for name, tensor in state.items():
        found = EXPERT.search(name)
        if not name.startswith(f"{part}."):
            continue
        if found:
            # A layer that is not routed has one expert, and it is nobody's.
            routed = EXPERT.sub(".experts.1.", name) in state
            for expert, row in enumerate(rows) if routed else [(0, 0)]:
                if row == int(found[1]):
                    placed[EXPERT.sub(f".experts.{expert}.", name)] = tensor
        elif ROUTER.search(name):
            placed[name] = tensor[rows]
    return placed
