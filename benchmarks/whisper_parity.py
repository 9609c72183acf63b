"""Whether a converted checkpoint writes what Transformers writes with the same weights.

    python benchmarks/whisper_parity.py --weights FOLDER --prompts FOLDER [--utterances 200]

Greedy, windows of 30 s padded with silence, no time stamps; LibriSpeech, German, and Asterisk's
8 kHz prompts in five languages. Counted are windows with the same tokens; where they part, by how
much Transformers prefers its own token to ours (a near-tie is below 0.001). Languages and no-speech
probabilities are compared for all. Writes results/whisper_parity.json.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from origin import ROOT, origin
from whisper_oracle import TIE, Oracle, Written
from whisper_speech import VOICES, Spoken, from_corpus, prompts

import turnout
from turnout.audio.features import model_features
from turnout.config import TranscriptionOptions
from turnout.decoding.requests import DecodingOptions, Hypothesis, Request, Utterance
from turnout.guidance import Guidance, Task
from turnout.hub.convert import convert

SEED = 0
SHARES = {"librispeech": 0.4, "kerstin_de": 0.2, "prompts": 0.4}


def utterances(data: Path, folder: Path, count: int) -> Iterator[Spoken]:
    """So many, of every source its share."""
    for name in ("librispeech", "kerstin_de"):
        yield from from_corpus(data, name, round(SHARES[name] * count), SEED)
    each = round(SHARES["prompts"] * count / len(VOICES))
    for language in VOICES:
        yield from prompts(folder, language, each, SEED)


def compared(model: turnout.Transcriber, oracle: Oracle, spoken: Spoken) -> dict[str, Any]:
    """One utterance, heard by both."""
    config = model.backend.config
    limit = round(config.window_seconds * 16_000)
    log_mel = model_features(spoken.samples[:limit], config)
    options = DecodingOptions.of(TranscriptionOptions(temperature_increment_on_fallback=None))
    (found,) = model.decode([Utterance(log_mel, Request(), options)])
    expected = oracle.write(log_mel)
    (ours,) = found.hypotheses
    row = {
        "id": spoken.id,
        "source": spoken.source,
        "tokens_equal": ours.tokens == expected.tokens,
        "language_equal": found.language == expected.language,
        "no_speech_difference": abs((ours.no_speech_prob or 0.0) - expected.no_speech),
    }
    if not row["tokens_equal"] and row["language_equal"]:
        row |= parted(oracle, log_mel, ours, expected)
    return row


def parted(
    oracle: Oracle, log_mel: np.ndarray, ours: Hypothesis, expected: Written
) -> dict[str, Any]:
    """Where two texts part, and how sure the oracle is of it."""
    guidance = Guidance(
        task=Task.TRANSCRIBE, language=expected.language, target_language=expected.language
    )
    prompt = oracle.tokenizer.prompt(guidance, oracle.config.task_token)
    margin = oracle.margin(log_mel, prompt, list(expected.tokens), list(ours.tokens))
    return {
        "margin": margin,
        "near_tie": abs(margin) < TIE,
        "ours": oracle.tokenizer.decode(ours.tokens),
        "transformers": oracle.tokenizer.decode(expected.tokens),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    made_by = origin(SEED, "numpy", "onnxruntime", "torch", "transformers")
    with tempfile.TemporaryDirectory() as place:
        folder = convert(arguments.weights, Path(place) / "model")
        model, oracle = turnout.load(folder), Oracle(folder)
    rows = []
    for spoken in utterances(arguments.data, arguments.prompts, arguments.utterances):
        rows.append(compared(model, oracle, spoken))
        if not rows[-1]["tokens_equal"]:
            print(rows[-1], flush=True)
    by_source = {
        source: {"utterances": len(group), "equal": sum(row["tokens_equal"] for row in group)}
        for source, group in (
            (name, list(members))
            for name, members in itertools.groupby(rows, key=lambda row: row["source"])
        )
    }
    summary = {
        "utterances": len(rows),
        "tokens_equal": sum(row["tokens_equal"] for row in rows),
        "near_ties": sum(row.get("near_tie", False) for row in rows),
        "languages_equal": sum(row["language_equal"] for row in rows),
        "largest_no_speech_difference": max(row["no_speech_difference"] for row in rows),
    }
    print(summary, by_source)
    unequal = [row for row in rows if not (row["tokens_equal"] and row["language_equal"])]
    result = {**made_by, **summary, "sources": by_source, "unequal": unequal}
    target = Path(__file__).parent / "results" / "whisper_parity.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
