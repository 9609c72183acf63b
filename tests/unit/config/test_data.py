"""What a run's data may be: ranges that can be drawn from."""

from math import inf, nan

import pytest

from turnout.config import AugmentConfig, CorpusConfig, JoinConfig
from turnout.errors import ConfigError

UNENDING = ((1.0, inf), (-inf, 1.0), (nan, 1.0), (1.0, nan), (2.0, 1.0), (1.0, 1e300))


@pytest.mark.parametrize("pair", UNENDING)
@pytest.mark.parametrize("name", ["speed", "warp", "noise_snr_db"])
def test_a_range_without_an_end_is_one_line(name: str, pair: tuple[float, float]) -> None:
    with pytest.raises(
        ConfigError, match=rf"augment\.{name} is \(.*: \(low, high\) with"
    ) as caught:
        AugmentConfig(**{name: pair})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pause", [inf, nan, 1e300])
def test_a_pause_without_an_end_is_one_line(pause: float) -> None:
    with pytest.raises(ConfigError, match=r"max_pause <= 30"):
        JoinConfig(max_pause=pause)


def test_ranges_that_can_be_drawn_from_are_taken() -> None:
    AugmentConfig(speed=(1.0, 1.0), warp=(0.5, 2.0), noise_snr_db=(-10.0, 100.0))
    JoinConfig(min_pause=0.0, max_pause=30.0)


def test_a_corpus_without_a_name_is_one_line() -> None:
    with pytest.raises(ConfigError, match="names neither cuts nor shards") as caught:
        CorpusConfig(weight=2.0)
    assert "\n" not in str(caught.value)
