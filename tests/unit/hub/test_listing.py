import pytest

from turnout.errors import FetchError
from turnout.hub.listing import Listing, RemoteFile, listing_of, needed_files

SMALL = {
    ".gitattributes": 1500, "README.md": 20_000, "added_tokens.json": 34_604, "config.json": 2_000,
    "generation_config.json": 3_700, "merges.txt": 494_000, "normalizer.json": 52_666,
    "preprocessor_config.json": 185_000, "special_tokens_map.json": 2_000,
    "tokenizer.json": 2_480_000, "tokenizer_config.json": 283_000, "vocab.json": 836_000,
}  # fmt: skip
TEXTS = {"config.json", "generation_config.json", "tokenizer.json"}


def listing(files: dict[str, int]) -> Listing:
    return Listing("c" * 40, {n: RemoteFile(n, size, "d" * 64) for n, size in files.items()})


def taken(files: dict[str, int]) -> dict[str, str]:
    """Name that is fetched as -> name in the repository, of those that are no text."""
    needed = needed_files(listing(files), "o/n")
    assert needed.keys() >= TEXTS
    return {as_: file.name for as_, file in needed.items() if as_ not in TEXTS}


def test_of_a_size_with_pickles_beside_them_the_safetensors_are_taken() -> None:
    files = {
        **SMALL, "flax_model.msgpack": 290e6, "model.safetensors": 290_403_936,
        "pytorch_model.bin": 290e6, "tf_model.h5": 290e6,
    }  # fmt: skip
    assert taken(files) == {"model.safetensors": "model.safetensors"}  # type: ignore[arg-type]


def test_of_large_v3_the_float16_file_is_taken_and_no_shard_of_float32() -> None:
    files = {
        **SMALL,
        "flax_model.msgpack": 6_174_000_000,
        "model.fp32-00001-of-00002.safetensors": 4_993_448_880,
        "model.fp32-00002-of-00002.safetensors": 1_180_663_192,
        "model.safetensors": 3_087_130_976,
        "model.safetensors.index.fp32.json": 117_893,
        "pytorch_model.bin": 3_087_130_976,
        "pytorch_model.fp32-00001-of-00002.bin": 4_993_448_880,
    }
    assert taken(files) == {"model.safetensors": "model.safetensors"}


def test_of_a_fine_tuned_one_the_shards_and_their_index_are_taken() -> None:
    shards = {f"model-0000{i}-of-00002.safetensors": 3_000_000_000 for i in (1, 2)}
    index = {"model.safetensors.index.json": 100_000}
    names = [*shards, *index]
    assert taken({**SMALL, **shards, **index}) == dict(zip(names, names, strict=True))


def test_float16_shards_take_the_place_of_a_file_of_float32() -> None:
    files = {
        "model.safetensors": 6_000, "model.fp16-00001-of-00001.safetensors": 3_000,
        "model.safetensors.index.fp16.json": 10,
    }  # fmt: skip
    assert taken({**SMALL, **files}) == {
        "model.safetensors.index.json": "model.safetensors.index.fp16.json",
        "model.fp16-00001-of-00001.safetensors": "model.fp16-00001-of-00001.safetensors",
    }
    files = {"model.safetensors": 6_000, "model.fp16.safetensors": 3_000}
    assert taken({**SMALL, **files}) == {"model.safetensors": "model.fp16.safetensors"}


def test_shards_of_which_one_lacks_are_no_set() -> None:
    files = {"model-00001-of-00002.safetensors": 10, "model.safetensors.index.json": 10}
    with pytest.raises(FetchError, match=r"has no model\.safetensors"):
        needed_files(listing({**SMALL, **files}), "o/n")


def test_pickles_alone_are_refused() -> None:
    with pytest.raises(
        FetchError, match=r"o/n has no model\.safetensors: 'pytorch_model\.bin' is "
    ):
        needed_files(listing({**SMALL, "pytorch_model.bin": 10}), "o/n")


def test_without_a_tokenizer_json_its_parts_are_taken() -> None:
    files = {name: size for name, size in SMALL.items() if name != "tokenizer.json"}
    needed = needed_files(listing({**files, "model.safetensors": 5}), "o/n")
    parts = {"vocab.json", "merges.txt", "added_tokens.json"}
    assert set(needed) == {"config.json", "generation_config.json", "model.safetensors", *parts}
    del files["merges.txt"]
    with pytest.raises(FetchError, match=r"has neither tokenizer\.json nor vocab\.json, merg"):
        needed_files(listing({**files, "model.safetensors": 5}), "o/n")


def test_without_a_configuration_it_is_no_checkpoint() -> None:
    with pytest.raises(FetchError, match=r"has no config\.json"):
        needed_files(listing({"tokenizer.json": 5, "model.safetensors": 5}), "o/n")


@pytest.mark.parametrize("size", [-1, 65 << 20])
def test_a_text_of_no_size_or_any_size_is_not_fetched(size: int) -> None:
    files = {**SMALL, "model.safetensors": 5, "tokenizer.json": size}
    with pytest.raises(FetchError, match=r"tokenizer\.json is listed without a size and digest"):
        needed_files(listing(files), "o/n")


@pytest.mark.parametrize(
    "content",
    [
        None, 5, [], {}, {"sha": "c" * 40}, {"sha": 5, "siblings": []},
        {"sha": "main", "siblings": []}, {"sha": "c" * 40, "siblings": 5},
        {"sha": "c" * 40, "siblings": [5]}, {"sha": "c" * 40, "siblings": [{}]},
        {"sha": "c" * 40, "siblings": [{"rfilename": "x", "lfs": {}}]},
        {"sha": "c" * 40, "siblings": [{"rfilename": "x", "lfs": 5}]},
    ],
)  # fmt: skip
def test_an_answer_that_is_no_list_is_said_to_be_none(content: object) -> None:
    with pytest.raises(FetchError, match="is HF_ENDPOINT right"):
        listing_of(content, "o/n")


@pytest.mark.parametrize(
    "stated",
    [
        {}, {"size": "5", "blobId": "d" * 40}, {"size": 5}, {"size": 5, "blobId": 7},
        {"size": 5, "blobId": "d" * 39}, {"size": True, "blobId": "../" + "d" * 37},
        {"size": -5, "blobId": "d" * 40},
    ],
)  # fmt: skip
def test_a_file_without_size_or_digest_has_none(stated: dict[str, object]) -> None:
    content = {"sha": "c" * 40, "siblings": [{"rfilename": "config.json", **stated}]}
    assert listing_of(content, "o/n").files["config.json"].size < 0


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({"license": "apache-2.0"}, "apache-2.0"), (None, None), ({}, None), ({"license": 5}, None),
        ({"license": "a\nb"}, None), ("mit", None),
    ],
)  # fmt: skip
def test_the_licence_is_the_card_s(card: object, licence: str | None) -> None:
    content = {"sha": "c" * 40, "siblings": [], "cardData": card}
    assert listing_of(content, "o/n").licence == licence
