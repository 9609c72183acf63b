"""PyTorch's word for having no memory left, told as Python tells it: by MemoryError."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

NO_MEMORY = ("not enough memory", "can't allocate memory")
"""How PyTorch says on a CPU that there is none left."""


@contextmanager
def memory_asked() -> Iterator[None]:
    """Around what may need more than a device has (a decorator as well): raises MemoryError where
    it does, a GPU or a CPU."""
    try:
        yield
    except RuntimeError as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not on_gpu and not any(words in str(error) for words in NO_MEMORY):
            raise
        raise MemoryError(str(error).partition("\n")[0]) from error
