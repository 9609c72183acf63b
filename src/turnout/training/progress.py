"""How much of a run is done: the share of whichever limit is reached first."""

from dataclasses import dataclass

from turnout.config import TrainConfig


def share_done(config: TrainConfig, *, step: float, epochs: float, seconds: float) -> float:
    """From 0 to 1 (and a little beyond, since the last step is a whole one)."""
    done = (
        (step, config.max_steps),
        (epochs, config.max_epochs),
        (seconds / 3600, config.max_hours),
    )
    return max(now / limit if limit else 1.0 for now, limit in done if limit is not None)


@dataclass(frozen=True)
class PlanShare:
    """The share done when batch `index` of an epoch's plan is made: a function of the plan alone,
    whichever process asks and whenever."""

    config: TrainConfig
    epoch: int
    length: int
    """Batches of this epoch."""
    first_step: int
    first_seconds: float
    """Steps and audio when the epoch began."""
    ranks: int

    def __call__(self, index: int) -> float:
        """`index` counts from 0 in one rank's plan. Hours are reckoned from full batches."""
        return share_done(
            self.config,
            step=self.first_step + index / self.config.optimizer.accumulate,
            epochs=self.epoch + index / self.length,
            seconds=self.first_seconds + index * self.config.data.batch_seconds * self.ranks,
        )
