import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.errors import MissingModel, UsageError
from turnout.hub.sources import PUBLISHED, Source, looks_like_path, source_of


@pytest.mark.parametrize(
    "name",
    [
        "whisper-tiny", "whisper-base", "whisper-small", "whisper-medium", "whisper-tiny.en",
        "whisper-base.en", "whisper-small.en", "whisper-medium.en", "whisper-large-v2",
        "whisper-large-v3", "whisper-large-v3-turbo",
    ],
)  # fmt: skip
def test_a_published_size_is_a_repository_of_openai_s(name: str) -> None:
    assert source_of(name) == Source(f"openai/{name}", "main")
    assert source_of(name).name == name


def test_the_distilled_one_is_another_s() -> None:
    assert source_of("distil-large-v3") == Source("distil-whisper/distil-large-v3")
    assert len(PUBLISHED) == 12


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hf://o/n", Source("o/n")),
        ("hf://NbAiLab/nb-whisper-tiny@main", Source("NbAiLab/nb-whisper-tiny")),
        ("hf://o/n.v2@v1.0", Source("o/n.v2", "v1.0")),
        ("hf://o/n@refs/pr/3", Source("o/n", "refs/pr/3")),
        (f"hf://o/n@{'a1' * 20}", Source("o/n", "a1" * 20)),
    ],
)
def test_any_other_repository_has_an_address(name: str, source: Source) -> None:
    assert source_of(name) == source
    assert source_of(source.name) == source


def test_a_published_repository_s_address_is_its_name() -> None:
    assert source_of("hf://openai/whisper-base").name == "whisper-base"


def test_a_whole_commit_needs_nobody_to_say_what_it_is() -> None:
    assert source_of(f"hf://o/n@{'a1' * 20}").commit == "a1" * 20
    assert source_of("hf://o/n@a1a1a1a").commit is None
    assert source_of("hf://o/n").commit is None


@pytest.mark.parametrize(
    "name",
    [
        "hf://", "hf://o", "hf://o/", "hf:///n", "hf://o/n/m", "hf://o/n@", "hf://../n", "hf://o/..",
        "hf://o/n@../../x", "hf://o--p/n", "hf://o/n@a b", "hf://o/n?x=1", "hf://o/n\n", "hf://.o/n",
        "hf://o/" + "n" * 97, "hf://o/n@/x", "hf://o/\u00e9",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no address of a repository: write hf://owner/name"):
        source_of(name)


@pytest.mark.parametrize(
    "name",
    [
        "./whisper-base",
        "models/whisper-base",
        "whisper-base/",
        "/x",
        "~/m",
        "a\\b",
        ".hidden",
        "..",
    ],
)
def test_what_may_be_a_path_is_no_name(name: str) -> None:
    assert looks_like_path(name)
    with pytest.raises(MissingModel, match="there is no such folder"):
        source_of(name)


def test_a_repository_without_its_scheme_is_told_of_it() -> None:
    with pytest.raises(
        MissingModel, match=r"\(in the Hugging Face hub: hf://openai/whisper-base\)"
    ):
        source_of("openai/whisper-base")
    with pytest.raises(MissingModel, match=r"hub is hf://owner/name\[@revision\]"):
        source_of("https://huggingface.co/openai/whisper-base")


def test_an_unknown_word_is_told_the_names_and_the_nearest() -> None:
    with pytest.raises(MissingModel) as error:
        source_of("whisper-bse")
    message = str(error.value)
    assert message.startswith("no model 'whisper-bse': did you mean 'whisper-base'? Give the path")
    assert all(name in message for name in ("commands", *PUBLISHED, "hf://owner/name[@revision]"))
    with pytest.raises(MissingModel, match="no model 'qqqqqq': Give the path"):
        source_of("qqqqqq")


@given(st.text(max_size=40))
def test_any_other_text_is_refused_in_one_line(text: str) -> None:
    if text in PUBLISHED:
        return
    with pytest.raises(UsageError):
        source_of(text)


@given(st.from_regex(r"hf://[ -~]{1,20}/[ -~]{1,20}(@[ -~]{1,20})?", fullmatch=True))
def test_an_address_that_is_taken_names_one_file_and_no_other_place(text: str) -> None:
    try:
        source = source_of(text)
    except UsageError:
        return
    for key in (source.key, source.revision_key):
        assert "/" not in key
        assert "\\" not in key
        assert not key.startswith(".")
