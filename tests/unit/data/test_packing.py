"""Utterances in windows: none lost, none twice, one path each, never more than fits."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.doubles import model_config
from turnout.config import AugmentConfig, CorpusConfig, DataConfig, JoinConfig
from turnout.corpora.clips import Clip
from turnout.data.fitting import tell_of_lone
from turnout.data.packing import MOST_OPEN, Room, packed, path_of
from turnout.data.plan import CorpusPlanner, Written
from turnout.errors import ConfigError
from turnout.guidance import Bandwidth, Window


def clip(number: int, language: str = "en", translations: tuple[str, ...] = ()) -> Clip:
    return Clip(
        id=str(number), path=f"{number}.wav", start=0.0, duration=1.0, channel=None, text="one",
        language=language, speaker=None, bandwidth=list(Bandwidth)[number % 3 == 0],
        translations=dict.fromkeys(translations, "ja"), split=None,
    )  # fmt: skip


Drawn = some.lists(
    some.tuples(some.integers(1, 3500), some.integers(0, 60), some.sampled_from(["en", "ar"])),
    min_size=1,
    max_size=40,
)


@given(Drawn)
def test_every_clip_is_in_one_window_of_its_path_and_they_fit(
    drawn: list[tuple[int, int, str]],
) -> None:
    clips = [clip(n, language) for n, (_, _, language) in enumerate(drawn)]
    frames, tokens = (np.array([one[i] for one in drawn], float) for i in (0, 1))
    room = Room(3000, 100, frames, tokens)
    order = np.random.default_rng(0).permutation(len(clips)).tolist()
    windows = packed(order, clips, room)
    assert sorted(one for window in windows for one in window) == sorted(order)
    for window in windows:
        assert len({path_of(clips[one]) for one in window}) == 1
        assert len(window) == 1 or frames[list(window)].sum() <= 3000
        assert len(window) == 1 or tokens[list(window)].sum() <= 100
    # Of two windows on one path, the first has no room for what begins the second.
    for path in {path_of(one) for one in clips}:
        own = [window for window in windows if path_of(clips[window[0]]) == path]
        for before, after in pairwise(own[:MOST_OPEN]):
            more = [*before, after[0]]
            first = [one for one in more if order.index(one) <= order.index(after[0])]
            assert frames[first].sum() > 3000 or tokens[first].sum() > 100


def planner(
    counts: list[int], pack: bool = True, max_pause: float = 0.5, **augment: object
) -> CorpusPlanner:
    model = model_config(window_seconds=30.0)
    data = DataConfig(
        train=(CorpusConfig(cuts="c", pack=pack),),
        join=JoinConfig(min_pause=0.1, max_pause=max_pause),
        augment=AugmentConfig(empty=0.0, **augment),  # pyright: ignore[reportArgumentType]
    )
    written = Written(np.full(len(counts), 3), 90)
    clips = [clip(n) for n in range(len(counts))]
    return CorpusPlanner(0, clips, np.array(counts), data, model, written=written)


def test_an_epoch_hears_every_clip_once_in_fewer_windows() -> None:
    counts = np.random.default_rng(1).integers(20, 900, 120).tolist()
    for speed in ((0.85, 1.18), (1.0, 1.0)):
        found = planner(counts, speed=speed).utterances(0, 0, 120, 6)
        heard = sorted(one for utterance in found for one in utterance.joining.clips)
        assert heard == list(range(120))  # nothing was cut off to make it fit
        lengths = [utterance.shape.num_frames for utterance in found]
        assert max(lengths) <= 3000 and len(found) < 120 / 3
        assert all(len(u.shape.counts) == len(u.joining.clips) for u in found)
        # Planned for the slowest tempo, most of a window is used.
        assert np.mean(lengths) > 3000 * 0.95 * min(speed) * 0.85


def test_an_epoch_follows_from_seed_and_epoch() -> None:
    one, two = planner([200] * 40), planner([200] * 40)
    assert one.utterances(3, 1, 40, 6) == two.utterances(3, 1, 40, 6)
    assert one.utterances(3, 1, 40, 6) != one.utterances(3, 2, 40, 6)


def test_packing_in_vain_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for lonely in (planner([900] * 8, max_pause=20), planner([2500] * 8)):
        assert lonely.clips_per_window == 1
        tell_of_lone(lonely)
        assert "leaves 1.00 clips in a window" in caplog.text
        assert f"max_pause ({lonely.config.join.max_pause:g} s)" in caplog.text
        caplog.clear()
    assert planner([900] * 8).clips_per_window == 8 / 5  # three by telephone, five not
    tell_of_lone(planner([900] * 8))
    tell_of_lone(planner([2500] * 8, pack=False))
    assert not caplog.records


def test_packing_is_for_padded_windows_and_training() -> None:
    corpus = CorpusConfig(cuts="c", pack=True)
    with pytest.raises(ConfigError, match=r"data.window is 'speech', and pack"):
        DataConfig(train=(corpus,), window=Window.SPEECH)
    with pytest.raises(ConfigError, match=r"data.dev: pack is for training"):
        DataConfig(dev=(corpus,))
    assert DataConfig(train=(corpus,), dev=(CorpusConfig(cuts="c"),)).train[0].pack


def test_without_packing_each_is_alone() -> None:
    found = planner([200] * 40, pack=False).utterances(0, 0, 40, 6)
    assert sorted(u.joining.clips for u in found) == [(n,) for n in range(40)]
