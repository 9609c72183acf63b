"""The laws of the whole model, over all routings, blocks and subsamplings."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from turnout.audio.features import SAMPLE_RATE, num_frames
from turnout.config import (
    DecoderConfig,
    EncoderConfig,
    FeatureConfig,
    ModelConfig,
    RoutingConfig,
    preset,
)
from turnout.errors import ConfigError
from turnout.experts.bank import ExpertBank
from turnout.guidance import Guide
from turnout.model.build import build_model
from turnout.model.convert import fit_state
from turnout.model.decoder import DecoderOutput, Memory
from turnout.model.speech_model import EncoderOutput, SpeechModel

ROUTINGS = ["dense", "switch", "omni", "supervised", "hybrid"]


def config(kind: str, **encoder: Any) -> ModelConfig:
    routing = RoutingConfig(kind=kind, num_experts=3, jitter=0.0)  # type: ignore[arg-type]
    shape: dict[str, Any] = {"num_layers": 2, "d_model": 16, "num_heads": 2, "d_feedforward": 24}
    return ModelConfig(
        encoder=EncoderConfig(**{**shape, **encoder}, routing=routing, dropout=0.0),
        decoder=DecoderConfig(
            num_layers=2,
            num_heads=2,
            d_feedforward=24,
            dropout=0.0,
            routing=replace(routing, guided_by=(Guide.TASK,)),
        ),
    )


def model(kind: str, **encoder: Any) -> SpeechModel:
    torch.manual_seed(0)
    return build_model(config(kind, **encoder)).eval()


def inputs(lengths: list[int], tokens: list[int], frames: int, width: int) -> dict[str, Any]:
    """A batch whose padding is noise: nothing of it may matter."""
    size = len(lengths)
    log_mel = torch.stack(
        [torch.randn(400, 80, generator=torch.Generator().manual_seed(i)) for i in range(size)]
    )[:, :frames]
    ids = torch.stack(
        [
            torch.randint(9, 500, (40,), generator=torch.Generator().manual_seed(i))
            for i in range(size)
        ]
    )[:, :width]
    index = torch.arange(size)
    return {
        "log_mel": log_mel,
        "frame_mask": torch.arange(frames) < torch.tensor(lengths).unsqueeze(1),
        "encoder_guide": index % 2,
        "bandwidth": index % 2,
        "rows": index,
        "tokens": ids,
        "token_counts": torch.tensor(tokens),
        "decoder_guide": index % 2,
    }


def run(speech: SpeechModel, **batch: Any) -> tuple[EncoderOutput, DecoderOutput]:
    with torch.no_grad():
        return speech(**batch)


def banks(module: torch.nn.Module) -> list[ExpertBank]:
    return [child for child in module.modules() if isinstance(child, ExpertBank)]


@pytest.mark.parametrize("kind", ROUTINGS)
@pytest.mark.parametrize(
    "encoder",
    [
        {},
        {"subsampling": "stack4", "positions": "sinusoidal", "block": "transformer"},
        {
            "subsampling": "conv2",
            "positions": "learned",
            "max_frames": 1501,
            "left_context": 5,
            "right_context": 2,
        },
        {"subsampling": "conv2d4", "subsampling_channels": 6},
    ],
)
def test_neither_padding_nor_batch_mates_matter(kind: str, encoder: dict[str, Any]) -> None:
    speech = model(kind, **encoder)
    together, written = run(speech, **inputs([301, 57, 222], [7, 3, 11], 360, 16))
    assert together.ctc_logits is not None
    for index, (length, count) in enumerate([(301, 7), (57, 3), (222, 11)]):
        batch = inputs([301, 57, 222], [7, 3, 11], 360, 16)
        batch = {name: value[index : index + 1] for name, value in batch.items()}
        batch["log_mel"] = batch["log_mel"][:, :length]
        batch["frame_mask"] = batch["frame_mask"][:, :length]
        batch["tokens"] = batch["tokens"][:, :count]
        batch["rows"] = torch.zeros(1, dtype=torch.int64)
        alone, text = run(speech, **batch)
        assert alone.ctc_logits is not None
        frames = alone.ctc_logits.shape[1]
        assert together.frame_mask[index].sum() == frames
        torch.testing.assert_close(
            together.ctc_logits[index, :frames], alone.ctc_logits[0], rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            written.logits[index, :count], text.logits[0], rtol=1e-4, atol=1e-4
        )
        for mate, single in zip(together.routings, alone.routings, strict=True):
            assert torch.equal(mate.expert_index[index, :frames], single.expert_index[0])


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned"])
def test_steps_with_the_cache_equal_one_pass(positions: str) -> None:
    shape = config("supervised")
    torch.manual_seed(0)
    speech = build_model(
        replace(shape, decoder=replace(shape.decoder, positions=positions))  # type: ignore[arg-type]
    ).eval()
    batch = inputs([200, 120], [9, 6], 200, 9)
    whole = run(speech, **batch)[1].logits
    with torch.no_grad():
        encoded = speech.encode(
            batch["log_mel"], batch["frame_mask"], batch["encoder_guide"], batch["bandwidth"]
        )
        memory = Memory(*speech.decoder.cross(encoded.hidden), encoded.frame_mask)
        cache = speech.empty_cache(2)
        for start, counts in [(0, (3, 2)), (3, (1, 1)), (4, (5, 3))]:
            # Row 1 is one token behind after the first chunk: ragged prompts.
            begins = (start, start - (1 if start else 0))
            width = max(counts)
            tokens = torch.stack(
                [
                    torch.nn.functional.pad(
                        batch["tokens"][row, begins[row] : begins[row] + counts[row]],
                        (0, width - counts[row]),
                        value=77,
                    )
                    for row in range(2)
                ]
            )
            output = speech.decoder(
                tokens, torch.tensor(counts), batch["decoder_guide"], memory, cache
            )
            cache = output.cache
            for row in range(2):
                torch.testing.assert_close(
                    output.logits[row, : counts[row]],
                    whole[row, begins[row] : begins[row] + counts[row]],
                    rtol=1e-4,
                    atol=1e-4,
                )


def test_omni_over_one_layer_is_switch() -> None:
    shape = {"num_layers": 1, "block": "transformer"}
    switch, omni = model("switch", **shape), model("omni", **shape)
    assert switch.state_dict().keys() - omni.state_dict().keys() == {
        f"decoder.routers.1.linear.{part}" for part in ("weight", "bias")
    }
    fit_state(omni.encoder, switch.encoder.state_dict())
    batch = inputs([100, 80], [4, 4], 100, 4)
    args = [batch[name] for name in ("log_mel", "frame_mask", "encoder_guide", "bandwidth")]
    with torch.no_grad():
        assert torch.equal(switch.encoder(*args)[0], omni.encoder(*args)[0])


def test_a_shared_router_is_one_tensor() -> None:
    names = [name for name in model("omni").state_dict() if "router" in name]
    assert names == [
        f"{part}.routers.0.linear.{kind}"
        for part in ("encoder", "decoder")
        for kind in ("weight", "bias")
    ]
    assert len(model("switch").encoder.routers) == 4  # two layers, two half feed-forwards each


def test_one_path_of_a_supervised_model_is_a_dense_model_to_the_last_bit() -> None:
    speech, dense = model("supervised"), model("dense")
    path = {}
    for name, tensor in speech.state_dict().items():
        wanted = "experts.1." if name.startswith("encoder") else "experts.0."
        if ".experts." not in name:
            path[name] = tensor
        elif wanted in name:
            path[name.replace(wanted, "experts.0.")] = tensor
    dense.load_state_dict(path)
    batch = inputs([150, 90], [5, 5], 150, 5)
    batch["encoder_guide"] = torch.ones(2, dtype=torch.int64)
    batch["decoder_guide"] = torch.zeros(2, dtype=torch.int64)
    (routed, text), (plain, wanted) = run(speech, **batch), run(dense, **batch)
    assert torch.equal(routed.ctc_logits, plain.ctc_logits)  # type: ignore[arg-type]
    assert torch.equal(text.logits, wanted.logits)


@pytest.mark.parametrize("kind", ["supervised", "omni"])
def test_a_dense_model_becomes_a_routed_one_with_the_same_function(kind: str) -> None:
    dense = model("dense")
    shape = config(kind)
    straight = replace(shape.encoder.routing, gate="straight_through")
    shape = replace(
        shape,
        encoder=replace(shape.encoder, routing=straight),
        decoder=replace(shape.decoder, routing=replace(straight, guided_by=(Guide.TASK,))),
    )
    routed = build_model(shape).eval()
    fitted = fit_state(routed, dense.state_dict())
    assert not fitted.mismatched and not fitted.unexpected
    assert all("router" in name for name in fitted.missing)
    assert len(fitted.copied) > 0
    batch = inputs([150, 90], [5, 5], 150, 5)
    (before, wanted), (after, text) = run(dense, **batch), run(routed, **batch)
    torch.testing.assert_close(before.ctc_logits, after.ctc_logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(wanted.logits, text.logits, rtol=1e-5, atol=1e-5)


def test_fit_state_names_what_did_not_fit() -> None:
    speech = model("dense")
    state = dict(speech.state_dict())
    state["extra"] = torch.zeros(1)
    state["ctc_head.bias"] = torch.zeros(3)
    del state["encoder.norm.weight"]
    fitted = fit_state(model("dense"), state)
    assert fitted.unexpected == ["extra"]
    assert fitted.mismatched == ["ctc_head.bias"]
    assert fitted.missing == ["encoder.norm.weight"]


def test_routed_layers_can_be_chosen() -> None:
    routing = RoutingConfig(kind="switch", num_experts=3, layers=(1,))
    shape = replace(config("dense").encoder, routing=routing)
    speech = build_model(replace(config("dense"), encoder=shape))
    sizes = [len(bank.experts) for bank in banks(speech.encoder)]
    assert sizes == [1, 1, 3, 3]


def test_blocks_of_layers_share_a_router() -> None:
    routing = RoutingConfig(kind="omni", share_layers=2)
    shape = replace(config("dense").encoder, num_layers=5, routing=routing)
    speech = build_model(replace(config("dense"), encoder=shape))
    assert speech.encoder.router_of == [[0, 0], [0, 0], [1, 1], [1, 1], [2, 2]]


def test_the_published_omni_router_shape() -> None:
    with torch.device("meta"):
        speech = build_model(preset("omni-router"))
    total = sum(parameter.numel() for parameter in speech.parameters())
    idle = sum(
        parameter.numel()
        for bank in banks(speech)
        for expert in list(bank.experts)[1:]
        for parameter in expert.parameters()
    )
    assert round(total / 1e6) == 613
    assert round((total - idle) / 1e6) == 210


@pytest.mark.parametrize("kind", ["dense", "hybrid"])
@pytest.mark.parametrize("left", [0, 3])
def test_the_bandwidth_token_guides_every_frame_however_short_the_context(
    kind: str, left: int
) -> None:
    speech = model(kind, block="transformer", left_context=left, right_context=1)
    batch = inputs([360], [7], 360, 16) | {"encoder_guide": torch.zeros(1, dtype=torch.int64)}
    hidden = [
        run(speech, **{**batch, "bandwidth": torch.tensor([bandwidth])})[0].hidden[0]
        for bandwidth in (0, 1)
    ]
    changed = (hidden[0] - hidden[1]).abs().amax(dim=-1)
    assert len(changed) == 90 and (changed > 1e-4).all()


def test_what_lies_beyond_a_limited_context_changes_nothing() -> None:
    """Not through the bandwidth token either, which every frame sees."""
    speech = model("dense", block="transformer", subsampling="stack4", left_context=3)
    batch = inputs([360], [7], 360, 16)
    other = {**batch, "log_mel": batch["log_mel"].clone()}
    other["log_mel"][:, :40] = 0.0  # ten hidden frames; two layers reach six back
    before, after = (run(speech, **each)[0].hidden[0] for each in (batch, other))
    torch.testing.assert_close(before[16:], after[16:], rtol=1e-5, atol=1e-5)
    assert (before[15] - after[15]).abs().max() > 1e-4


@pytest.mark.parametrize("subsampling", ["conv2", "stack4", "conv4"])
def test_learned_positions_hold_a_whole_window(subsampling: str) -> None:
    needed = 1501 if subsampling == "conv2" else 751
    speech = model("dense", subsampling=subsampling, positions="learned", max_frames=needed)
    assert speech.config.window_hidden_frames == needed
    mask = torch.ones((1, 3000), dtype=torch.bool)
    with torch.no_grad():
        zero = torch.zeros(1, dtype=torch.int64)
        encoded = speech.encode(torch.zeros(1, 3000, 80), mask, zero, zero)
    assert encoded.hidden.shape[1] == needed - 1
    with pytest.raises(ConfigError, match=f"encoder.max_frames is {needed - 1}: a window of 30 s"):
        config("dense", subsampling=subsampling, positions="learned", max_frames=needed - 1)


@given(st.floats(0.001, 100), st.sampled_from(["kaldi", "whisper"]), st.booleans())
def test_no_window_has_more_frames_than_its_configuration_says(
    seconds: float, kind: str, token: bool
) -> None:
    normalization = "whisper" if kind == "whisper" else "none"
    features = FeatureConfig(kind=kind, normalization=normalization)  # type: ignore[arg-type]
    shape = ModelConfig(features=features, window_seconds=seconds, bandwidth_token=token)
    frames = num_frames(round(seconds * SAMPLE_RATE), features)
    assert -(-frames // 4) + token <= shape.window_hidden_frames <= -(-(frames + 1) // 4) + token
