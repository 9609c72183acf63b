"""faster-whisper behind the contract that `turnout serve` has, to be measured beside it.

A file in, its text out, as OpenAI's clients want it; no key, no limits. benchmarks/serve.py starts
it.

    python benchmarks/serve_peer.py --weights FOLDER [--threads 2]
"""

import argparse
import asyncio
import io
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI, File, Form, UploadFile


def application(weights: Path, threads: int) -> FastAPI:
    """As faster-whisper's users write it: one model, requests one after the other, decoded in a
    thread; its workers share the processor, which it is given all of."""
    from faster_whisper import WhisperModel  # noqa: PLC0415 - not in the test environment

    model = WhisperModel(str(weights), device="cpu", compute_type="float32", cpu_threads=threads)
    pool = ThreadPoolExecutor(1)
    app = FastAPI()

    def text_of(data: bytes, language: str | None) -> str:
        segments, _ = model.transcribe(
            io.BytesIO(data),
            language=language,
            beam_size=1,
            vad_filter=True,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text.strip() for segment in segments)

    @app.post("/v1/audio/transcriptions")
    async def transcriptions(
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form()],  # noqa: ARG001 - there is one
        language: Annotated[str | None, Form()] = None,
        response_format: Annotated[str, Form()] = "json",  # noqa: ARG001
    ) -> dict[str, str]:
        data = await file.read()
        loop = asyncio.get_running_loop()
        return {"text": await loop.run_in_executor(pool, text_of, data, language)}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="a CTranslate2 folder")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    app = application(arguments.weights, arguments.threads)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"faster-whisper at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
