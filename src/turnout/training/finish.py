"""The end of a run: the better of best and average, its figures, its plot."""

from typing import Any

from torch import Tensor

from turnout.config.plain import to_plain
from turnout.evaluation.validation import Validation, average_key, rate_name
from turnout.training.curves import plot_run
from turnout.training.log import RunLog, silent
from turnout.training.loop import Trainer
from turnout.training.state import average, copy_weights
from turnout.training.validated import best


def finish(trainer: Trainer, log: RunLog | None) -> dict[str, Any]:
    """Leave the final weights in the model, and return what its card says of the run.

    The best validated weights are held against the average of the last ones, both decoded on dev;
    without a dev set the average is taken as it is.
    """
    say = log.say if log is not None else silent
    trainer.make_whole()
    entries = trainer.state.validated
    last = entries[-trainer.config.average_last :]
    kept = best(entries)
    candidates = [(trainer.validated.read([kept], say)[0], f"validated at step {kept.step}")]
    # The mean of several products is of a higher rank than each.
    if len(last) > 1 and trainer.config.low_rank is None:
        steps = ", ".join(str(entry.step) for entry in last)
        averaged = average(trainer.validated.read(last, say))
        candidates.append((averaged, f"average of steps {steps}"))
    results: list[tuple[Validation, str, dict[str, Tensor]]] = []
    for weights, name in candidates:
        copy_weights(trainer.model, weights)
        found = trainer.validate(trainer.model, lambda: trainer.stop.received != 0)
        trainer.stop_if_asked()
        assert found is not None, "a validation was cancelled, but nobody asked"
        results.append((found, name, weights))
    # Of equals the average: it was made to generalise.
    found, name, weights = min(reversed(results), key=lambda result: result[0].score or 0.0)
    copy_weights(trainer.model, weights)
    rows = found.to_plain()
    say(
        f"final model: {name}"
        + ("" if found.score is None else f", average {rate_name(rows)} {found.score:.2f} %")
    )
    if log is not None:
        plot_run(trainer.folder)
    return {
        "weights": name,
        "steps": trainer.state.step,
        "epochs": trainer.state.epoch,
        "hours_of_audio": round(trainer.state.seconds / 3600, 3),
        f"dev_{average_key(rows)}": found.score,
        "dev": rows,
        "config": to_plain(trainer.config),
    }
