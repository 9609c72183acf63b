"""Weights that were validated, in files of their own: the final model is made of them."""

from collections.abc import Callable, Iterable
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from turnout.errors import CheckpointError
from turnout.files import sha256_of, write_whole
from turnout.training.checkpoints import read_tensors
from turnout.training.distributed import Ranks
from turnout.training.state import Validated, named_weights
from turnout.training.whole_tensors import share_to_write


class ValidatedWeights:
    """Those of one run, in their folder."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self.folder = folder
        self.ranks = ranks

    def keep(self, model: nn.Module, step: int, score: float | None) -> Validated:
        """Write the weights of a step into a file; every rank takes part, and the first writes."""
        name = f"step-{step:08d}.safetensors"
        weights = share_to_write(named_weights(model), self.ranks, 1)
        digest = ""
        if self.ranks.first:
            data = save(weights)
            write_whole(self.folder / name, data)
            digest = sha256_of(data)
        # It belongs to a state that all of them hold.
        digest = self.ranks.gather_text(digest)[0]
        return Validated(step=step, score=score, file=name, sha256=digest)

    def forget(self, needed: Iterable[str]) -> None:
        """Delete all files but these."""
        for path in self.folder.glob("*.safetensors"):
            if path.name not in needed:
                path.unlink()

    def read(
        self, entries: list[Validated], warn: Callable[[str], None]
    ) -> list[dict[str, Tensor]]:
        """The weights of these validations; damaged files are left out, and `warn` told. Raises
        CheckpointError where all are."""
        found = []
        for entry in entries:
            try:
                found.append(read_tensors(self.folder / entry.file, entry.sha256))
            except CheckpointError as error:
                warn(f"{error}, left out of the final model")
        if entries and not found:
            raise CheckpointError(f"{self.folder}: no validated weights are whole")
        return found


def best(entries: list[Validated]) -> Validated:
    """The lowest score, the newest of equals; the newest where nothing was scored."""
    scored = [entry for entry in entries if entry.score is not None]
    return min(scored, key=lambda entry: (entry.score, -entry.step)) if scored else entries[-1]
