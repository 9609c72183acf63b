"""`turnout shard`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnout.cli.terminal import complain, hushed_libraries, say
from turnout.config.sharding import ShardConfig
from turnout.errors import amount

SHARDING = ShardConfig()
HOUR = 3600


def shard(
    cuts: Path,
    /,
    *,
    output: Annotated[str, Parameter(name=("--output", "--output-dir", "-o"))],
    options: Annotated[ShardConfig, Parameter(name="*")] = SHARDING,
) -> int:
    """Put the recordings and texts of cuts into tar shards, which are read as a stream.

    Stopped and started again, it goes on, and ends with the same bytes.

    Parameters
    ----------
    cuts
        Cuts (`*.jsonl.gz`), as `turnout prepare` writes them.
    output
        Folder or address (s3://..., gs://..., any of fsspec's) for the shards and their manifest.
    """
    from turnout.shards.store import open_store
    from turnout.shards.writing import make_shards

    store = open_store(output)
    with hushed_libraries():
        manifest = make_shards(cuts, store, options, lambda line: complain(f"left out: {line}"))
    said = f"{amount(manifest.utterances, 'utterance')}, {manifest.seconds / HOUR:.2f} h"
    size = f"{manifest.bytes / 1e6:,.1f} MB in {amount(len(manifest.shards), 'shard')}"
    say(f"{store.shown}: {said}, {size}")
    if manifest.left_out:
        complain(f"left out in all: {len(manifest.left_out):,}")
    return int(bool(manifest.left_out))
