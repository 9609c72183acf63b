"""Where bulk work is done: options of the verbs that know a cluster, and what they do with it."""

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import Parameter

from turnout.cli.options import ModelOptions
from turnout.errors import UsageError

if TYPE_CHECKING:
    from turnout.labelling.cluster import Cluster


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where work is done."""

    engine: Literal["ray"] | None = None
    """'ray': by processes of Ray (extra 'cluster'), on this machine or a cluster that finds the
    recordings under the same paths. By default by this process."""
    address: str | None = None
    """Of a cluster of Ray that runs, such as 'auto' or host:6379; by default one begins here."""
    actors: int | None = None
    """Processes that hold the model, with --threads CPUs (1 by default) or a GPU each; by default
    as many as there is room for."""

    def __post_init__(self) -> None:
        for name in ("address", "actors"):
            if self.engine is None and getattr(self, name) is not None:
                raise UsageError(f"--{name} is for a cluster: give --engine ray as well")
        if self.actors is not None and self.actors < 1:
            raise UsageError(f"--actors is {self.actors}: it must be at least 1")

    def here(self, model: ModelOptions) -> ModelOptions:
        """The model as this process has it: to know what it is, it needs no GPU."""
        return model if self.engine is None else replace(model, device="auto")

    def there(self, model: ModelOptions) -> ModelOptions:
        """The model as an actor has it."""
        return replace(model, threads=model.threads or 1)


def cluster_of(options: ClusterOptions, make: "partial[Any]") -> "Cluster | None":
    """Where `make`, whose first argument is the model's options, is to be called; None for here.
    Raises MissingExtra."""
    if options.engine is None:
        return None
    from turnout.labelling.cluster import Cluster, ray_module

    ray_module()
    model: ModelOptions = make.args[0]
    return Cluster(
        make=make,
        address=options.address,
        actors=options.actors,
        cpus=model.threads or 1,
        gpus=int(model.device.startswith("cuda")),
    )
