"""AdamW and its learning rate, the global norm, and experts trained as one for a while."""

import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from turnout.config import OptimizerConfig
from turnout.experts.bank import ExpertBank
from turnout.training.distributed import Ranks
from turnout.training.expert_parallel import SpreadBank
from turnout.training.whole_tensors import local


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW whose weight decay reaches matrices alone; a shared router is one parameter."""
    trained = trained_here(model)
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    spread = any(isinstance(p, DTensor) for p in trained)
    on_cpu = all(p.device.type == "cpu" for p in trained)
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=config.betas,
        # By itself it goes through spread tensors one by one, on a GPU too.
        foreach=spread or None,
        # On a CPU it goes over each tensor a dozen times where it is not told to do so once.
        fused=(on_cpu and not spread) or None,
    )


def learning_rate(config: OptimizerConfig, step: int, share: float, warm_share: float) -> float:
    """The rate of step `step` (from 0) when `share` of the run is done; `warm_share` was done when
    the warm-up ended."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return config.learning_rate
    if config.decay == "inverse_sqrt":
        return config.learning_rate * math.sqrt(max(config.warmup_steps, 1) / max(step, 1))
    done = min(max((share - warm_share) / max(1.0 - warm_share, 1e-9), 0.0), 1.0)
    left = 0.5 * (1 + math.cos(math.pi * done)) if config.decay == "cosine" else 1.0 - done
    return config.learning_rate * (config.final_share + (1 - config.final_share) * left)


class Gradients:
    """The gradients of a step: experts tied or apart, and the global norm."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = trained_here(model)
        banks = [module for module in model.modules() if isinstance(module, ExpertBank)]
        self._spread = [bank for bank in banks if isinstance(bank, SpreadBank)]
        own = {id(p): bank for bank in self._spread for p in bank.parameters()}
        self._everywhere = [p for p in self.parameters if id(p) not in own]
        first = not self._spread or self._spread[0].ranks.first
        self._counted = [
            p for p in self.parameters if (own[id(p)].counts if id(p) in own else first)
        ]
        # A list for each tensor of an expert: that tensor of every trained expert of the bank.
        tied = [(same, bank) for bank in banks for same in trained_alike(bank) if len(same) > 1]
        self.tied = [same for same, _ in tied]
        self._tied_in = [bank for _, bank in tied]

    @torch.no_grad()
    def make_equal(self) -> None:
        """Give every expert of a bank the weights of the first: the start of a tied run."""
        for first, *others in self.tied:
            for other in others:
                other.copy_(first)

    @torch.no_grad()
    def sum(self, ranks: Ranks) -> None:
        """Give every parameter the sum of its gradients over ranks; an expert's frames were all
        sent to whoever holds it."""
        ranks.sum_gradients(self._everywhere)
        for bank in self._spread:
            bank.sum_gradients()

    @torch.no_grad()
    def tie(self) -> None:
        """Give every expert of a bank the sum of the bank's gradients, which is the gradient of
        the one feed-forward they are copies of."""
        for same, bank in zip(self.tied, self._tied_in, strict=True):
            here = [p for p in same if not p.is_meta]
            total = torch.stack([_gradient(p) for p in here]).sum(dim=0)
            if isinstance(bank, SpreadBank):
                total = bank.sum_over_experts(total)
            for parameter in here:
                _gradient(parameter).copy_(total)

    @torch.no_grad()
    def norm(self, *, tied: bool) -> Tensor:
        """The global norm in float32, of spread gradients that of this rank's rows, and of what
        several ranks hold on the first of them alone; experts tied together count once."""
        copies = {id(p) for same in self.tied for p in same[1:]} if tied else set()
        counted = [_gradient(p) for p in self._counted if id(p) not in copies]
        return torch.nn.utils.get_total_norm(counted)


def trained_here(model: nn.Module) -> list[nn.Parameter]:
    """What is trained, without other ranks' experts."""
    return [p for p in model.parameters() if p.requires_grad and not p.is_meta]


def trained_alike(bank: ExpertBank) -> list[list[nn.Parameter]]:
    """Of each tensor of an expert, that of every expert where it is not frozen."""
    experts = [
        {name: p for name, p in expert.named_parameters() if p.requires_grad}
        for expert in bank.experts
    ]
    names = dict.fromkeys(name for expert in experts for name in expert)
    return [[expert[name] for expert in experts if name in expert] for name in names]


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None, "gradients are summed over ranks before they are used"
    return local(parameter.grad)
