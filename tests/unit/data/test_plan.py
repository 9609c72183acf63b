from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.data.words import PLAIN, data_of, small_model, write_words
from turnout.config import (
    AugmentConfig,
    ChannelConfig,
    CorpusConfig,
    FeatureConfig,
    JoinConfig,
)
from turnout.corpora.clips import read_clips
from turnout.data.epoch import epoch_sizes, pack, rank_share, words_at
from turnout.data.plan import CorpusPlanner
from turnout.data.store import open_store
from turnout.data.variants import VariantConfig
from turnout.errors import TrainingError


@pytest.fixture
def cuts(tmp_path: Path) -> str:
    return write_words(tmp_path / "audio")


def planner(cuts: str, *, longest: int = 3000, number: int = 0, **changes: object) -> CorpusPlanner:
    config = data_of(cuts, **changes)
    settings = VariantConfig(
        features=FeatureConfig(),
        telephone_variants=2,
        narrowband=True,
        trim=config.train[number].join,
    )
    store = open_store(read_clips(cuts), settings, Path(cuts).parent)
    model = small_model(window_seconds=longest / 100)
    return CorpusPlanner(number, store.clips, store.counts, config, model)


def test_the_curriculum_goes_by_the_share_of_the_run() -> None:
    config = JoinConfig(max_words=6, curriculum=((0.05, 1), (0.15, 3)))
    assert [words_at(config, share) for share in (0.0, 0.049, 0.05, 0.14, 0.15, 1.0)] == [
        1, 1, 3, 3, 6, 6,
    ]  # fmt: skip


def test_utterances_follow_seed_and_epoch(cuts: str) -> None:
    made = planner(cuts)
    first, again = made.utterances(1, 2, 20, 6), made.utterances(1, 2, 20, 6)
    assert first == again
    assert made.utterances(2, 2, 20, 6) != first != made.utterances(1, 3, 20, 6)
    # An utterance does not depend on how many others there are, but by who speaks.
    assert [u.index for u in first] == list(range(20))


def test_the_word_limit_holds(cuts: str) -> None:
    made = planner(cuts)
    assert {len(u.joining.clips) for u in made.utterances(0, 0, 60, 1)} == {1}
    assert {len(u.joining.clips) for u in made.utterances(0, 0, 60, 3)} == {1, 2, 3}


def test_narrowband_shares_and_variants(cuts: str) -> None:
    made = planner(cuts, augment=AugmentConfig(narrowband=0.5))
    utterances = made.utterances(0, 0, 400, 6)
    assert 0.4 < np.mean([utterance.narrow for utterance in utterances]) < 0.6
    for utterance in utterances:
        assert utterance.variant in ({1, 2} if utterance.narrow else {0})


def test_wideband_draws_from_the_channels_versions(cuts: str) -> None:
    channel = ChannelConfig(wideband_variants=3)
    augment = AugmentConfig(narrowband=0.5, channel=channel)
    made = planner(cuts, augment=augment, train=(CorpusConfig(cuts=cuts),))
    versions: dict[int, set[int]] = {}
    for epoch in range(8):
        for utterance in made.utterances(0, epoch, 24, 6):
            assert utterance.variant in ({1, 2} if utterance.narrow else {3, 4, 5})
            versions.setdefault(utterance.joining.clips[0], set()).add(utterance.variant)
    # Another room, noise and line in other epochs.
    assert min(map(len, versions.values())) >= 3
    off = replace(augment, channel=replace(channel, wideband_variants=0))
    wide = [u for u in planner(cuts, augment=off).utterances(0, 0, 50, 6) if not u.narrow]
    assert {utterance.variant for utterance in wide} == {0}


def test_native_narrowband_draws_from_all_variants(tmp_path: Path) -> None:
    made = planner(write_words(tmp_path / "8k", rate=8000), augment=AugmentConfig(narrowband=0.0))
    utterances = made.utterances(0, 0, 100, 6)
    assert all(utterance.narrow for utterance in utterances)
    assert {utterance.variant for utterance in utterances} == {0, 1, 2}


def test_nothing_outgrows_the_window(cuts: str) -> None:
    made = planner(cuts, longest=250)
    utterances = made.utterances(0, 0, 200, 6)
    assert max(utterance.shape.num_frames for utterance in utterances) <= 250
    assert len({len(utterance.joining.clips) for utterance in utterances}) > 1


def test_a_clip_as_long_as_the_window_is_never_longer(cuts: str) -> None:
    whole = (CorpusConfig(cuts=cuts),)
    utterances = planner(cuts, train=whole, longest=101).utterances(0, 0, 24, 6)
    assert max(utterance.shape.num_frames for utterance in utterances) <= 101


def nobody(cuts: str, **changes: object) -> CorpusPlanner:
    """The same corpus, its speakers unknown."""
    made = planner(cuts, **changes)
    return replace(made, clips=[replace(clip, speaker=None) for clip in made.clips])


def test_strangers_are_not_joined(cuts: str) -> None:
    made = nobody(cuts)
    for utterance in made.utterances(0, 0, 100, 6):
        assert len(utterance.joining.clips) == 1
    # Each clip about once an epoch, as of known speakers.
    assert made.natural_size(6) == 24
    assert planner(cuts).natural_size(6) == 24 * 2 / 7
    assert made.mean_frames(6) < planner(cuts).mean_frames(6)


def test_a_recording_of_a_stranger_is_joined_with_itself(cuts: str) -> None:
    made = nobody(cuts)
    paths = [clip.path for clip in made.clips]
    shared = [
        replace(clip, path=paths[0 if n < 3 else n], channel=int(n == 2))
        for n, clip in enumerate(made.clips)
    ]
    utterances = replace(made, clips=shared).utterances(0, 0, 400, 6)
    joined = {
        utterance.joining.clips for utterance in utterances if len(utterance.joining.clips) > 1
    }
    # Two segments of one channel; the third is another channel, and so another person.
    assert joined == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert (2,) in {utterance.joining.clips for utterance in utterances}


def test_an_epoch_of_whole_utterances_holds_each_once(cuts: str) -> None:
    made = planner(cuts, train=(CorpusConfig(cuts=cuts),), augment=PLAIN)
    drawn = [utterance.joining.clips for utterance in made.utterances(0, 0, 24, 6)]
    assert sorted(drawn) == [(clip,) for clip in range(24)]
    twice = [utterance.joining.clips for utterance in made.utterances(0, 0, 48, 6)]
    assert sorted(twice) == sorted([*drawn, *drawn])


def test_sizes_follow_weights_and_hours(cuts: str) -> None:
    config = (CorpusConfig(cuts=cuts), CorpusConfig(cuts=cuts, weight=3.0))
    planners = [planner(cuts, train=config, number=number) for number in (0, 1)]
    assert epoch_sizes(planners, None, 6) == [24, 72]
    assert epoch_sizes(planners, 1.0, 6) == [900, 2700]
    joined = planner(cuts)
    assert epoch_sizes([joined], None, 1) == [24]
    assert epoch_sizes([joined], None, 6) == [7]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=200),
    st.integers(50, 1500),
    st.integers(0, 1000),
)
def test_packing_keeps_each_utterance_once_within_the_budget(
    lengths: list[int], budget: int, seed: int
) -> None:
    batches = pack(lengths, budget, np.random.default_rng(seed))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= budget or len(batch) == 1


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 99))
def test_ranks_share_the_batches_evenly(count: int, world_size: int, seed: int) -> None:
    batches = [[number] for number in range(count)]
    dealt = [
        rank_share(batches, rank, world_size, np.random.default_rng(seed))
        for rank in range(world_size)
    ]
    assert {len(part) for part in dealt} == {-(-count // world_size)}
    numbers = [batch[0] for part in dealt for batch in part]
    assert set(numbers) == set(range(count))
    if count % world_size == 0:
        assert len(numbers) == count


def test_excluded_texts_are_never_made(cuts: str) -> None:
    def texts(exclude: tuple[str, ...]) -> set[str]:
        made = planner(cuts, join=JoinConfig(max_words=2, exclude=exclude))
        return {
            " ".join(made.clips[clip].text for clip in utterance.joining.clips)
            for utterance in made.utterances(0, 0, 300, 2)
        }

    assert {"uno dos", "tres"} <= texts(())
    assert {"uno dos", "tres"}.isdisjoint(texts(("uno dos", "tres")))


def test_excluding_everything_is_an_error(cuts: str) -> None:
    made = planner(cuts, join=JoinConfig(max_words=1, exclude=("uno", "dos", "tres", "cuatro")))
    with pytest.raises(TrainingError, match="exclude leaves nothing to say for speaker s"):
        made.utterances(0, 0, 1, 1)
