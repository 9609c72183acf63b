"""What is said of a model to be shared out; what ranks do with it is tested with two of them."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.unit.training.toy import clean_batch, toy_config, toy_model, toy_trainer
from turnout.config import RoutingConfig
from turnout.data.batch import IGNORED
from turnout.errors import ConfigError
from turnout.training.expert_parallel import SpreadBank, spread_experts
from turnout.training.run_folder import check_configuration
from turnout.training.sharding import check_sharding
from turnout.training.step import Stepper
from turnout.training.train import first_model

EXPERT = re.compile(r"encoder\..*\.experts\.(\d+)\.")


def ranks_of(size: int, device: str) -> Any:
    return cast(Any, SimpleNamespace(size=size, device=torch.device(device)))


@pytest.mark.parametrize("parallel", ["sharded", "experts"])
def test_one_process_is_told_that_it_shares_nothing(tmp_path: Path, parallel: str) -> None:
    said: list[str] = []
    config = toy_config(tmp_path, parallel=parallel)
    check_sharding(config, ranks_of(1, "cpu"), said.append)
    assert said == [
        f"warning: parallel is '{parallel}', and one process has nothing to share: it trains as "
        "with 'replicated'; torchrun starts several"
    ]
    trainer = toy_trainer(config)
    trainer.begin()
    assert trainer.stepper.sharding is None
    assert trainer.stepper.whole_model() is trainer.model


def test_several_are_told_nothing_unless_their_device_cannot(tmp_path: Path) -> None:
    config = toy_config(tmp_path, parallel="sharded")
    check_sharding(config, ranks_of(2, "cuda"), pytest.fail)
    check_sharding(toy_config(tmp_path), ranks_of(2, "mps"), pytest.fail)
    with pytest.raises(ConfigError, match="'sharded', which device 'mps' cannot be: set device to"):
        check_sharding(config, ranks_of(2, "mps"), pytest.fail)


def test_experts_that_ranks_cannot_share_are_refused(tmp_path: Path) -> None:
    def check(experts: int, ranks: int) -> None:
        routing = RoutingConfig(kind="switch", num_experts=experts)
        model = toy_model(routing, RoutingConfig(kind="dense"))
        config = toy_config(tmp_path, model=model, parallel="experts")
        check_sharding(config, ranks_of(ranks, "cpu"), pytest.fail)

    for experts, ranks in ((4, 2), (4, 6), (2, 8), (6, 3)):
        check(experts, ranks)
    with pytest.raises(ConfigError) as refused:
        check(3, 2)
    assert str(refused.value) == (
        "parallel is 'experts', and 2 ranks cannot share the experts of any layer evenly (there "
        "are 3 a layer of the encoder and 1 a layer of the decoder): the number of experts and "
        "that of ranks need a common divisor; change one of them, or set parallel to sharded or "
        "replicated"
    )


def test_each_rank_holds_its_share_and_the_names_of_all(tmp_path: Path) -> None:
    routing = RoutingConfig(kind="omni", num_experts=4)
    config = toy_config(tmp_path, model=toy_model(routing, RoutingConfig(kind="dense")))
    for rank, here in ((0, {0, 1}), (3, {2, 3}), (4, {0, 1})):
        model = first_model(config, config.model)
        names = [name for name, _ in model.named_parameters()]
        # Six ranks and four experts: two shares, each on three ranks.
        ranks = cast(Any, SimpleNamespace(size=6, rank=rank, first=rank == 0))
        spread_experts(model, ranks)
        held = {name: not p.is_meta for name, p in model.named_parameters()}
        assert list(held) == names
        banks = [module for module in model.modules() if isinstance(module, SpreadBank)]
        assert len(banks) == 4
        assert all(bank.holders == range(rank % 2, 6, 2) for bank in banks)
        for name, is_here in held.items():
            expert = EXPERT.match(name)
            assert is_here is (expert is None or int(expert[1]) in here), name


def test_a_run_may_be_shared_out_later(tmp_path: Path) -> None:
    trainer = toy_trainer(toy_config(tmp_path))
    trainer.folder.mkdir(exist_ok=True)
    said: list[str] = []
    check_configuration(trainer.config, tmp_path, trainer.ranks, said.append)
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    later = toy_config(tmp_path, parallel="sharded")
    check_configuration(later, tmp_path, trainer.ranks, said.append)
    assert said == ["warning: parallel changed since the run began: the last bits may differ"]


def test_a_row_of_which_nothing_is_learned(tmp_path: Path) -> None:
    batch = clean_batch("one")
    assert batch.with_a_row() is batch
    blank = batch.without_texts().with_a_row()
    assert blank.clean is not None
    assert len(blank.rows) == len(blank.decoder_guide) == len(blank.clean.decoder_guide) == 1
    assert blank.token_counts.tolist() == [0]
    assert blank.labels.tolist() == [[IGNORED]]
    # The decoder takes it, and has gradients of zero.
    stepper: Stepper = toy_trainer(toy_config(tmp_path)).stepper
    columns = ("log_mel", "frame_mask", "encoder_guide", "bandwidth")
    more = ("rows", "tokens", "token_counts", "decoder_guide")
    encoded, decoded = stepper.model(*(getattr(blank, name) for name in (*columns, *more)))
    counts = SimpleNamespace(ctc_tokens=1.0, labels=0.0, micro_steps=1, frames=1.0)
    parts = stepper.objective((encoded, decoded), blank, cast(Any, counts))
    parts.loss.backward()
    assert stepper.model.decoder is not None
    gradients = [p.grad for p in stepper.model.decoder.parameters()]
    assert gradients and not any(bool(g.any()) for g in gradients if g is not None)
    assert not any(g is None for g in gradients)
