"""What attention costs on CUDA where every batch has a shape of its own, as training has.

    python benchmarks/attention_cuda.py [--shapes 60] [--results FILE] [--device cpu]

Shapes are drawn as a bucketed loader makes them: batches of some 90 seconds of speech, utterances
of 0.5 to 12 s, a frame every 40 ms, 4 heads of 32, bfloat16, padding masked. Every system is given
the same shapes once, in order, each of which it has not met before, and then the same shapes again:
what is prepared for a shape shows in the first pass alone. Times are of forward and backward pass,
medians over the shapes, the device waited for. "turnout" is `turnout.model.layers.attend`;
"PyTorch's choice" is `scaled_dot_product_attention` as it comes. The cuDNN row comes behind it in
one process, and finds prepared what was its choice.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from origin import origin
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from turnout.model.layers import attend

SEED = 0
HEADS, DIM = 4, 32
BATCH_SECONDS, FRAMES_PER_SECOND = 90, 25
System = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def plain(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """As PyTorch chooses."""
    return scaled_dot_product_attention(queries, keys, values, attn_mask=mask)


def by(kernel: SDPBackend) -> System:
    """By one of its kernels alone."""

    def attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        with sdpa_kernel(kernel):
            return plain(queries, keys, values, mask)

    return attended


SYSTEMS: dict[str, System] = {
    "turnout": attend,
    "PyTorch's choice": plain,
    "cuDNN": by(SDPBackend.CUDNN_ATTENTION),
    "memory-efficient": by(SDPBackend.EFFICIENT_ATTENTION),
    "written out": by(SDPBackend.MATH),
}


def shapes(count: int) -> list[tuple[int, int]]:
    """Utterances and frames, no two alike."""
    drawn = random.Random(SEED)
    found: dict[tuple[int, int], None] = {}
    while len(found) < count:
        seconds = drawn.uniform(0.5, 12)
        found[int(BATCH_SECONDS / seconds), int(seconds * FRAMES_PER_SECOND)] = None
    return list(found)


def given(shape: tuple[int, int], device: torch.device) -> tuple[list[Tensor], Tensor, Tensor]:
    """Queries, keys and values; the mask; the gradient of what comes out."""
    utterances, frames = shape
    size = (utterances, HEADS, frames, DIM)
    kind = torch.bfloat16
    inputs = [torch.randn(size, device=device, dtype=kind).requires_grad_() for _ in range(3)]
    lengths = torch.linspace(frames / 2, frames, utterances, device=device).ceil()
    mask = torch.arange(frames, device=device) < lengths.unsqueeze(1)
    return inputs, mask[:, None, None, :], torch.randn(size, device=device, dtype=kind)


def wait(device: torch.device) -> None:
    """For what the device was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(system: System, asked: list[tuple[int, int]], device: torch.device) -> list[float]:
    """Milliseconds of each shape."""
    found = []
    for shape in asked:
        (queries, keys, values), mask, upstream = given(shape, device)
        wait(device)
        began = time.perf_counter()
        system(queries, keys, values, mask).backward(upstream)
        wait(device)
        found.append(1e3 * (time.perf_counter() - began))
    return found


def measured(system: System, count: int, device: torch.device) -> dict[str, Any]:
    """Of shapes that are new, and of the same again. The first of all is not counted: it loads what
    the system needs."""
    asked = shapes(count + 1)
    timed(system, asked[:1], device)
    found = {}
    for name in ("new shapes", "the same again"):
        taken = timed(system, asked[1:], device)
        found[name] = {
            "median ms": round(statistics.median(taken), 3),
            "sum ms": round(sum(taken), 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--shapes", type=int, default=60)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("attention_cuda: PyTorch sees no GPU: --device cpu shows that it runs")
    torch.manual_seed(SEED)
    found = {
        **origin(SEED, "torch"),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "shapes": arguments.shapes,
        "systems": {},
    }
    for name, system in SYSTEMS.items():
        try:
            told = measured(system, arguments.shapes, device)
        except RuntimeError as error:  # a kernel that is not for this device
            told = {"failed": str(error).splitlines()[0]}
        found["systems"][name] = told
        print(name, told, flush=True)
    if arguments.results:
        arguments.results.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
