"""`turnout plan`."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from turnout.cli.options import PLAIN, refuse_fractions
from turnout.cli.terminal import say
from turnout.cli.train import DEFAULTS, read_training_config
from turnout.config import TrainConfig
from turnout.config.planning import PlanConfig
from turnout.errors import MissingExtra


def plan(
    *,
    config: Path | None = None,  # noqa: ARG001 - `read_training_config` has taken it
    preset: str | None = None,  # noqa: ARG001
    what: Annotated[PlanConfig, Parameter(name="*")],
    run: Annotated[TrainConfig, Parameter(name="*")] = DEFAULTS,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Say what a training run will take: parameters, memory, steps, days, traffic, disk.

    Options are those of `turnout train`; nothing is read but a recipe, or the shape of a model
    folder (--init-from). By formulas, which are held against real steps in the tests.

    Parameters
    ----------
    config
        YAML file of the options of a run; options given beside it win.
    preset
        Model shape to start from: tiny, small, omni-router or whisper-tiny; by default that of
        --init-from where there is one.
    json_
        Print one JSON object; bytes and seconds throughout.
    """
    from turnout.planning.plan import plan_run
    from turnout.planning.words import lines_of

    if what.measure is not None and find_spec("torch") is None:
        raise MissingExtra("'turnout plan --measure'", "train")
    found = plan_run(run, what)
    if json_:
        say(json.dumps(found.to_plain()))
        return 0
    for line in lines_of(found):
        say(line)
    return 0


app = App(
    name="plan",
    config=(read_training_config, refuse_fractions),
    # Markdown reflows the long field docstrings.
    help_format="markdown",
    default_parameter=PLAIN,
)
app.default(plan)
