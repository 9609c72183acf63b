"""Sends a recording to `turnout serve` as a microphone or a telephone would, and prints what comes.

    pip install websockets soundfile soxr
    python examples/live_client.py examples/english-1.flac
    python examples/live_client.py examples/english-telephone-1.wav --format mulaw --task both

One line of JSON an event: speech_started, partial, speech_ended, final. A microphone sends the same
messages, for as long as it is open.
"""

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import soundfile
import soxr
from websockets.asyncio.client import ClientConnection, connect

FRAME_SECONDS = 0.1
RATES = {"pcm16": 16_000, "mulaw": 8_000, "alaw": 8_000}
SUBTYPES = {"pcm16": "PCM_16", "mulaw": "ULAW", "alaw": "ALAW"}


def encoded(path: str, form: str) -> tuple[bytes, int]:
    """A recording's first channel, as bytes without a header, and its rate: one that is taken."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    wanted = rate if rate in (8_000, 24_000) and form == "pcm16" else RATES[form]
    raw = BytesIO()
    heard = soxr.resample(samples[:, 0], rate, wanted)
    soundfile.write(raw, heard, wanted, SUBTYPES[form], "LITTLE", format="RAW")
    return raw.getvalue(), wanted


async def send(connection: ClientConnection, data: bytes, frame_bytes: int) -> None:
    """As it would be spoken, then the end."""
    for first in range(0, len(data), frame_bytes):
        await connection.send(data[first : first + frame_bytes])
        await asyncio.sleep(FRAME_SECONDS)
    await connection.send(json.dumps({"type": "end"}))


async def events(address: str, start: dict[str, Any], data: bytes) -> AsyncIterator[dict[str, Any]]:
    """What the server tells of a stream, as it comes."""
    async with connect(address) as connection:
        await connection.send(json.dumps(start))
        # Not before it is ready: the model may have to be loaded.
        event = json.loads(await connection.recv())
        yield event
        if event["type"] != "ready":
            return
        width = 2 if start["format"] == "pcm16" else 1
        frame_bytes = round(FRAME_SECONDS * start["rate"]) * width
        sending = asyncio.create_task(send(connection, data, frame_bytes))
        async for message in connection:
            yield json.loads(message)
        sending.cancel()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recording")
    parser.add_argument("--address", default="ws://127.0.0.1:8000/v1/audio/live")
    parser.add_argument("--format", choices=SUBTYPES, default="pcm16")
    parser.add_argument("--task", choices=["transcribe", "translate", "both"], default="transcribe")
    parser.add_argument("--language", default="auto")
    parser.add_argument("--model")
    asked = parser.parse_args()
    data, rate = encoded(asked.recording, asked.format)
    start = {
        "type": "start",
        "key": os.environ.get("TURNOUT_API_KEY"),
        "model": asked.model,
        "format": asked.format,
        "rate": rate,
        "task": asked.task,
        "language": asked.language,
    }
    async for event in events(asked.address, start, data):
        print(json.dumps(event, ensure_ascii=False), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
