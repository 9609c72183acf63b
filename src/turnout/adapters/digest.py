"""Which model an adapter belongs to: a digest that all copies of its weights agree in, whoever
stored them and as what."""

import hashlib

import numpy as np

from turnout.adapters.stored import Tensors


def weights_digest(tensors: Tensors) -> str:
    """SHA-256, in hexadecimal, over name, shape and values of all tensors in the order of their
    names, the values as float16 of little-endian order.

    So float32, float16 and sharded copies of a model agree, and CTranslate2's of float16; one that
    was rounded to integers has lost what the others have.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        shape = "x".join(map(str, tensor.shape))
        digest.update(f"{name} {shape}\n".encode())
        with np.errstate(over="ignore"):  # beyond float16 all copies are infinite alike
            digest.update(np.ascontiguousarray(tensor, dtype="<f2").tobytes())
    return digest.hexdigest()
