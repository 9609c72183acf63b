"""Records and statistics of routing -> JSON and tables."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from turnout.inspection.counts import SEED, SHUFFLES, guides_of
from turnout.inspection.record import Layout, RoutingRecord, colours_of
from turnout.inspection.statistics import Statistics, Told, dead_in_words


def record_json(record: RoutingRecord, layout: Layout, decoder: Layout | None = None) -> str:
    """One recording: the expert of every frame of every feed-forward, and the words."""
    transcript = record.transcript
    stacks = {"decoder": _experts(record, decoder)} if decoder else {}
    return _dump(
        {
            "file": record.name,
            "duration_seconds": round(transcript.duration_seconds, 3),
            "bandwidth": str(transcript.bandwidth),
            "language": transcript.language,
            "text": transcript.text,
            "words": [
                {"word": word.word, "start": round(word.start, 3), "end": round(word.end, 3)}
                for word in record.words
            ],
            **_experts(record, layout),
            **stacks,
        }
    )


def _experts(record: RoutingRecord, layout: Layout) -> dict[str, Any]:
    return {**_layout(layout), "expert_index": record.index_of(layout).tolist()}


def statistics_json(
    statistics: Statistics,
    heard: Mapping[str, object],
    decoder: Statistics | None = None,
    compared: dict[str, Any] | None = None,
) -> str:
    """All recordings together, behind what is said of what was `heard`; `compared` is what
    `figures_of` tells of another model."""
    other = {"compare": compared} if compared else {}
    return _dump({**heard, **figures_of(statistics, decoder), **other})


def figures_of(statistics: Statistics, decoder: Statistics | None = None) -> dict[str, Any]:
    """A model's statistics, the decoder's inside."""
    stacks = {"decoder": _figures(decoder)} if decoder else {}
    return {**_figures(statistics), **stacks}


def _figures(statistics: Statistics) -> dict[str, Any]:
    layout = statistics.layout
    return {
        **_layout(layout),
        "frames": statistics.frames.tolist(),
        "load": _rounded(statistics.load),
        "entropy": _rounded(statistics.entropy),
        "same_expert": _rounded(statistics.same_expert),
        "mutual_information": _rounded(statistics.mutual_information),
        "by_guidance": {key: counts.tolist() for key, counts in statistics.by_guidance.items()},
        "load_by": _load_by(statistics),
        "router_entropy": _known(statistics.doubt),
        "router_probability": _known(statistics.probability),
        "adjusted_mutual_information": _rounded(statistics.adjusted_information),
        "shuffled_mutual_information": _rounded(statistics.chance),
        "shuffles": {"times": SHUFFLES, "seed": SEED},
        "mean_stretch": {"unit": layout.unit, "length": _rounded(statistics.run_length)},
        "letters": _told(statistics.letters),
        "silence": _told(statistics.silence),
        "speakers": _told(statistics.speakers),
        "dead": _named(statistics.dead),
        "starved": _named(statistics.starved),
    }


def _load_by(statistics: Statistics) -> list[dict[str, Any]]:
    """Frames of each layer and expert for each kind of recording, such as a language."""
    guides = guides_of(statistics.layout)
    return [
        {**dict(zip(guides, values, strict=True)), "frames": frames.tolist()}
        for values, frames in statistics.counts.by_guidance.items()
    ]


def _told(told: Told) -> dict[str, Any]:
    return {
        "labels": list(told.labels),
        "frames": told.counts.tolist(),
        "share_of_choice": _rounded(told.share),
        "shuffled": _rounded(told.chance),
    }


def _named(experts: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"layer": layer, "expert": expert} for layer, expert in experts]


def _known(values: np.ndarray | None) -> list[Any] | None:
    return None if values is None else _rounded(values)


def statistics_table(statistics: Statistics) -> RenderableType:
    """Load of each expert by layer, then by guidance, then the experts that took nothing."""
    layout = statistics.layout
    if not layout.experts and layout.kind != "dense":
        return Text(f"{layout.stack}: a learned router ({layout.kind}), whose choices are not told")
    if not layout.experts:
        return Text(
            f"{layout.stack}: dense: every {'frame' if layout.stack == 'encoder' else 'word'} "
            "takes the same way, so there is no routing to count"
        )
    if not statistics.frames.any():
        return Text(f"{layout.stack}: no speech was found, so nothing was routed")
    parts: list[RenderableType] = [_load_table(statistics), Text(), _guidance_table(statistics)]
    if layout.learned and len(layout.feed_forwards) > 1:
        parts += [Text(), Text(_agreement_in_words(statistics))]
    # Of a guided decoder's experts, those of the task that nobody asked for never have any.
    told = layout.stack == "encoder" or (layout.learned and not layout.guides)
    dead = dead_in_words(statistics) if told else ()
    if dead:
        parts += [Text(), *(Text(phrase, style="yellow") for phrase in dead)]
    return Group(*parts)


def _load_table(statistics: Statistics) -> Table:
    table = _table(statistics.layout, f"{statistics.layout.stack} layer")
    table.add_column("entropy", justify="right")
    rows = zip(statistics.layout.feed_forwards, statistics.load, statistics.entropy, strict=True)
    for name, shares, entropy in rows:
        table.add_row(name, *(_percent(share) for share in shares), f"{entropy:.2f}")
    return table


def _guidance_table(statistics: Statistics) -> Table:
    table = _table(statistics.layout, "guidance")
    table.add_column(f"{statistics.layout.unit}s", justify="right")
    for key, counts in statistics.by_guidance.items():
        shares = counts / max(counts.sum(), 1)
        frames = counts.sum() // max(len(statistics.layout.feed_forwards), 1)
        table.add_row(Text(key), *(_percent(share) for share in shares), f"{frames:,}")
    return table


def _table(layout: Layout, first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for name, colour in zip(layout.experts, colours_of(layout.experts), strict=True):
        heading = f"expert {name}" if name.isdigit() else name
        table.add_column(Text(heading, style=colour), justify="right", min_width=6)
    return table


def _agreement_in_words(statistics: Statistics) -> str:
    upper = np.triu_indices(len(statistics.layout.feed_forwards), 1)
    same = statistics.same_expert[upper].mean()
    information = statistics.mutual_information[upper].mean()
    return (
        f"agreement between layers, mean over pairs: same expert {100 * same:.0f} % of "
        f"{statistics.layout.unit}s, "
        f"normalised mutual information {information:.2f}, {statistics.agreement:.2f} beyond chance"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share else "-"


def _layout(layout: Layout) -> dict[str, Any]:
    return {
        "routing": layout.kind,
        "layers": list(layout.feed_forwards),
        "experts": list(layout.experts),
        "frame_seconds": layout.frame_seconds,
    }


def _rounded(values: np.ndarray) -> list[Any]:
    return np.round(values, 4).tolist()


def _dump(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
