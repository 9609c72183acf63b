"""What a small draft head on the frozen encoder of a Whisper checkpoint would save its decoder.

    python benchmarks/draft_head.py --model FOLDER --kept FOLDER [--hours 3] [--minutes 60]
        [--timed 44] [--data ../shared/data]

`--model` is a converted checkpoint (`turnout convert`). Its own greedy transcripts of so many hours
of LibriSpeech's training speakers, joined up to its window, are what a CTC head of 512 channels is
taught to write from the frames (`draft_frames.py`, `draft_training.py`), in so many minutes of a
core's processor time; `--kept` holds frames, texts and the head, and a run that was stopped goes
on.

On the dev speakers, once a minute of training, the share of the decoder's tokens that the head
would have drafted is counted by the rule of `turnout.decoding.drafts`, played through on the text
that is known. On the test speakers the decoder itself reads the drafts, through the seam that it
has, once, after all training. Whisper may not begin with just any token, so the first step is the
prompt's alone, and the draft comes with the second.

"right": the share of the proposed tokens that the decoder wrote; "foreseen": the share of what it
wrote that was proposed, ends not counted; "known": the share that the head has an output for;
"steps": runs of the decoder's graph. Processor time is of the process, on one thread, in decoder
rows alone, the head among it, in an order that rotates, without drafts twice (the control); with
"perfect", the draft is what will be written: no head can save more. Ratios are of sums over
windows, with 95 % intervals over resampled windows. Writes results/draft_head.json.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from draft_frames import (
    LANGUAGE,
    SEED,
    Kept,
    Learned,
    Window,
    encoded,
    planned,
    tokens_of,
    values_of,
)
from draft_training import Head, HeadConfig, Training, balance, new_head, proposed_by
from numpy.typing import NDArray
from origin import ROOT, origin
from safetensors.numpy import load_file
from whisper_speed import rotated

import turnout
from turnout.decoding import greedy
from turnout.decoding.backend import Backend
from turnout.decoding.decode import rows_of
from turnout.decoding.drafts import Draft
from turnout.decoding.encoded_batch import DecoderRow, EncodedBatch, RowResult
from turnout.decoding.search import limits_of
from turnout.evaluation.intervals import RESAMPLES
from turnout.model_folder import WEIGHTS

AIM = 3.0
"""How many times as fast the decoder's part is to be."""
TIE = 1e-4
"""Log-probabilities that lie no further apart are equal."""
PLAIN, AGAIN, DRAFTED, PERFECT = "without", "without, again", "with drafts", "perfect"
BALANCED = 16
"""Windows from which the biases begin."""
END = -1
"""Of a text that is played through."""

Drafts = Callable[[EncodedBatch, Sequence[DecoderRow]], list[Draft]]


@dataclass(frozen=True)
class Opening(Draft):
    """A draft that waits for the first token, which may not be any; then it is proposed whole."""

    def proposed(self, room: int) -> tuple[int, ...]:  # noqa: ARG002 - there is no need of room
        """Nothing yet."""
        return ()

    def behind(self, right: int, token: int) -> Draft:
        """All of it, from where the first token says."""
        return replace(super().behind(right, token), most=None)


@dataclass
class Counted:
    """What became of drafts."""

    proposed: int = 0
    right: int = 0
    written: int = 0
    known: int = 0
    steps: int = 0
    without: int = 0
    """Steps, had there been no draft."""

    def shares(self) -> dict[str, Any]:
        """As they are reported."""
        return {
            "tokens": self.written,
            "known": round(self.known / max(self.written, 1), 4),
            "right": round(self.right / max(self.proposed, 1), 4),
            "foreseen": round(self.right / max(self.written, 1), 4),
            "steps": {DRAFTED: self.steps, PLAIN: self.without},
        }


def played(counted: Counted, text: tuple[int, ...], draft: Draft) -> None:
    """Adds what a draft saves of the writing of a text that is known, one row alone."""
    whole, place = (*text, END), 0
    counted.written += len(text)
    counted.without += len(whole)
    while place < len(whole):
        proposed = draft.proposed(len(whole))
        right = 0
        while right < len(proposed) and proposed[right] == whole[place + right]:
            right += 1
        counted.steps += 1
        counted.proposed += len(proposed)
        counted.right += right
        draft = draft.behind(right, whole[place + right])
        place += right + 1


def judged(head: Head, ids: Sequence[int], windows: Sequence[Learned]) -> Counted:
    """What the head's drafts save of these texts."""
    counted, known = Counted(), set(ids)
    for one in windows:
        drafted = proposed_by(head, ids, one.frames().astype(np.float32))
        played(counted, one.tokens, Opening(drafted))
        counted.known += sum(token in known for token in one.tokens)
    return counted


def heard_by(
    head: Head, ids: Sequence[int], batch: EncodedBatch, rows: Sequence[DecoderRow]
) -> list[Draft]:
    """The head's drafts of these rows."""
    return [Opening(proposed_by(head, ids, values_of(batch, row.entry))) for row in rows]


def nothing(_: EncodedBatch, rows: Sequence[DecoderRow]) -> list[Draft]:
    """No draft."""
    return [Draft() for _ in rows]


def known(texts: Sequence[RowResult], _: EncodedBatch, rows: Sequence[DecoderRow]) -> list[Draft]:
    """What will be written."""
    return [Opening(text.tokens) for text, _ in zip(texts, rows, strict=True)]


@dataclass
class Run:
    """Rows that were written in one way."""

    seconds: list[float] = field(default_factory=list)
    """Processor time of each batch."""
    texts: list[RowResult] = field(default_factory=list)
    counted: Counted = field(default_factory=Counted)


@contextmanager
def with_drafts(run: Run, drafts: Drafts, backend: type[Backend]) -> Iterator[None]:
    """The decoder given these drafts; what becomes of them is counted."""
    step, verify = backend.step, greedy.Text.verify

    def counted_step(self: Backend, *given: Any) -> Any:
        run.counted.steps += 1
        return step(self, *given)

    def counted_verify(self: greedy.Text, proposed: Sequence[int], *given: Any) -> int | None:
        before = self.length
        right = verify(self, proposed, *given)
        pairs = zip(proposed, self.tokens[before:], strict=False)
        run.counted.right += sum(one == other for one, other in pairs)
        run.counted.proposed += len(proposed)
        return right

    with (
        patch.object(greedy, "drafts_of", drafts),
        patch.object(backend, "step", counted_step),
        patch.object(greedy.Text, "verify", counted_verify),
    ):
        yield


def write(run: Run, batch: EncodedBatch, rows: Sequence[DecoderRow], drafts: Drafts) -> None:
    """Adds what is written in these rows with these drafts."""
    with with_drafts(run, drafts, type(batch.backend)):
        began = time.process_time()
        found = greedy.greedy(batch, rows, limits_of(batch, rows))
        run.seconds.append(time.process_time() - began)
    run.texts += found
    run.counted.written += sum(len(text.tokens) for text in found)


def driven(
    model: turnout.Transcriber, data: Path, windows: Sequence[Window], drafts: Drafts
) -> Iterator[dict[str, Any]]:
    """The decoder with these drafts and without: its rows one by one, then those of a batch."""
    runs: dict[str, dict[str, Run]] = {"one row": {}, "a batch": {}}
    encoder, number, began = [], 0, time.process_time()
    for _, batch in encoded(model, data, windows):
        encoder.append(time.process_time() - began)
        rows, _ = rows_of(batch, [LANGUAGE] * len(batch.utterances), ())
        for what, parts in {"one row": [[row] for row in rows], "a batch": [rows]}.items():
            for part in parts:
                in_turn(runs[what], batch, part, drafts, number)
                number += 1
        print(f"{len(runs['one row'][PLAIN].texts)} of {len(windows)} windows decoded", flush=True)
        began = time.process_time()
    for what, by in runs.items():
        yield {"what": what, **compared(by), "encoder": round(sum(encoder), 2)}


def in_turn(
    by: dict[str, Run], batch: EncodedBatch, rows: Sequence[DecoderRow], drafts: Drafts, number: int
) -> None:
    """These rows in each way, whoever was first last time last; the perfect draft is known then."""
    acts = {PLAIN: nothing, DRAFTED: drafts, AGAIN: nothing}
    for name in rotated(list(acts), number):
        write(by.setdefault(name, Run()), batch, rows, acts[name])
    texts = by[PLAIN].texts[-len(rows) :]
    write(by.setdefault(PERFECT, Run()), batch, rows, partial(known, texts))


def compared(by: dict[str, Run]) -> dict[str, Any]:
    """The runs as they are reported."""
    seconds = {name: np.array(run.seconds) for name, run in by.items()}
    plain, drafted = by[PLAIN], by[DRAFTED]
    pairs = list(zip(plain.texts, drafted.texts, strict=True))
    shares = drafted.counted.shares()
    del shares["known"]
    return {
        "windows": len(plain.texts),
        **shares,
        "steps": {name: run.counted.steps for name, run in by.items() if name != AGAIN},
        "decoder": {name: round(float(each.sum()), 2) for name, each in seconds.items()},
        "ratio": over(seconds[PLAIN], seconds[DRAFTED]),
        "perfect ratio": over(seconds[PLAIN], seconds[PERFECT]),
        "control": over(seconds[PLAIN], seconds[AGAIN]),
        "texts that differ": sum(one.tokens != other.tokens for one, other in pairs),
        "near-ties among them": sum(map(near_tie, *zip(*pairs, strict=True))),
    }


def over(one: NDArray[np.float64], other: NDArray[np.float64]) -> dict[str, Any]:
    """How many times as long one took, and the interval."""
    which = np.random.default_rng(SEED).integers(len(one), size=(RESAMPLES, len(one)))
    ratios = one[which].sum(axis=1) / other[which].sum(axis=1)
    ends = [round(float(end), 3) for end in np.percentile(ratios, (2.5, 97.5))]
    return {"ratio": round(float(one.sum() / other.sum()), 3), "interval": ends}


def near_tie(one: RowResult, other: RowResult) -> bool:
    """Whether two texts differ, and where they first do, their tokens are equally probable."""
    if one.tokens == other.tokens:
        return False
    shorter = min(len(one.tokens), len(other.tokens))
    first = next((i for i in range(shorter) if one.tokens[i] != other.tokens[i]), shorter)
    scores = [
        (*row.token_log_probs, row.log_prob - sum(row.token_log_probs))[first]
        for row in (one, other)
    ]
    return abs(scores[0] - scores[1]) < TIE


def trained(
    arguments: argparse.Namespace, kept: Kept, windows: Sequence[Learned], dev: Sequence[Learned]
) -> tuple[Head, Training, list[dict[str, Any]]]:
    """The head after its training, and what its drafts were worth on dev on the way."""
    ids = {token for one in windows for token in one.tokens}
    ids = tuple(sorted(ids | tokens_of(kept.model, arguments.data)))
    assert kept.model.folder is not None
    weights = load_file(kept.model.folder.path / WEIGHTS)
    config, curve = HeadConfig(), kept.place / "curve.jsonl"
    head = new_head(config, ids, weights, kept.model.backend.config.decoder.num_layers - 1)
    balance(head, windows[:BALANCED])
    training = Training(head, config, ids, 60 * arguments.minutes, kept.place / "head.safetensors")

    def judge() -> None:
        row = {"minutes": round(training.spent / 60, 1), **judged(head, ids, dev).shares()}
        with curve.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    if not training.place.exists():
        curve.unlink(missing_ok=True)  # of another head
        judge()
    training.run(windows, judge)
    return head, training, [json.loads(line) for line in curve.read_text().splitlines()]


def some_hours(windows: Sequence[Window], hours: float) -> list[Window]:
    """The first windows, as far as they are so long together."""
    ends = np.cumsum([window.seconds for window in windows])
    return [window for window, end in zip(windows, ends, strict=True) if end <= 3600 * hours]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a converted checkpoint")
    parser.add_argument("--kept", type=Path, required=True, help="frames, texts and the head")
    parser.add_argument("--hours", type=float, default=3.0, help="of speech to train on")
    parser.add_argument("--minutes", type=float, default=60.0, help="of processor time")
    parser.add_argument("--timed", type=int, default=1000, help="windows of test, at most")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made_by = origin(SEED, "numpy", "onnxruntime", "torch")
    model = turnout.load(arguments.model, threads=1)
    most = model.backend.config.window_seconds
    data, kept = arguments.data, Kept(arguments.kept, model)
    plans = {split: planned(data, "librispeech", split, most) for split in ("train", "dev", "test")}
    dev = kept.hear(data, plans["dev"])
    windows = kept.hear(data, some_hours(plans["train"], arguments.hours))
    head, training, curve = trained(arguments, kept, windows, dev)
    test = plans["test"][: arguments.timed]
    rows = list(driven(model, data, test, partial(heard_by, head, training.ids)))
    result = {
        **made_by,
        "hours": round(sum(one.seconds for one in windows) / 3600, 2),
        "windows": len(windows),
        "minutes of training": round(training.spent / 60, 1),
        "steps of training": training.step,
        "parameters": sum(one.numel() for one in head.parameters()),
        "tokens that can be drafted": len(training.ids),
        "dev, by minutes of training": curve,
        "test": rows,
        "aim": AIM,
        "reached": rows[0]["ratio"]["ratio"] >= AIM,
    }
    target = Path(__file__).parent / "results" / "draft_head.json"
    target.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
