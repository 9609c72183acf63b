import json
from dataclasses import replace
from io import BytesIO, StringIO

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from turnout.config import FeatureConfig
from turnout.guidance import Bandwidth, Guidance, Task
from turnout.inspection.picture import draw, pages
from turnout.inspection.record import Layout, RoutingRecord, colours_of
from turnout.inspection.report import record_json, statistics_json, statistics_table
from turnout.inspection.statistics import statistics_of
from turnout.text.transcript import Segment, Transcript, Word

OMNI = Layout(("1", "2"), ("0", "1"), "omni", 0.04)
DENSE = Layout((), (), "dense", 0.04)


def record(layout, seconds=2.0, name="a.wav", word="يمين"):
    frames = round(seconds * 100)
    hidden = -(-frames // 4)
    index = np.zeros((len(layout.feed_forwards), hidden), np.int64)
    index[:, hidden // 2 :] = 1
    words = (Word(start=0.1, end=0.6, word=word), Word(start=0.6, end=0.7, word="and a long one"))
    return RoutingRecord(
        name=name,
        log_mel=np.random.default_rng(0).random((frames, 80), np.float32),
        expert_index=index,
        guidance=Guidance(bandwidth=Bandwidth.NARROWBAND, language="ar"),
        transcript=Transcript(
            text=word, language="ar", task=Task.TRANSCRIBE, duration_seconds=seconds,
            bandwidth=Bandwidth.NARROWBAND,
            segments=(Segment(id=0, start=0, end=seconds, text=word, words=words),),
        ),
    )  # fmt: skip


def pixels(png):
    return (imread(BytesIO(png))[:, :, :3] * 255).round().astype(int)


def share_of(image, colour):
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return (image == wanted).all(axis=2).mean()


def test_half_the_frames_have_each_colour():
    image = pixels(draw(record(OMNI), OMNI, FeatureConfig(), dpi=60))
    first, second = (share_of(image, colour) for colour in colours_of(OMNI.experts))
    assert first > 0.05
    assert first == pytest.approx(second, rel=0.1)


@pytest.mark.parametrize("layout", [OMNI, DENSE])
def test_every_routing_gives_a_picture(layout):
    assert draw(record(layout), layout, FeatureConfig(), dpi=40).startswith(b"\x89PNG")


def test_names_with_formulas_and_unknown_letters_are_only_text():
    made = record(OMNI, name=r"$\frac{ a.wav", word="語 $x_")
    assert draw(made, OMNI, FeatureConfig(), dpi=40).startswith(b"\x89PNG")


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 31.0])
def test_any_length_is_drawn_page_by_page(seconds):
    made = record(OMNI, seconds)
    starts = pages(made)
    assert starts == ([0.0, 30.0] if seconds > 30 else [0.0])
    for start in starts:
        assert draw(made, OMNI, FeatureConfig(), start=start, dpi=30)


@pytest.mark.parametrize("experts", [2, 8, 9, 40])
def test_every_expert_has_a_colour_of_its_own(experts):
    colours = colours_of([str(expert) for expert in range(experts)])
    assert len(set(colours)) == experts
    assert all(len(colour) == 7 for colour in colours)


def test_hybrid_groups_share_a_hue():
    colours = colours_of(["narrowband 0", "narrowband 1", "wideband 0", "wideband 1"])
    assert len(set(colours)) == 4


def test_the_json_holds_every_frame_and_word():
    content = json.loads(record_json(record(OMNI), OMNI))
    assert np.array(content["expert_index"]).shape == (2, 50)
    assert content["words"][0] == {"word": "يمين", "start": 0.1, "end": 0.6}
    assert content["experts"] == ["0", "1"]


def test_the_statistics_are_json_and_a_table():

    found = statistics_of([record(OMNI)], OMNI)
    assert json.loads(statistics_json(found, {}))["load"] == [[0.5, 0.5], [0.5, 0.5]]
    console = Console(record=True, width=100, file=StringIO())
    console.print(statistics_table(found))
    text = console.export_text()
    assert "50.0 %" in text
    assert "same expert 100 %" in text


def test_both_stacks_have_their_rows_and_names() -> None:
    decoder = Layout(("1",), ("transcribe", "translate"), "supervised", 0.04, "decoder")
    made = record(OMNI)
    made = replace(made, decoder_index=np.full((1, made.expert_index.shape[1]), 1, np.int64))
    both = pixels(draw(made, OMNI, FeatureConfig(), decoder=decoder, dpi=60))
    one = pixels(draw(made, OMNI, FeatureConfig(), dpi=60))
    assert len(both) > len(one)
    second = colours_of(OMNI.experts)[1]
    assert share_of(both, second) * both.size > 1.3 * share_of(one, second) * one.size
    content = json.loads(record_json(made, OMNI, decoder))
    assert content["decoder"]["experts"] == ["transcribe", "translate"]
    assert content["decoder"]["expert_index"] == made.decoder_index.tolist()
    figures = [statistics_of([made], layout) for layout in (OMNI, decoder)]
    found = json.loads(statistics_json(figures[0], {}, figures[1]))
    assert found["routing"] == "omni" and found["decoder"]["load"] == [[0.0, 1.0]]
    console = Console(file=StringIO(), width=120)
    console.print(statistics_table(figures[1]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "decoder layer" in text and "100.0 %" in text and "took no frame" not in text


def test_a_recording_without_speech_has_a_picture_of_both_stacks():
    decoder = Layout(("1",), ("transcribe", "translate"), "supervised", 0.04, "decoder")
    silent = replace(record(OMNI, 0.0), decoder_index=np.zeros((1, 0), np.int64))
    drawn = pixels(draw(silent, OMNI, FeatureConfig(), decoder=decoder, dpi=40))
    assert len(drawn) > len(pixels(draw(silent, OMNI, FeatureConfig(), dpi=40)))


def test_a_decoder_s_tokens_are_called_so_and_its_dead_experts_told_of():
    decoder = Layout(("1", "2"), ("0", "1"), "switch", 0.04, "decoder")
    chosen = np.zeros((2, 3, 2), np.float32)
    chosen[..., 1] = 1
    found = statistics_of([replace(record(OMNI), token_probabilities=chosen)], decoder)
    console = Console(file=StringIO(), width=200)
    console.print(statistics_table(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "tokens" in text and "frames" not in text
    assert "expert '0' took no token in any layer" in text


def test_every_expert_of_two_legends_has_its_place():
    """Sixteen of each stack: none is drawn over another, and none over the title."""
    experts = tuple(map(str, range(16)))
    stacks = [replace(OMNI, experts=experts), replace(OMNI, experts=experts, stack="decoder")]
    made = replace(record(OMNI), decoder_index=np.full((2, 50), -1, np.int64))
    made = replace(made, expert_index=made.decoder_index)  # colours are the legends' alone
    image = pixels(draw(made, stacks[0], FeatureConfig(), decoder=stacks[1], dpi=60))
    shares = [share_of(image, colour) for colour in colours_of(experts)]
    assert min(shares) > 0.8 * max(shares) > 0
    alone = pixels(draw(made, stacks[0], FeatureConfig(), dpi=60))
    once = [share_of(alone, colour) * alone.size for colour in colours_of(experts)]
    assert np.array(shares).sum() * image.size == pytest.approx(2 * sum(once), rel=0.1)


def test_a_recording_without_speech_says_so_on_stdout():
    console = Console(file=StringIO(), width=200)
    console.print(statistics_table(statistics_of([record(OMNI, 0.0)], OMNI)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text == "encoder: no speech was found, so nothing was routed\n"
