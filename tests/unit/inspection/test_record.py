from dataclasses import replace

from turnout.config import RoutingConfig, preset
from turnout.guidance import Guide
from turnout.inspection.record import Layout, colours_of


def layout(**routing):
    config = preset("tiny")
    encoder = replace(config.encoder, routing=RoutingConfig(**routing))
    return Layout.of(replace(config, encoder=encoder))


def test_a_conformer_has_two_feed_forwards_a_layer():
    assert layout(kind="omni", num_experts=3).feed_forwards == ("1a", "1b", "2a", "2b")
    assert layout(kind="omni", num_experts=3).experts == ("0", "1", "2")


def test_a_transformer_has_one():
    assert Layout.of(preset("omni-router")).feed_forwards[:2] == ("1", "2")


def test_unrouted_layers_are_left_out():
    assert layout(kind="switch", layers=(1,)).feed_forwards == ("2a", "2b")
    assert layout(kind="dense").feed_forwards == ()
    assert layout(kind="dense").experts == ()


def test_guided_experts_have_the_words_of_their_guidance():
    assert layout(kind="supervised").experts == ("narrowband", "wideband")
    pair = layout(kind="supervised", guided_by=(Guide.BANDWIDTH, Guide.LANGUAGE))
    assert pair.experts[0] == "narrowband+ar"


def test_hybrid_numbers_the_experts_of_each_group():
    experts = layout(kind="hybrid", num_experts=2).experts
    assert experts == ("narrowband 0", "narrowband 1", "wideband 0", "wideband 1")


def test_a_frame_is_as_long_as_the_subsampling_makes_it():
    assert layout(kind="omni").frame_seconds == 0.04


def test_names_of_those_that_have_an_expert_of_their_own() -> None:
    base = layout(
        kind="supervised", guided_by=(Guide.LANGUAGE, Guide.BANDWIDTH), experts_for=("ar+*",)
    )
    assert base.experts == ("base", "ar+*")
    group = layout(kind="hybrid", num_experts=2, experts_for=("narrowband",))
    assert group.experts == ("base 0", "base 1", "narrowband 0", "narrowband 1")
    assert len(set(colours_of(group.experts))) == 4


def test_a_decoder_s_learned_router_is_not_told_of() -> None:
    config = preset("tiny")
    decoder = replace(config.decoder, routing=RoutingConfig(kind="omni"))
    found = Layout.of(replace(config, decoder=decoder), "decoder")
    assert (found.feed_forwards, found.experts, found.kind) == ((), (), "omni")
