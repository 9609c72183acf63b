from dataclasses import replace

import pytest

from turnout.config import PRESETS, ModelConfig, RoutingConfig, TrainConfig, preset
from turnout.config.plain import from_plain, to_plain
from turnout.errors import ConfigError
from turnout.guidance import Guide


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_the_way_through_plain_values(name: str) -> None:
    assert from_plain(ModelConfig, to_plain(preset(name))) == preset(name)


def test_a_run_survives_with_its_enumerations_and_options() -> None:
    model = preset("small")
    routing = RoutingConfig(kind="hybrid", guided_by=(Guide.TASK, Guide.LANGUAGE), layers=(0, 2))
    model = replace(model, encoder=replace(model.encoder, routing=routing))
    config = TrainConfig(model=model, max_hours=1.5)
    plain = to_plain(config)
    assert plain["model"]["encoder"]["routing"]["guided_by"] == ["task", "language"]
    assert from_plain(TrainConfig, plain) == config


def test_an_integer_is_taken_for_a_real_number_and_becomes_one() -> None:
    config = from_plain(ModelConfig, {"window_seconds": 20})
    assert isinstance(config.window_seconds, float)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"windw_seconds": 20}, "unknown key 'windw_seconds': did you mean 'window_seconds'?"),
        (
            {"encoder": {"num_layer": 2}},
            "unknown key 'encoder.num_layer': did you mean 'num_layers'?",
        ),
        ({"qqq": 1}, "unknown key 'qqq': the keys here are features, vocabulary"),
        ({"encoder": 3}, "encoder is 3: an object with keys is needed"),
        ({"ctc": 1}, "'ctc' is 1: true or false is needed"),
        ({"ctc": 0.0}, "true or false is needed"),
        (
            {"encoder": {"num_layers": True}},
            "'encoder.num_layers' is True: a whole number is needed",
        ),
        ({"window_seconds": True}, "'window_seconds' is True: a number is needed"),
        (
            {"encoder": {"num_layers": "2"}},
            "'encoder.num_layers' is '2': a whole number is needed",
        ),
        (
            {"encoder": {"block": "lstm"}},
            "'encoder.block' is 'lstm': one of transformer, conformer is needed",
        ),
        (
            {"encoder": {"routing": {"guided_by": ["tusk"]}}},
            "'encoder.routing.guided_by[0]' is 'tusk': one of bandwidth, task",
        ),
        (
            {"vocabulary": {"translations": [["ar"]]}},
            "'vocabulary.translations[0]' is ['ar']: a list of 2 is needed",
        ),
        ({"vocabulary": {"languages": "ar"}}, "'vocabulary.languages' is 'ar': a list is needed"),
        ({"window_seconds": -1.0}, "window_seconds must be above 0"),
    ],
)
def test_what_does_not_fit_is_named(plain: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_plain(ModelConfig, plain)
    assert message in str(caught.value)
