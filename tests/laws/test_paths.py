"""A supervised model is a set of dense ones: what is on a path is that dense model's, and what is
on none is the base's, to the last bit."""

from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
from numpy.typing import NDArray

import turnout
from tests.adapted import FRAMES, adapter, base_in, experts_of, supervised, trained
from tests.models import exported
from turnout.adapters.stored import weights_of
from turnout.config import RoutingConfig
from turnout.decoding.backend import Backend
from turnout.decoding.requests import Decoded, DecodingOptions, Request, Utterance
from turnout.errors import ModelFolderError
from turnout.guidance import Bandwidth, Guide, Task
from turnout.model_folder import ModelFolder
from turnout.transcription.transcriber import Transcriber

BOTH = (Task.TRANSCRIBE, Task.TRANSLATE)
NARROW = Bandwidth.NARROWBAND
OPTIONS = DecodingOptions(
    max_tokens_per_second=4.0,
    word_timestamps=True,
    temperatures=(0.0, 0.4),
    compression_ratio_threshold=1.2,  # so that some attempts fail
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two dense models that were trained from it, and an adapter for each."""
    place = tmp_path_factory.mktemp("paths")
    base = base_in(place)
    trained(base, place / "encoder", experts_of("encoder"))
    trained(base, place / "decoder", experts_of("decoder"))
    adapter(base, place / "encoder", place / "for-zh", language="zh")
    adapter(base, place / "decoder", place / "for-haw", language="haw", bandwidth="narrowband")
    return place


def utterance(index: int, language: str, *, beam: int = 1, **request: object) -> Utterance:
    asked = Request(language=language, **request)  # type: ignore[arg-type]
    options = DecodingOptions(**{**vars(OPTIONS), "beam_size": beam})
    return Utterance(heard(index, FRAMES), asked, options)


def mixed() -> list[Utterance]:
    return [
        utterance(0, "en"),
        utterance(1, "zh", tasks=BOTH),
        utterance(2, "haw", tasks=BOTH, bandwidth=NARROW),
        utterance(3, "haw"),
        utterance(4, "en", beam=3),
        utterance(5, "zh", beam=3),
        utterance(6, "haw", beam=2, bandwidth=NARROW),
        utterance(7, "zh"),
    ]


def of_path(model: Transcriber, batch: Sequence[Utterance], places: Sequence[int]) -> list[Decoded]:
    return model.decode([batch[i] for i in places])


def test_each_path_is_its_dense_model(place: Path) -> None:
    """Equal to the last bit, times and probabilities included."""

    def load(name: str, *adapters: str) -> Transcriber:
        return turnout.load(place / name, adapters=[place / one for one in adapters], threads=1)

    batch = mixed()
    routed = load("base", "for-zh", "for-haw")
    found = routed.decode(batch)

    def check(model: Transcriber, *places: int) -> None:
        assert [found[i] for i in places] == of_path(model, batch, places)

    check(load("base"), 0, 3, 4)
    check(load("encoder"), 1, 5, 7)
    check(load("decoder"), 2, 6)
    # Each alone is as both side by side, in whatever order.
    check(load("base", "for-zh"), 1, 5, 7)
    check(load("base", "for-haw", "for-zh"), *range(8))
    texts = {one.hypotheses[0].text for one in found}
    assert len(texts) > 4
    assert of_path(load("base"), batch, (1,))[0].hypotheses != found[1].hypotheses
    assert of_path(load("base"), batch, (2,))[0].hypotheses != found[2].hypotheses


def test_pytorch_takes_the_same_paths(place: Path) -> None:
    adapters = [place / "for-zh", place / "for-haw"]
    batch = [utterance(0, "en"), utterance(1, "zh"), utterance(2, "haw", bandwidth=NARROW)]
    routed = turnout.load(place / "base", adapters=adapters, threads=1, backend="torch")
    found = routed.decode(batch)
    for one, name in zip(found, ("base", "encoder", "decoder"), strict=True):
        (wanted,) = turnout.load(place / name, threads=1).decode([batch[found.index(one)]])
        assert one.hypotheses[0].tokens == wanted.hypotheses[0].tokens
        expected = pytest.approx(wanted.hypotheses[0].log_prob, abs=1e-3)
        assert one.hypotheses[0].log_prob == expected
    # The numbers are the same bits: what adds them up is not.
    path = routed.backend._encoders.get(1).model.state_dict()  # type: ignore[attr-defined]
    stored = weights_of(ModelFolder.open(place / "encoder"))
    for name in filter(experts_of("encoder"), stored):
        assert np.array_equal(path[name].numpy(), stored[name])


def test_an_adapter_without_a_fitting_utterance_changes_nothing(place: Path) -> None:
    batch = [utterance(i, language) for i, language in enumerate(("en", "haw", "en"))]
    plain = turnout.load(place / "base", threads=1)
    adapters = [place / "for-zh", place / "for-haw"]
    routed = turnout.load(place / "base", adapters=adapters, threads=1)
    assert routed.decode(batch) == plain.decode(batch)


def test_experts_are_told_of(place: Path) -> None:
    routed = turnout.load(place / "base", adapters=[place / "for-zh"], threads=1)
    for one, expert in zip(routed.decode(mixed()), (0, 1, 0, 0, 0, 1, 0, 1), strict=True):
        assert one.expert_index is not None
        assert one.expert_index.shape == (2, FRAMES // 2)
        assert np.all(one.expert_index == expert)


def test_the_most_conditions_win_and_then_the_order(place: Path) -> None:
    base = place / "base"
    other = trained(base, place / "other", experts_of("decoder"), seed=9)
    zh = adapter(base, place / "decoder", place / "zh", language="zh")
    wide = adapter(base, other, place / "wide", bandwidth="wideband")
    both = adapter(base, other, place / "both", language="zh", bandwidth="wideband")
    batch = [utterance(0, "zh")]

    def heard(name: str, *adapters: Path) -> list[Decoded]:
        return turnout.load(place / name, adapters=adapters, threads=1).decode(batch)

    assert heard("base", zh, wide) == heard("decoder")
    assert heard("base", wide, zh) == heard("other")
    assert heard("base", zh, both) == heard("other")


@pytest.mark.parametrize("given", [(), ("zh", "haw")])
def test_a_supervised_model_runs_on_its_dense_graphs(
    place: Path, tmp_path: Path, given: tuple[str, ...]
) -> None:
    """As PyTorch runs it, whose graphs know experts."""
    by_language = RoutingConfig(
        kind="supervised", guided_by=(Guide.LANGUAGE,), experts_for=given, layers=(1,)
    )
    by_task = RoutingConfig(kind="supervised", guided_by=(Guide.TASK,))
    routings = {"encoder": by_language, "decoder": by_task}
    model = supervised(place / "base", tmp_path / "supervised", routings)
    batch = [*mixed()[:4], mixed()[5]]
    found = turnout.load(model, threads=1).decode(batch)
    wanted = turnout.load(model, threads=1, backend="torch").decode(batch)
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.expert_index, other.expert_index)  # type: ignore[arg-type]
        for hypothesis, expected in zip(one.hypotheses, other.hypotheses, strict=True):
            assert hypothesis.tokens == expected.tokens
            assert hypothesis.log_prob == pytest.approx(expected.log_prob, abs=1e-3)
    assert {int(one.expert_index.max()) for one in found if one.expert_index is not None} == {
        0,
        1,
        2,
    }


def test_a_path_is_opened_once_and_closed_when_others_are_wanted() -> None:
    from turnout.backends.paths import Paths

    made: list[int] = []

    def opened(number: int) -> Backend:
        made.append(number)
        return object()  # type: ignore[return-value]

    first: Backend = object()  # type: ignore[assignment]
    paths = Paths(opened, first, most=2)
    assert paths.get(0) is first
    kept = paths.get(1)
    assert paths.get(1) is kept and paths.get(0) is first
    paths.get(2)  # 1 goes, the one that was asked for longest ago
    assert paths.get(0) is first and made == [1, 2]
    assert paths.get(1) is not kept and made == [1, 2, 1]


def test_the_base_stays_open_and_no_path_is_opened_for_each_batch_anew() -> None:
    from turnout.backends.paths import Paths

    made: list[int] = []

    def opened(number: int) -> Backend:
        made.append(number)
        return object()  # type: ignore[return-value]

    first: Backend = object()  # type: ignore[assignment]
    paths = Paths(opened, first)
    for _ in range(3):
        for number in range(16):
            paths.get(number)
    assert made == [*range(1, 16)]
    small = Paths(opened, first, most=2)
    small.get(1)
    small.get(2)
    assert small.get(0) is first and 0 not in made


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_path_that_cannot_be_opened_is_an_error_of_its_own_utterances(
    place: Path, tmp_path: Path, stack: str
) -> None:
    """The folder was moved since the model was loaded."""
    base = tmp_path / "base"
    copytree(place / "base", base)
    batch = [utterance(0, "en"), utterance(1, "zh"), utterance(3, "haw")]
    expert = adapter(base, place / stack, tmp_path / "zh", language="zh")
    routed = turnout.load(base, adapters=[expert], threads=1)
    wanted = turnout.load(base, threads=1).decode([batch[0], batch[2]])
    base.rename(tmp_path / "moved")
    first, lost, last = routed.decode(batch)
    assert isinstance(lost.error, ModelFolderError) and not lost.hypotheses
    assert [one.hypotheses for one in (first, last)] == [one.hypotheses for one in wanted]
    (tmp_path / "moved").rename(base)
    assert routed.decode(batch)[1].error is None


def test_lengths_and_ctc_of_other_models(tmp_path: Path) -> None:
    """Each part is as long as its longest, so that it comes out as it does alone."""
    base = Path(exported("dense"))
    model = trained(base, tmp_path / "model", lambda name: name.endswith("norm.weight"))
    found = adapter(base, model, tmp_path / "adapter", bandwidth="narrowband")
    routed = turnout.load(base, adapters=[found], threads=1)
    lengths, widths = (61, 128, 9, 77), (NARROW, Bandwidth.WIDEBAND, NARROW, Bandwidth.WIDEBAND)
    batch = [
        Utterance(heard(i, frames), Request(language="en", bandwidth=width), OPTIONS)
        for i, (frames, width) in enumerate(zip(lengths, widths, strict=True))
    ]
    together = routed.decode(batch)
    for name, places in ((model, (0, 2)), (base, (1, 3))):
        assert [together[i] for i in places] == of_path(
            turnout.load(name, threads=1), batch, places
        )


def heard(seed: int, frames: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(frames, 80)).astype(np.float32)
