"""The picture of docs/results.md: how each claim's word errors came out on test, beside the paper.

    python benchmarks/verdicts.py [-o docs/images/verdicts.png]

Made of the results that are committed: a point for the relative change of the word error rate, a
line for its 95 % interval, a diamond for the paper's figure where it has one. O3, of the loss, and
P4, of chrF, are no word errors, and O4 is about one set: they stand in the text alone.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from origin import ROOT

matplotlib.use("agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
MULTITASK = "multitask-test-1000-from2500-small"
OMNI = "omni-whisper-test-above3-800-head400-float32"
PRETRAINED = "pretrained-test-1200-rate0.0001"
OUTSIDE, TAUGHT, NOT_TAUGHT = "out of domain", "taught", "not taught"
BETTER, WORSE, UNDECIDED, PAPER = "#228833", "#cc3311", "#4477aa", "#444444"


@dataclass(frozen=True)
class Claim:
    """What was asked, and where the answer lies in a result."""

    label: str
    result: str
    place: tuple[str, ...]
    """Keys down to the figures of a row."""
    change: str
    """The key of the relative change."""
    paper: float | None = None


CLAIMS = (
    Claim(
        "S1  S-MoE beside hard sharing",
        MULTITASK,
        ("rows", "smoe", "average"),
        "relative change",
        -6.35,
    ),
    Claim("S2  hybrid beside S-MoE", MULTITASK, ("beside smoe", "hybrid"), "relative change"),
    Claim(
        "O1  Omni-router beside Switch, out of the domain",
        OMNI,
        ("figures", "omni", OUTSIDE),
        "wer, change to switch",
        -8.2,
    ),
    Claim(
        "O2  Omni-router beside dense, out of the domain",
        OMNI,
        ("figures", "omni", OUTSIDE),
        "wer, change to dense",
        -11.2,
    ),
    Claim(
        "P1  S-MoE beside hard sharing, from Whisper",
        PRETRAINED,
        ("figures", "smoe", TAUGHT),
        "wer, change to hard",
        -6.35,
    ),
    Claim(
        "P2  by language beside hard sharing (two seeds)",
        f"{PRETRAINED}-language",
        ("figures", "smoe-language", TAUGHT),
        "wer, change to hard",
    ),
    Claim(
        "P3  hybrid beside S-MoE, from Whisper (two seeds)",
        f"{PRETRAINED}-hybrid",
        ("figures", "hybrid", TAUGHT),
        "wer, change to smoe",
    ),
    Claim(
        "P5  S-MoE beside hard sharing, not taught",
        PRETRAINED,
        ("figures", "smoe", NOT_TAUGHT),
        "wer, change to hard",
    ),
    Claim(
        "P5  by language beside hard sharing, not taught",
        f"{PRETRAINED}-language",
        ("figures", "smoe-language", NOT_TAUGHT),
        "wer, change to hard",
    ),
)


def found(claim: Claim) -> tuple[float, float, float]:
    """Estimate, lower and upper end, in percent."""
    figures = json.loads((RESULTS / f"{claim.result}.json").read_text("utf-8"))
    for key in claim.place:
        figures = figures[key]
    low, high = figures[f"{claim.change}, interval"]
    return figures[claim.change], low, high


def draw(path: Path) -> None:
    """A line for each claim, the first on top."""
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(CLAIMS) + 1.2), layout="constrained")
    for place, claim in enumerate(CLAIMS):
        estimate, low, high = found(claim)
        colour = BETTER if high < 0 else WORSE if low > 0 else UNDECIDED
        axes.plot([low, high], [place, place], color=colour, linewidth=2.5)
        axes.plot(estimate, place, "o", color=colour, markersize=7)
        axes.annotate(
            f"{estimate:+.1f} %",
            (high, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
        if claim.paper is not None:
            axes.plot(claim.paper, place, "D", color=PAPER, fillstyle="none", markersize=7)
    axes.plot([], [], "D", color=PAPER, fillstyle="none", label="the paper")
    axes.plot([], [], "o-", color=BETTER, label="fewer errors")
    axes.plot([], [], "o-", color=UNDECIDED, label="undecided")
    axes.plot([], [], "o-", color=WORSE, label="more errors")
    axes.axvline(0, color=PAPER, linewidth=0.8)
    axes.set_yticks(range(len(CLAIMS)), [claim.label for claim in CLAIMS])
    axes.invert_yaxis()
    axes.set_xlabel("relative change of the word error rate, % (95 % interval)")
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.3, 1.0), fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs/images/verdicts.png")
    draw(parser.parse_args().output)


if __name__ == "__main__":
    main()
