"""What a checkpoint says of its decoder's ids and heads must fit its shape."""

import pytest

from turnout.config import DecoderConfig, ModelConfig, VocabularyConfig
from turnout.errors import ConfigError


def test_heads_and_ids_of_the_shape_are_taken() -> None:
    decoder = DecoderConfig(alignment_heads=((1, 3),), suppressed=(7,), suppressed_first=(0,))
    assert ModelConfig(decoder=decoder).decoder.alignment_heads == ((1, 3),)


@pytest.mark.parametrize("head", [(2, 0), (0, 4), (-1, 0)])
def test_heads_beyond_the_shape_are_refused(head: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="there are 2 layers of 4 heads"):
        DecoderConfig(alignment_heads=(head,))


@pytest.mark.parametrize("name", ["suppressed", "suppressed_first"])
@pytest.mark.parametrize("number", [-1, 512])
def test_ids_beyond_the_vocabulary_are_refused(name: str, number: int) -> None:
    decoder = DecoderConfig(**{name: (3, number)})
    with pytest.raises(ConfigError, match=f"decoder.{name} names the id {number}; ids"):
        ModelConfig(decoder=decoder, vocabulary=VocabularyConfig(size=512))


def test_of_a_decoder_that_is_left_out_neither_counts() -> None:
    """Whoever takes a checkpoint's encoder alone says `decoder: {num_layers: 0}`, and the rest
    comes from the checkpoint, for whose vocabulary its ids were."""
    decoder = DecoderConfig(
        num_layers=0, alignment_heads=((1, 3),), suppressed=(50_000,), suppressed_first=(220,)
    )
    model = ModelConfig(decoder=decoder, vocabulary=VocabularyConfig(size=200))
    assert model.decoder.num_layers == 0
