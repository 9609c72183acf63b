"""Who has an expert: everybody, or those that are named, with one base for all others."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.config import EncoderConfig, FeatureConfig, ModelConfig, RoutingConfig
from turnout.errors import ConfigError, GuidanceError
from turnout.guidance import (
    ANY,
    BASE,
    Bandwidth,
    ExpertMap,
    Guidance,
    Guide,
    Task,
    Window,
    fits,
)

LANGUAGES, DOMAINS = ("ar", "en", "es"), ("base", "calls")
VALUES: dict[Guide, tuple[str, ...]] = {
    Guide.BANDWIDTH: tuple(Bandwidth),
    Guide.TASK: tuple(Task),
    Guide.LANGUAGE: LANGUAGES,
    Guide.TARGET_LANGUAGE: LANGUAGES,
    Guide.DOMAIN: DOMAINS,
    Guide.WINDOW: tuple(Window),
}
guides = st.lists(st.sampled_from(list(Guide)), min_size=1, max_size=3, unique=True)


def experts(chosen: list[Guide], own: tuple[str, ...] = ()) -> ExpertMap:
    return ExpertMap.of(
        chosen, languages=LANGUAGES, target_languages=LANGUAGES, domains=DOMAINS, own=own
    )


def guidance(values: dict[Guide, str]) -> Guidance:
    return Guidance(**{guide.value: value for guide, value in values.items()})  # type: ignore[arg-type]


@given(st.data(), guides)
def test_a_product_s_names_and_values_lead_back_to_the_index(
    data: st.DataObject, chosen: list[Guide]
) -> None:
    found = experts(chosen)
    index = data.draw(st.integers(0, found.num_groups - 1))
    values = dict(zip(chosen, found.values(index), strict=True))
    assert found.index(guidance(values)) == index
    assert found.name(index) == "+".join(values.values())


@given(st.data(), guides)
def test_of_those_that_are_named_the_first_that_fits_is_taken(
    data: st.DataObject, chosen: list[Guide]
) -> None:
    one = st.tuples(*(st.sampled_from((ANY, *VALUES[guide])) for guide in chosen))
    own = data.draw(st.lists(one, min_size=1, max_size=4, unique=True))
    found = experts(chosen, tuple("+".join(values) for values in own))
    assert found.num_groups == 1 + len(own)
    asked = data.draw(st.tuples(*(st.sampled_from(VALUES[guide]) for guide in chosen)))
    index = found.index(guidance(dict(zip(chosen, asked, strict=True))))
    # The slow twin: every value of every expert, in order.
    slow = [place for place, values in enumerate(own, 1) if fits(values, asked)]
    assert index == (slow[0] if slow else 0)
    assert found.name(index) == ("+".join(own[index - 1]) if index else BASE)
    assert found.values(0) == (ANY,) * len(chosen)


def test_a_language_that_is_not_known_yet_is_the_base_s_to_find() -> None:
    found = experts([Guide.LANGUAGE, Guide.BANDWIDTH], ("es+*", "*+narrowband"))
    wide, narrow = (Guidance(bandwidth=bandwidth) for bandwidth in reversed(Bandwidth))
    assert found.index(wide) == 0
    assert found.index(narrow) == 2  # whatever is spoken
    assert found.index(replace(narrow, language="es")) == 1
    with pytest.raises(GuidanceError, match="'fr' is unknown to this model: choose one of ar, en"):
        found.index(replace(wide, language="fr"))
    with pytest.raises(GuidanceError, match="bandwidth selects .* was not given"):
        found.index(Guidance(language="ar"))
    with pytest.raises(GuidanceError, match="language selects .* was not given"):
        experts([Guide.LANGUAGE]).index(wide)


@pytest.mark.parametrize(
    ("routing", "domains", "message"),
    [
        ({"experts_for": ("narrowband+es",)}, DOMAINS, "1 values joined by \\+ are needed"),
        ({"experts_for": ("narrow",)}, DOMAINS, "no bandwidth of this model: choose of narrowband"),
        ({"experts_for": ("narrowband",) * 2}, DOMAINS, "name none twice"),
        ({"experts_for": ("*",)}, DOMAINS, "which is everybody: nothing would be left"),
        (
            {
                "guided_by": (Guide.LANGUAGE, Guide.BANDWIDTH),
                "experts_for": ("en+*", "en+narrowband"),
            },
            DOMAINS,
            "'en\\+narrowband' behind 'en\\+\\*', which takes all of it: name it before",
        ),
        ({"guided_by": tuple(Guide)[:3]}, DOMAINS, "or more of them with experts_for"),
        ({"guided_by": (Guide.DOMAIN,), "experts_for": ("letters",)}, DOMAINS, "of base, calls"),
        ({"guided_by": (Guide.WINDOW,)}, DOMAINS, "only models of padded windows have two kinds"),
        ({}, (), "name at least one, none twice"),
        ({}, ("base", "base"), "none twice"),
        ({}, ("base", "two words"), "a word is needed that begins with a letter"),
        ({}, ("a+b",), "a word is needed"),
    ],
)
def test_what_cannot_be_is_refused(
    routing: dict[str, object], domains: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        kind = RoutingConfig(kind="supervised", **routing)  # type: ignore[arg-type]
        ModelConfig(encoder=EncoderConfig(routing=kind), domains=domains)
    assert "\n" not in str(caught.value)


def test_windows_guide_where_they_are_padded() -> None:
    routing = RoutingConfig(kind="supervised", guided_by=(Guide.WINDOW,))
    model = ModelConfig(
        features=FeatureConfig(padding="window"), encoder=EncoderConfig(routing=routing)
    )
    names = [model.expert_map(routing).name(index) for index in range(2)]
    assert names == ["padded", "speech"]
    assert model.guided_by(Guide.WINDOW) and not model.guided_by(Guide.TASK)
