"""What is said of tensors that did not fit."""

from turnout.model.convert import shortened


def test_a_part_that_is_missing_as_a_whole_is_named_once() -> None:
    others = ["encoder.norm.weight", "encoder.blocks.0.norm.bias"]
    whole = ["decoder.norm.weight", "decoder.blocks.0.norm.bias", "decoder.embedding.weight"]
    partly = ["encoder.blocks.0.norm.weight", "encoder.blocks.1.norm.bias", "ctc_bias"]
    assert shortened([*whole, *partly], others) == [
        "ctc_bias", "decoder.*", "encoder.blocks.0.norm.weight", "encoder.blocks.1.*",
    ]  # fmt: skip
    assert shortened([], others) == []
