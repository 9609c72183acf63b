"""A process that transcribes one file several times and prints what it got, a line each:

`python -m tests.reliability.repeating BACKEND THREADS TIMES FILE`
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import turnout
from turnout.decoding.requests import Decoded
from turnout.text.writers import render
from turnout.transcription.transcriber import Transcriber


def transcribed(transcriber: Transcriber, file: str) -> dict[str, Any]:
    """The tokens of every segment and task, and the JSON that the command line would write."""
    tokens: list[tuple[int, ...]] = []
    decode = transcriber.decode
    transcriber.decode = noting(decode, tokens)  # type: ignore[method-assign]
    try:
        transcript = transcriber.transcribe(file, task="both", word_timestamps=True)
    finally:
        transcriber.decode = decode  # type: ignore[method-assign]
    return {"tokens": [*map(list, tokens)], "json": render(transcript, "json")}


def noting(
    decode: Callable[..., list[Decoded]], tokens: list[tuple[int, ...]]
) -> Callable[..., list[Decoded]]:
    """`decode`, which also notes the tokens of what it answers."""

    def decode_and_note(*arguments: Any) -> list[Decoded]:
        answers = decode(*arguments)
        tokens.extend(found.tokens for answer in answers for found in answer.hypotheses)
        return answers

    return decode_and_note


def main(words: Sequence[str]) -> None:
    """What the module's first lines say."""
    backend, threads, times, file = words
    transcriber = turnout.load("commands", backend=backend, threads=int(threads))  # type: ignore[arg-type]
    for _ in range(int(times)):
        print(json.dumps(transcribed(transcriber, file)))


if __name__ == "__main__":
    main(sys.argv[1:])
