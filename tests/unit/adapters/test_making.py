"""What was trained becomes an adapter, and the adapter makes it again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.adapted import (
    adapter,
    base_in,
    experts_of,
    moved,
    opened,
    supervised,
    trained,
    with_tensors,
)
from turnout.adapters.change import LowRank, Whole
from turnout.adapters.compose import dense_weights
from turnout.adapters.folder import TENSORS
from turnout.adapters.making import Making
from turnout.adapters.stored import weights_of
from turnout.cli import main
from turnout.config import RoutingConfig
from turnout.errors import ModelFolderError, UsageError
from turnout.guidance import Bandwidth, Guidance, Guide, Task
from turnout.hub.adapted import with_adapters
from turnout.hub.making import Sources, make_adapter
from turnout.model_folder import CONFIG, ModelFolder, config_bytes, write_folder

ZH = Guidance(language="zh", bandwidth=Bandwidth.WIDEBAND, task=Task.TRANSCRIBE, domain="base")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_in(tmp_path_factory.mktemp("making"))


def weights(folder: Path) -> dict[str, np.ndarray]:
    return weights_of(ModelFolder.open(folder))


def applied(base: Path, *adapters: Path, guidance: Guidance = ZH) -> dict[str, np.ndarray]:
    folder = ModelFolder.open(base)
    together = with_adapters(folder, [opened(one) for one in adapters])
    return dense_weights(weights_of(folder), together, guidance)


def test_whole_tensors_come_back_to_the_bit(base: Path, tmp_path: Path) -> None:
    model = trained(base, tmp_path / "model", lambda name: "blocks.1." in name)
    found = adapter(base, model, tmp_path / "adapter", language="zh")
    wanted = weights(model)
    for name, values in applied(base, found).items():
        assert np.array_equal(values, wanted[name]), name
    other = replace(ZH, language="en")
    for name, values in applied(base, found, guidance=other).items():
        assert np.array_equal(values, weights(base)[name]), name


def test_what_is_equal_is_left_out(base: Path, tmp_path: Path) -> None:
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    found = adapter(base, model, tmp_path / "adapter", language="zh")
    together = with_adapters(ModelFolder.open(base), [opened(found)])
    assert not together.decoder
    (expert,) = together.encoder
    assert sorted(expert.changes) == sorted(filter(experts_of("encoder"), weights(base)))


def test_an_experts_layers_are_those_that_it_changes(base: Path, tmp_path: Path) -> None:
    """With the tensors of no layer, it is all of them."""
    found: dict[str, tuple[int, ...] | None] = {}
    for part in ("encoder.blocks.1.", "encoder.norm."):
        place = tmp_path / part.strip(".")
        model = trained(base, place, lambda name, part=part: name.startswith(part))
        made = adapter(base, model, tmp_path / f"a-{place.name}", language="zh")
        together = with_adapters(ModelFolder.open(base), [opened(made)])
        found[part] = together.config.encoder.routing.layers
        assert together.names == (f"a-{place.name}",)
    assert found == {"encoder.blocks.1.": (1,), "encoder.norm.": None}


def test_keys_of_the_crossing_are_the_encoders(base: Path, tmp_path: Path) -> None:
    """What the decoder attends to is worked out while the encoder runs."""
    model = trained(base, tmp_path / "model", lambda name: "cross_attention.value.bias" in name)
    found = adapter(base, model, tmp_path / "adapter", language="zh")
    together = with_adapters(ModelFolder.open(base), [opened(found)])
    assert len(together.encoder) == 1 and not together.decoder


def test_a_low_rank_difference_is_the_best_of_its_rank(base: Path, tmp_path: Path) -> None:
    model = trained(base, tmp_path / "model", experts_of("decoder"))
    found = adapter(base, model, tmp_path / "adapter", language="zh", rank=3)
    words = "8 tensors of decoder, 4 as differences of rank 3, the others whole\n"
    assert words in (found / "README.md").read_text()
    name = "decoder.blocks.0.feed_forward.bank.experts.0.up.weight"
    before, after, wanted = weights(base)[name], applied(base, found)[name], weights(model)[name]
    strengths = np.linalg.svd(wanted - before, compute_uv=False)
    left = np.square(after - wanted).sum()
    assert left == pytest.approx(np.square(strengths[3:]).sum(), rel=1e-3)  # Eckart and Young
    (expert,) = with_adapters(ModelFolder.open(base), [opened(found)]).decoder
    assert isinstance(expert.changes[name], LowRank)
    assert isinstance(expert.changes[name.replace("weight", "bias")], Whole)


def test_a_rank_that_saves_nothing_is_kept_whole(base: Path, tmp_path: Path) -> None:
    model = trained(base, tmp_path / "model", experts_of("decoder"))
    found = adapter(base, model, tmp_path / "adapter", language="zh", rank=30)
    (expert,) = with_adapters(ModelFolder.open(base), [opened(found)]).decoder
    assert all(isinstance(change, Whole) for change in expert.changes.values())


def test_a_product_is_rounded_one_step_at_a_time() -> None:
    """In the order of the ranks, whatever the machine's own order would be."""
    random = np.random.default_rng(0)
    up, down = random.normal(size=(5, 7)), random.normal(size=(7, 4))
    base = random.normal(size=(5, 4)).astype(np.float32)
    change = LowRank(up.astype(np.float16), down.astype(np.float16))
    up, down = change.up.astype(np.float32), change.down.astype(np.float32)
    for row in range(5):
        for column in range(4):
            total = np.float32(0)
            for rank in range(7):
                total += up[row, rank] * down[rank, column]
            assert change.applied(base)[row, column] == base[row, column] + total
    assert np.allclose(change.applied(base), base + up @ down, atol=1e-5)


def test_half_is_half_the_size(base: Path, tmp_path: Path) -> None:
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    sizes = [
        (adapter(base, model, tmp_path / f"a{half:d}", language="zh", half=half) / TENSORS)
        .stat()
        .st_size
        for half in (False, True)
    ]
    assert sizes[1] < 0.6 * sizes[0]


def test_an_upcycled_model_says_itself_what_its_experts_are_for(base: Path, tmp_path: Path) -> None:
    routings = {
        "encoder": RoutingConfig(
            kind="supervised", guided_by=(Guide.LANGUAGE,), experts_for=("zh", "haw")
        ),
        "decoder": RoutingConfig(kind="supervised", guided_by=(Guide.TASK, Guide.LANGUAGE)),
    }
    model = supervised(base, tmp_path / "model", routings)
    found = opened(adapter(base, model, tmp_path / "adapter"))
    entries = {entry.name: dict(entry.when) for entry in found.facts.experts}
    assert entries["zh"] == {Guide.LANGUAGE: "zh"}
    assert entries["translate-en"] == {Guide.TASK: "translate", Guide.LANGUAGE: "en"}
    assert len(entries) == 2 + 5  # that of transcribing English is the base's own
    stored = weights(model)
    whole = applied(base, tmp_path / "adapter", guidance=replace(ZH, language="haw"))
    for stack in routings:
        for name in filter(experts_of(stack), whole):
            own = stored[name.replace(".experts.0.", ".experts.2.")]
            assert np.array_equal(whole[name], own), name


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("calls", "zh-calls"),
        ("calls-", "expert-1"),
        ("über", "expert-1"),
        ("a" * 61, "zh-" + "a" * 61),
    ],
)
def test_what_is_written_can_be_read(base: Path, tmp_path: Path, domain: str, name: str) -> None:
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    made = opened(adapter(base, model, tmp_path / "adapter", language="zh", domain=domain))
    (entry,) = made.facts.experts
    assert entry.name == name
    assert dict(entry.when)[Guide.DOMAIN] == domain
    guidance = replace(ZH, domain=domain)
    wanted = weights(model)
    for tensor, values in applied(base, tmp_path / "adapter", guidance=guidance).items():
        assert np.array_equal(values, wanted[tensor]), tensor


def test_experts_for_a_language_and_a_target_language_have_names_of_their_own(
    base: Path, tmp_path: Path
) -> None:
    routings = {
        "encoder": RoutingConfig(
            kind="supervised", guided_by=(Guide.LANGUAGE,), experts_for=("en",)
        ),
        "decoder": RoutingConfig(
            kind="supervised", guided_by=(Guide.TARGET_LANGUAGE,), experts_for=("en",)
        ),
    }
    model = supervised(base, tmp_path / "model", routings)
    found = opened(adapter(base, model, tmp_path / "adapter"))
    entries = {entry.name: dict(entry.when) for entry in found.facts.experts}
    assert entries == {
        "language-en": {Guide.LANGUAGE: "en"},
        "target_language-en": {Guide.TARGET_LANGUAGE: "en"},
    }
    together = with_adapters(ModelFolder.open(base), [found])
    assert len(together.encoder) == len(together.decoder) == 1


def test_what_was_learned_in_more_digits_than_the_base_has_is_kept(
    base: Path, tmp_path: Path
) -> None:
    """And a copy that was rounded is no difference."""
    full = dict(weights(base))
    half = {name: values.astype(np.float16) for name, values in full.items()}
    rough = with_tensors(base, tmp_path / "half", half)  # type: ignore[arg-type]
    name = next(filter(experts_of("encoder"), full))
    learned = {key: values.astype(np.float32) for key, values in half.items()}
    learned[name] = np.nextafter(learned[name], np.float32(9))
    model = with_tensors(base, tmp_path / "model", learned)
    found = adapter(rough, model, tmp_path / "adapter", language="zh")
    (expert,) = with_adapters(ModelFolder.open(rough), [opened(found)]).encoder
    assert list(expert.changes) == [name]
    assert np.array_equal(expert.changes[name].applied(half[name]), learned[name])
    refused(base, rough, tmp_path / "none", "does not differ from", language="zh")


def test_numbers_that_are_none_are_told_before_they_are_taken_apart(
    base: Path, tmp_path: Path
) -> None:
    lost = dict(weights(base))
    name = "encoder.blocks.0.feed_forward.bank.experts.0.up.weight"
    lost[name] = np.full_like(lost[name], np.nan)
    model = with_tensors(base, tmp_path / "model", lost)
    message = f"{name} has values that are not finite"
    refused(base, model, tmp_path / "adapter", message, language="zh", rank=2)


@pytest.mark.parametrize(
    ("told", "name", "model"),
    [
        ({"repository": "openai/whisper-base", "revision": "main"}, "whisper-base", None),
        (
            {"repository": "openai/whisper-base", "revision": "refs/pr/3"},
            "hf://openai/whisper-base@refs/pr/3",
            "openai/whisper-base",
        ),
        ({"repository": "owner/name"}, "hf://owner/name", "owner/name"),
        ({"repository": "../x"}, None, None),
        ({"source": "base"}, None, None),
    ],
)
def test_a_base_is_called_what_it_is_called_everywhere(
    base: Path, tmp_path: Path, told: dict[str, str], name: str | None, model: str | None
) -> None:
    place = with_file(base, tmp_path / "base", "source.json", json.dumps(told).encode())
    found = adapter(
        place,
        trained(base, tmp_path / "model", experts_of("encoder")),
        tmp_path / "a",
        language="zh",
    )
    assert opened(found).facts.base == name
    card = (found / "README.md").read_text()
    assert (f"\nbase_model: {model}\n" in card) == (model is not None)
    assert f"--model {name or 'BASE'} --adapter" in card
    assert str(tmp_path) not in card


def test_where_a_model_comes_from_is_json(base: Path, tmp_path: Path) -> None:
    place = with_file(base, tmp_path / "base", "source.json", b"{")
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    with pytest.raises(ModelFolderError, match=r"source.json is not JSON .*: fetch it again"):
        adapter(place, model, tmp_path / "adapter", language="zh")


def with_file(base: Path, place: Path, name: str, data: bytes) -> Path:
    write_folder(place, {**ModelFolder.open(base).files(), name: data})
    return place


@pytest.mark.parametrize("name", ["LICENCE.txt", "gone/LICENSE", "my licence", "notes.md"])
def test_a_licence_that_is_not_there_is_no_name(base: Path, tmp_path: Path, name: str) -> None:
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    sources = Sources(base=base, trained=model, license=name)
    with pytest.raises(UsageError, match="--license is '.*': there is no such file"):
        make_adapter(sources, tmp_path / "a", Making(name="a", when={Guide.LANGUAGE: "zh"}))
    assert not (tmp_path / "a").exists()


def refused(base: Path, model: Path, place: Path, message: str, **making: object) -> None:
    with pytest.raises(UsageError, match=message):
        adapter(base, model, place, **making)
    assert not place.exists()


def test_what_no_expert_can_hold_is_refused(base: Path, tmp_path: Path) -> None:
    place = tmp_path / "adapter"
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    refused(base, model, place, "differs from .* which is no expert's: say what for")
    refused(base, base, place, "does not differ from", language="zh")
    refused(base, model, place, "language 'nl', and the model has en, zh, haw", language="nl")
    refused(base, model, place, "domain 'base', which is everybody's", domain="base")
    refused(base, model, place, "the domain '8k' is no name", domain="8k")
    folder = ModelFolder.open(base)
    config = replace(folder.config, encoder=replace(folder.config.encoder, num_heads=2))
    write_folder(
        tmp_path / "heads", {**folder.files(), CONFIG: config_bytes(config, folder.tokenizer)}
    )
    refused(base, tmp_path / "heads", place, r"in encoder.num_heads \(2, not 4\), which no expert")
    tokenizer = {"tokenizer.json": folder.read("tokenizer.json") + b"\n"}
    write_folder(tmp_path / "other", {**folder.files(), **tokenizer})
    refused(base, tmp_path / "other", place, "another tokenizer", language="zh")
    loud = moved(base, experts_of("encoder"), seed=1)
    name = next(filter(experts_of("encoder"), loud))
    loud[name] = loud[name] + np.float32(1e6)
    wide = with_tensors(base, tmp_path / "loud", loud)
    refused(base, wide, place, "float16 cannot hold", language="zh", half=True)


def test_of_experts_no_other_tensor_can_be_kept(base: Path, tmp_path: Path) -> None:
    place = tmp_path / "adapter"
    routed = supervised(base, tmp_path / "routed", {"encoder": RoutingConfig(kind="supervised")})
    refused(base, routed, place, "has experts, which say themselves", language="zh")
    refused(routed, base, place, "is no dense model", language="zh")
    more = weights(routed)
    more["encoder.norm.weight"] = more["encoder.norm.weight"] + 1
    refused(base, with_tensors(routed, tmp_path / "more", more), place, "only experts' tensors can")


def test_two_experts_for_the_same_are_refused(base: Path, tmp_path: Path) -> None:
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    one, other = (adapter(base, model, tmp_path / name, language="zh") for name in ("a", "b"))
    with pytest.raises(
        UsageError, match="'a' and 'b' both have an expert of the encoder for langu"
    ):
        applied(base, one, other)


def test_the_command_says_what_it_kept(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained(base, tmp_path / "model", experts_of("encoder"))
    words = ["adapter", "--base", str(base), "--model", str(model), "-o", str(tmp_path / "mine")]
    assert main([*words, "--when", "domain=calls", "--when", "language=zh", "--rank", "4"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'mine'}\n"
    assert "expert zh-calls, for language zh, domain calls: 8 tensors of encoder" in printed.err
    assert ".up.weight: rank 4 keeps" in printed.err
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "license: other" in card and "digest" in card
    assert "\nThe adapter came without a licence of its own.\n" in card
    assert "MIT License" in (tmp_path / "mine" / "LICENSE-whisper").read_text()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["--when", "language"], "--when is 'language': a guide and its value"),
        (["--when", "speaker=me"], "guides are bandwidth, task"),
        (["--when", "language=zh", "--when", "language=en"], "twice"),
        (["--rank", "0"], "--rank is 0"),
        (["--name", "../mine"], "--name is '../mine'"),
        (["-o", "base"], "base: exists and is no adapter"),
    ],
)
def test_bad_words_get_a_line(
    base: Path, tmp_path: Path, bad: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["adapter", "--base", str(base), "--model", str(base)]
    place = ["-o", str(base if "-o" in bad else tmp_path / "mine")]
    given = [word for word in bad if word not in ("-o", "base")]
    assert main([*words, *place, *given]) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_models_are_called_as_they_were_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["adapter", "--base", "commands", "--model", "commands", "-o", str(tmp_path / "mine")]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "turnout: error: commands is no dense model: an adapter's base must be one"
