"""Parts that are trained, and the rest, which stays what it was to the last bit."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.doubles import tokenizer
from tests.unit.training.toy import (
    clean_batch,
    run_toy,
    toy_batch,
    toy_config,
    toy_model,
    toy_trainer,
)
from turnout.config import DecoderConfig, ModelConfig, ObjectiveConfig, RoutingConfig
from turnout.errors import ConfigError
from turnout.experts.bank import Dropout
from turnout.guidance import Guide
from turnout.model.build import build_model
from turnout.model.speech_model import SpeechModel
from turnout.training.checkpoints import read_checkpoint
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.low_rank import LowRankLinear, merge_low_rank
from turnout.training.optimizer import Gradients
from turnout.training.state import RunState
from turnout.training.teacher import Teacher
from turnout.training.train import build_trainer, check_start, first_model
from turnout.training.trainable import freeze, frozen_digest, to_train

NARROW = "encoder.experts.narrowband"


def trained_of(model: SpeechModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def named(config: ModelConfig, *patterns: str) -> set[str]:
    model = build_model(config)
    freeze(model, patterns)
    return trained_of(model)


def test_names_of_parts_and_shell_patterns() -> None:
    everything = {name for name, _ in build_model(toy_model()).named_parameters()}
    experts = {name for name in everything if name.startswith("encoder") and ".experts." in name}
    assert named(toy_model(), "encoder.experts") == experts
    narrow = {name for name in experts if ".experts.0." in name}
    assert named(toy_model(), NARROW) == narrow != experts
    assert named(toy_model(), "encoder.blocks.*.experts.0.*") == narrow
    assert named(toy_model(), NARROW, "encoder.experts.wideband") == experts
    attention = named(toy_model(), "decoder.attention")
    assert {name.split(".")[3] for name in attention} == {"self_attention", "cross_attention"}
    assert len(attention) == 2 * 7
    norms = named(toy_model(), "decoder.norms")
    assert norms == {n for n in everything if n.startswith("decoder") and "norm." in n}
    assert named(toy_model(), "ctc_head") == {"ctc_head.weight", "ctc_head.bias"}


def test_experts_by_guide_leave_out_layers_that_are_not_routed() -> None:
    some = RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,), layers=(1,))
    found = named(toy_model(some), NARROW)
    assert found and all(name.startswith("encoder.blocks.1.") for name in found)
    own = RoutingConfig(kind="supervised", guided_by=(Guide.TASK,), experts_for=("translate",))
    assert named(toy_model(decoder=own), "decoder.experts.translate") == {
        name for name in named(toy_model(decoder=own), "decoder.experts") if ".experts.1." in name
    }
    hybrid = RoutingConfig(kind="hybrid", guided_by=(Guide.BANDWIDTH,), num_experts=2)
    wide = named(toy_model(hybrid), "encoder.experts.wideband")
    assert {name.partition(".experts.")[2][0] for name in wide} == {"2", "3"}


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (("encoder.expert",), "did you mean 'encoder.experts'"),
        (("encoder.experts", "telephone*"), "'telephone*', which is no part of this model: there"),
        (("*",), "names every parameter of this model: leave it out"),
        (("encoder", "decoder", "ctc_head"), "names every parameter of this model"),
    ],
)
def test_patterns_that_mean_nothing_or_everything(patterns: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("*", r"\*")) as error:
        freeze(build_model(toy_model()), patterns)
    assert "\n" not in str(error.value)


def test_a_pattern_is_refused_before_any_recording_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.training.train.Loader", lambda *_, **__: pytest.fail())
    config = toy_config(tmp_path, trainable=("encoder.expert",), init_from="x")
    ranks = Ranks(open_fabric(config))
    with pytest.raises(ConfigError, match="'encoder.expert', which is no part of this model"):
        build_trainer(config, {}, tokenizer(), ranks, lambda _: None)


def weights(model: SpeechModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("patterns", [(NARROW,), ("decoder.attention",), ("ctc_head",)])
def test_what_is_frozen_is_what_it_was_to_the_last_bit(
    tmp_path: Path, patterns: tuple[str, ...]
) -> None:
    config = toy_config(tmp_path, trainable=patterns, max_steps=4)
    before = weights(first_model(config, config.model))
    trainer = run_toy(config)
    moved = {
        name for name, now in trainer.model.named_parameters() if not torch.equal(before[name], now)
    }
    trained = trained_of(trainer.model)
    # A layer's last bias may get no gradient; hardly anything else stands still.
    assert moved <= trained and len(moved) > len(trained) / 2
    held = {id(p) for group in trainer.stepper.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for name, p in trainer.model.named_parameters() if name in trained}
    tensors = read_checkpoint(trainer.checkpoints.path(4)).tensors
    kept = {name.partition("/")[2] for name in tensors}
    assert kept - trained <= {name for name, _ in trainer.model.named_buffers()}


@pytest.mark.parametrize("rank", [None, 2])
def test_a_run_that_goes_on_is_one_that_never_stopped(tmp_path: Path, rank: int | None) -> None:
    parts = (NARROW, "decoder.attention")
    settings = {"trainable": parts, "low_rank": rank, "max_steps": 5, "checkpoint_every": 2}
    config = toy_config(tmp_path, **settings)
    trainer = run_toy(config)
    then = weights(trainer.model)
    shutil.rmtree(trainer.checkpoints.path(5))
    assert toy_trainer(config).checkpoints.steps() == [4]
    now = weights(run_toy(config).model)
    assert now.keys() == then.keys() and all(torch.equal(now[name], then[name]) for name in then)


def test_going_on_needs_what_is_frozen_to_be_the_same(tmp_path: Path) -> None:
    config = toy_config(tmp_path, trainable=(NARROW,), max_steps=2)
    run_toy(config)
    trainer = toy_trainer(config)
    trainer.restore(read_checkpoint(trainer.checkpoints.path(2)))
    with torch.no_grad():
        trainer.model.encoder.norm.weight[0] += 1e-6
    with pytest.raises(ConfigError, match="put back the model that init_from names"):
        trainer.restore(read_checkpoint(trainer.checkpoints.path(2)))


def test_no_graph_is_built_below_the_first_trained_part() -> None:
    model = build_model(toy_model(dropout=0.5))
    freeze(model, ("decoder.experts",))
    to_train(model)
    batch = toy_batch("a")
    encoded = model.encode(batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth)
    assert not encoded.hidden.requires_grad
    modes = {name: m.training for name, m in model.named_modules() if isinstance(m, Dropout)}
    assert not any(on for name, on in modes.items() if name.startswith("encoder"))
    assert all(on for name, on in modes.items() if ".experts." in name and "decoder" in name)
    freeze(model, (NARROW,))
    to_train(model)
    bank = model.encoder.blocks[0].first.bank.experts
    assert (bank[0].dropout.training, bank[1].dropout.training) == (True, False)


def test_all_is_trained_without_patterns() -> None:
    model = build_model(toy_model())
    freeze(model, ())
    to_train(model)
    assert all(module.training for module in model.modules())
    assert frozen_digest(model) == ""


def test_frozen_experts_are_nobodys_copies(tmp_path: Path) -> None:
    """Three experts, two of them trained and tied: the third stays, and counts for nothing."""
    routing = RoutingConfig(
        kind="supervised", guided_by=(Guide.BANDWIDTH,), experts_for=("narrowband", "wideband")
    )
    model = build_model(toy_model(routing))
    freeze(model, (NARROW, "encoder.experts.wideband"))
    before = weights(model)
    gradients = Gradients(model)
    gradients.make_equal()
    after = weights(model)
    for name, tensor in after.items():
        place, _, end = name.rpartition(".experts.2.")
        trained = place.startswith("encoder") and ".experts.1." not in name
        assert torch.equal(tensor, before[f"{place}.experts.1.{end}" if trained else name])
    for parameter in gradients.parameters:
        parameter.grad = torch.ones_like(parameter)
    total = gradients.norm(tied=False) ** 2
    assert gradients.norm(tied=True) ** 2 == pytest.approx(float(total) / 2)
    settings = {"model": toy_model(routing), "tie_experts_until": 3}
    for parts in ((NARROW,), ("encoder.blocks.1.first.bank.experts.0.*", NARROW)):
        config = toy_config(tmp_path, **settings, trainable=parts)
        with pytest.raises(ConfigError, match="as they are: name all of a layer, such as encoder"):
            first_model(config, config.model)
    config = toy_config(tmp_path, **settings, trainable=("encoder.experts",))
    assert trained_of(first_model(config, config.model))


def test_a_batch_that_reaches_nothing_trained_moves_nothing(tmp_path: Path) -> None:
    config = toy_config(tmp_path, trainable=("decoder.experts",))
    trainer = toy_trainer(config)
    silent = toy_batch("a").without_texts()
    before = weights(trainer.model)
    report = trainer.stepper([silent], RunState(), 0.0)
    assert report.finite and report.norm == 0
    decay = all(
        torch.allclose(before[name], now, rtol=1e-3)
        for name, now in trainer.model.named_parameters()
    )
    assert decay


def test_low_rank_begins_as_it_was_and_ends_at_its_rank(tmp_path: Path) -> None:
    config = toy_config(
        tmp_path, trainable=("encoder.attention", NARROW), low_rank=2, max_steps=4, average_last=3
    )
    plain = build_model(config.model)
    model = first_model(config, config.model)
    shared = {name: t for name, t in model.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(shared)
    batch = toy_batch("a")
    encode = (batch.log_mel, batch.frame_mask, batch.encoder_guide, batch.bandwidth)
    with torch.no_grad():
        first = model.eval().encode(*encode).hidden
        assert torch.allclose(first, plain.eval().encode(*encode).hidden, atol=1e-6)
    trainer = run_toy(config)
    manifest = json.loads((trainer.checkpoints.path(4) / "manifest.json").read_text())
    assert manifest["step"] == 4
    tensors = read_checkpoint(trainer.checkpoints.path(4)).tensors
    assert not any(name.endswith("attention.query.weight") for name in tensors)
    with torch.no_grad():
        added = trainer.model.eval().encode(*encode).hidden
        merge_low_rank(trainer.model)
        assert torch.allclose(trainer.model.encode(*encode).hidden, added, atol=1e-5)
    assert not any(isinstance(module, LowRankLinear) for module in trainer.model.modules())
    state = trainer.model.state_dict()
    assert state.keys() == shared.keys()
    ranks = {
        name: int(torch.linalg.matrix_rank(state[name] - before, atol=1e-6))
        for name, before in shared.items()
        if before.ndim == 2 and not torch.equal(state[name], before)
    }
    assert len(ranks) == 2 * 4 + 2 * 2 * 2 and set(ranks.values()) == {2}


def test_low_rank_is_for_matrices_of_named_parts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name them in trainable"):
        toy_config(tmp_path, low_rank=2)
    config = toy_config(tmp_path, low_rank=2, trainable=("encoder",))
    with pytest.raises(ConfigError, match="also names encoder.*, which is none"):
        first_model(config, config.model)
    learned = toy_model(RoutingConfig(kind="switch", num_experts=4))
    config = toy_config(tmp_path, model=learned, low_rank=1, trainable=("encoder.*router*",))
    with pytest.raises(ConfigError, match=r"also names encoder.*linear.weight, which is none"):
        first_model(config, config.model)


def test_a_rank_must_be_worth_it(tmp_path: Path) -> None:
    for rank, trainable in ((8, ("encoder.attention",)), (10, (NARROW,))):
        config = toy_config(tmp_path, low_rank=rank, trainable=trainable)
        with pytest.raises(ConfigError, match=f"low_rank is {rank}.* from rank {rank} on"):
            first_model(config, config.model)
        less = toy_config(tmp_path, low_rank=rank - 1, trainable=trainable)
        first_model(less, less.model)


def test_a_low_rank_output_layer_is_heard(tmp_path: Path) -> None:
    shape = toy_model(dropout=0.0)
    untied = dataclasses.replace(
        shape, decoder=dataclasses.replace(shape.decoder, tie_embeddings=False)
    )
    config = toy_config(tmp_path, model=untied, low_rank=2, trainable=("decoder.output",))
    trainer = toy_trainer(config)
    before = trainer.model.get_parameter("decoder.output.added_up").detach().clone()
    trainer.stepper([toy_batch("a")], RunState(), 0.0)
    assert not torch.equal(trainer.model.get_parameter("decoder.output.added_up"), before)


@pytest.mark.parametrize("decoder", [0.0, 1.0])
def test_what_the_objective_never_reaches_stays(tmp_path: Path, decoder: float) -> None:
    objective = ObjectiveConfig(text_weight=0.0, distil_encoder=1.0, distil_decoder=decoder)
    config = toy_config(tmp_path, objective=objective, init_from="x")
    trainer = toy_trainer(config)
    trainer.stepper.teacher = Teacher(trainer.model, objective, tmp_path / "teacher")
    before = weights(trainer.model)
    batch = clean_batch("a", louder=0.5)
    for _ in range(3):
        trainer.stepper([batch], RunState(), 0.0)
    moved = {n for n, now in weights(trainer.model).items() if not torch.equal(before[n], now)}
    assert {name.partition(".")[0] for name in moved} == {"encoder", *["decoder"][: int(decoder)]}


@pytest.mark.parametrize(("ctc", "unreached"), [(0.0, "ctc_head"), (1.0, "decoder")])
def test_what_has_no_weight_in_the_loss_stays(tmp_path: Path, ctc: float, unreached: str) -> None:
    """A gradient of zeros would let weight decay wear it down."""
    trainer = toy_trainer(toy_config(tmp_path, objective=ObjectiveConfig(ctc_weight=ctc)))
    before = weights(trainer.model)
    for _ in range(2):
        trainer.stepper([toy_batch("a")], RunState(), 0.0)
    moved = {n for n, now in weights(trainer.model).items() if not torch.equal(before[n], now)}
    assert {name.partition(".")[0] for name in moved} == {"encoder", "ctc_head", "decoder"} - {
        unreached
    }


def test_an_objective_that_reaches_nothing_trained_is_refused(tmp_path: Path) -> None:
    objective = ObjectiveConfig(text_weight=0.0, distil_encoder=1.0)
    parts = ("decoder.experts", "ctc_head")
    config = toy_config(tmp_path, objective=objective, init_from="x", trainable=parts)
    with pytest.raises(ConfigError, match="nothing is left to be trained"):
        first_model(config, config.model)


def test_what_would_be_left_out_without_a_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="without init_from that is random for ever"):
        check_start(toy_config(tmp_path, trainable=(NARROW,)))
    shape = dataclasses.replace(toy_model(), decoder=DecoderConfig(num_layers=0))
    objective = ObjectiveConfig(distil_decoder=1.0)
    with pytest.raises(ConfigError, match="this model has none"):
        check_start(toy_config(tmp_path, model=shape, objective=objective, init_from="x"))
