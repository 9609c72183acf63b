"""Rows follow what they stand for, experts what guides to them."""

from dataclasses import replace

import torch

from turnout.config import ModelConfig, RoutingConfig, VocabularyConfig, preset
from turnout.guidance import Guide
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.model.successor import with_experts, with_rows

LANGUAGE = RoutingConfig(kind="supervised", guided_by=(Guide.LANGUAGE,))


def shape(*languages: str, routing: RoutingConfig = LANGUAGE) -> ModelConfig:
    tiny = preset("tiny")
    return replace(
        tiny,
        vocabulary=VocabularyConfig(size=40, languages=languages, translations=()),
        encoder=replace(tiny.encoder, routing=routing),
    )


def test_rows_are_those_of_the_same_pieces() -> None:
    before = ("<|end|>", "<|de|>", "<|en|>", "a", "b")
    now = ("<|end|>", "<|en|>", "<|fr|>", "<|reserved7|>", "b", "c")
    old = {"ctc_head.bias": torch.arange(5.0), "other": torch.ones(2)}
    random = {"ctc_head.bias": torch.full((6,), -1.0)}
    rows = with_rows(old, random, (before, now), ("de", "en"))
    assert rows["ctc_head.bias"].tolist() == [0.0, 2.0, 1.5, -1.0, 4.0, -1.0]
    assert rows["other"] is old["other"]
    assert old["ctc_head.bias"].tolist() == [0, 1, 2, 3, 4]
    assert random["ctc_head.bias"].tolist() == [-1.0] * 6


def up(model: torch.nn.Module, expert: int) -> torch.Tensor:
    return model.state_dict()[f"encoder.blocks.0.first.bank.experts.{expert}.up.weight"]


def test_experts_follow_their_language() -> None:
    torch.manual_seed(0)
    source, now = build_model(shape("ar", "en")), shape("fr", "en", "ar")
    state, said = with_experts(source.state_dict(), source.config, now)
    model = build_model(now)
    fitted = fit_state(model, state)
    assert not (fitted.missing or fitted.unexpected or fitted.mismatched or fitted.copied)
    for place, origin in enumerate((0, 1, 0)):
        assert torch.equal(up(model, place), up(source, origin))
    assert said == ["the encoder's experts of fr begin as those of ar"]


def test_groups_and_their_routers_follow_as_well() -> None:
    torch.manual_seed(0)
    routing = RoutingConfig(
        kind="hybrid", num_experts=2, guided_by=(Guide.BANDWIDTH, Guide.LANGUAGE)
    )
    source, now = (
        build_model(shape("ar", "en", routing=routing)), shape("en", "sw", routing=routing)
    )  # fmt: skip
    state, said = with_experts(source.state_dict(), source.config, now)
    model = build_model(now)
    assert not fit_state(model, state).missing
    # narrowband+ar, narrowband+en, wideband+ar, wideband+en -> of each bandwidth en, and sw as ar.
    groups = (1, 0, 3, 2)
    rows = [2 * group + place for group in groups for place in range(2)]
    for place, origin in enumerate(rows):
        assert torch.equal(up(model, place), up(source, origin))
    weights = [m.state_dict()["encoder.routers.0.linear.weight"] for m in (source, model)]
    assert torch.equal(weights[0][rows], weights[1])
    assert said[0] == "the encoder's experts of narrowband+sw begin as those of narrowband+ar"


def test_the_same_languages_change_nothing() -> None:
    source = build_model(shape("ar", "en"))
    state, said = with_experts(source.state_dict(), source.config, source.config)
    assert not said
    assert state.keys() == source.state_dict().keys()
    assert all(torch.equal(state[n], t) for n, t in source.state_dict().items())
