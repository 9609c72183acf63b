"""What is left of a model when one of its paths is cut out."""

from dataclasses import replace
from random import Random

import pytest

from turnout.config import FeatureConfig, ModelConfig, RoutingConfig, VocabularyConfig, preset
from turnout.config.cutting import (
    agrees,
    asked,
    cut_out,
    dense_twin,
    every_guidance,
    one_of_each,
    path_of,
    stacks_of,
)
from turnout.config.upcycling import upcycled
from turnout.errors import ConfigError, GuidanceError
from turnout.guidance import Bandwidth, Guidance, Guide, Task, Window

LANGUAGES = ("ar", "en", "es")
PADDED = replace(
    preset("tiny"),
    features=FeatureConfig(padding="window"),
    vocabulary=VocabularyConfig(
        languages=LANGUAGES, translations=(("ar", "en"), ("es", "en"), ("en", "de"))
    ),
    domains=("base", "calls", "letters"),
)


def routed(
    encoder: tuple[Guide, ...] = (),
    decoder: tuple[Guide, ...] = (),
    own: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    kind: str = "supervised",
) -> ModelConfig:
    routings = [
        RoutingConfig(kind=kind, guided_by=guides, experts_for=experts) if guides else None  # type: ignore[arg-type]
        for guides, experts in zip((encoder, decoder), own, strict=True)
    ]
    return upcycled(PADDED, *routings)


def test_bandwidth_and_task() -> None:
    model = routed((Guide.BANDWIDTH,), (Guide.TASK,))
    cut = cut_out(model, Guidance(bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSLATE))
    assert cut.path == (1, 1)
    assert cut.config == replace(PADDED, tasks=(Task.TRANSLATE,))
    cut = cut_out(model, Guidance(bandwidth=Bandwidth.NARROWBAND, task=Task.TRANSCRIBE))
    assert cut.config.tasks == (Task.TRANSCRIBE,)
    assert cut.config.vocabulary.translations == ()
    assert {one.bandwidth for one in cut.guidance} == {Bandwidth.NARROWBAND}


def test_what_does_not_select_is_not_cut() -> None:
    stated = Guidance(bandwidth=Bandwidth.WIDEBAND, language="en", task=Task.TRANSCRIBE)
    assert cut_out(routed((Guide.BANDWIDTH,)), stated).config == PADDED


def test_domains_and_languages_of_the_path_are_left() -> None:
    model = routed((Guide.DOMAIN,), (Guide.LANGUAGE,), own=(("calls",), ("es",)))
    cut = cut_out(model, Guidance(domain="calls", language="es"))
    assert (cut.config.domains, cut.config.vocabulary.languages) == (("calls",), ("es",))
    assert cut.config.vocabulary.translations == (("es", "en"),)
    cut = cut_out(model, Guidance(domain="letters", language="en"))
    assert cut.path == (0, 0)
    assert cut.config.domains == ("base", "letters")
    assert cut.config.vocabulary.languages == ("ar", "en")


def test_a_path_of_the_speech_alone_has_features_of_its_own() -> None:
    model = routed((Guide.WINDOW,))
    assert cut_out(model, Guidance(window=Window.SPEECH)).config.features.padding == "none"
    assert cut_out(model, Guidance(window=Window.PADDED)).config == PADDED


def test_a_target_language_needs_its_task() -> None:
    model = routed(decoder=(Guide.TARGET_LANGUAGE,))
    with pytest.raises(GuidanceError, match="the task selects .* transcribe, translate"):
        cut_out(model, Guidance(target_language="en"))
    cut = cut_out(model, Guidance(target_language="en", task=Task.TRANSLATE))
    assert cut.config.vocabulary.translations == (("ar", "en"), ("es", "en"))
    assert cut.config.vocabulary.languages == ("ar", "es")


def test_a_hybrid_leaves_its_group() -> None:
    cut = cut_out(routed((Guide.BANDWIDTH,), kind="hybrid"), Guidance(bandwidth=Bandwidth.WIDEBAND))
    routing = cut.config.encoder.routing
    assert (routing.kind, routing.num_experts, routing.experts_for) == ("omni", 4, ())


@pytest.mark.parametrize(
    ("model", "stated", "message"),
    [
        (PADDED, Guidance(), "this model is dense: it has but one path"),
        (
            upcycled(PADDED, RoutingConfig(kind="omni")),
            Guidance(bandwidth=Bandwidth.WIDEBAND),
            "chosen by a learned router \\(omni\\), frame by frame: no path is known",
        ),
        (routed((Guide.BANDWIDTH,)), Guidance(), "bandwidth .* one of narrowband, wideband"),
        (
            routed((Guide.DOMAIN,), (Guide.TASK,)),
            Guidance(domain="calls"),
            "the task selects this model's experts and was not given",
        ),
        (routed((Guide.DOMAIN,)), Guidance(domain="films"), "'films' is unknown .* base, calls"),
        (routed((Guide.DOMAIN,)), Guidance(domain="calls", language="fr"), "'fr' is unknown"),
        (
            routed((Guide.LANGUAGE,)),
            Guidance(language="ar", target_language="de"),
            "does nothing that is language ar, target_language de",
        ),
    ],
)
def test_what_is_no_path_is_told_in_one_line(
    model: ModelConfig, stated: Guidance, message: str
) -> None:
    with pytest.raises(GuidanceError, match=message) as caught:
        cut_out(model, stated)
    assert "\n" not in str(caught.value)


def test_every_path_that_is_cut_out_is_dense_and_asks_for_nothing() -> None:
    model = routed(
        (Guide.LANGUAGE, Guide.WINDOW), (Guide.TASK,), own=(("es+padded", "*+speech"), ())
    )
    paths = set()
    for known in every_guidance(model):
        cut = cut_out(model, known)
        paths.add(cut.path)
        assert dense_twin(cut.config) == cut.config
        assert known in cut.guidance
    assert len(paths) == 6
    assert {cut_out(model, one).path[0] for one in one_of_each(model)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("guides", "own", "stated"),
    [
        (
            (Guide.BANDWIDTH, Guide.LANGUAGE),
            "narrowband+es",
            Guidance(language="en", bandwidth=Bandwidth.WIDEBAND),
        ),
        (
            (Guide.BANDWIDTH, Guide.DOMAIN),
            "narrowband+calls",
            Guidance(domain="base", bandwidth=Bandwidth.WIDEBAND),
        ),
    ],
)
def test_of_two_guides_that_select_together_the_bandwidth_is_what_is_left_alone(
    guides: tuple[Guide, ...], own: str, stated: Guidance
) -> None:
    cut = cut_out(routed(guides, own=((own,), ())), stated)
    assert cut.config == PADDED
    assert cut.path == (0, 0)
    assert {one.bandwidth for one in cut.guidance} == {Bandwidth.WIDEBAND}


def test_all_that_is_left_took_the_path_that_was_cut_out() -> None:
    random = Random(0)
    refused = 0
    for _ in range(300):
        (encoder, first), (decoder, second) = drawn(random), drawn(random)
        model = routed(encoder, decoder, own=(first, second))
        known = random.choice(every_guidance(model))
        left_out = random.sample(tuple(Guide), random.randrange(4))
        stated = replace(known, **{guide.value: None for guide in left_out})
        try:
            cut = cut_out(model, stated)
        except GuidanceError:
            refused += 1
            continue
        maps = {name: model.expert_map(one) for name, one in stacks_of(model).items()}
        assert {path_of(one, maps) for one in cut.guidance} == {cut.path}
        assert {asked(one) for one in every_guidance(cut.config)} <= {*map(asked, cut.guidance)}
        assert any(agrees(one, stated) for one in cut.guidance)
    assert 0 < refused < 200


def drawn(random: Random) -> tuple[tuple[Guide, ...], tuple[str, ...]]:
    """Guides, and experts of them."""
    chosen = {*random.sample(tuple(Guide), random.randrange(1, 3))}
    guides = tuple(guide for guide in Guide if guide in chosen)
    values = {
        Guide.BANDWIDTH: tuple(Bandwidth),
        Guide.TASK: tuple(Task),
        Guide.LANGUAGE: LANGUAGES,
        Guide.TARGET_LANGUAGE: (*LANGUAGES, "de"),
        Guide.DOMAIN: PADDED.domains,
        Guide.WINDOW: tuple(Window),
    }
    names = {"+".join(random.choice(values[guide]) for guide in guides) for _ in range(2)}
    return guides, tuple(sorted(names))


@pytest.mark.parametrize(
    ("model", "encoder", "domains", "message"),
    [
        (PADDED, None, None, "nothing would be routed: give --encoder.routing.kind"),
        (
            replace(PADDED, domains=("base",)),
            RoutingConfig(kind="supervised", guided_by=(Guide.DOMAIN,)),
            None,
            "one expert alone, since there is but one domain: name more .* --domains base calls",
        ),
        (
            routed((Guide.BANDWIDTH,)),
            RoutingConfig(kind="omni"),
            None,
            "encoder.routing is supervised already: only dense stacks are upcycled",
        ),
        (
            PADDED,
            RoutingConfig(kind="supervised", guided_by=(Guide.BANDWIDTH,)),
            ("base", "films"),
            "domains are base, films, and nothing is guided by the domain: give --encoder",
        ),
    ],
)
def test_what_cannot_be_upcycled(
    model: ModelConfig,
    encoder: RoutingConfig | None,
    domains: tuple[str, ...] | None,
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        upcycled(model, encoder, None, domains)


def test_options_of_a_stack_that_stays_dense_are_refused() -> None:
    decoder = replace(PADDED.decoder.routing, num_experts=7)
    with pytest.raises(ConfigError, match="decoder.routing has options and stays dense: give --d"):
        upcycled(PADDED, RoutingConfig(kind="supervised"), decoder)


def test_domains_that_guide_already_stay() -> None:
    model = routed((Guide.DOMAIN,))
    decoder = RoutingConfig(kind="supervised", guided_by=(Guide.TASK,))
    assert upcycled(model, None, decoder).domains == model.domains
    with pytest.raises(ConfigError, match="domains guide experts of this model already"):
        upcycled(model, None, decoder, ("base", "films"))
