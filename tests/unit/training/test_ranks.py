"""Two ranks equal one process on their batches joined."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.training.toy import joined, run_toy, toy_config
from tests.unit.training.toy_ranks import ROUTINGS, STEPS, batch_of, save_rank, toy_stepper
from turnout.training.checkpoints import read_manifest
from turnout.training.distributed import Ranks, open_fabric
from turnout.training.state import RunState

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote."""
    output = tmp_path_factory.mktemp("ranks")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", "0", "--rdzv-backend", "c10d",
        "--rdzv-endpoint", "127.0.0.1:0", "-m", "tests.unit.training.toy_ranks", str(output),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return output


@pytest.mark.parametrize("kind", list(ROUTINGS))
def test_two_ranks_equal_one_process_on_the_batches_joined(
    kind: str, two_ranks: Path, tmp_path: Path
) -> None:
    ranks = Ranks(open_fabric(toy_config(tmp_path)))
    stepper = toy_stepper(kind, tmp_path, ranks)
    reports = [
        stepper(
            [joined(batch_of(0, step), batch_of(1, step))], RunState(step=step, updates=step), 0.0
        )
        for step in range(STEPS)
    ]
    save_rank(tmp_path / "one.safetensors", stepper, reports)
    one = load_file(tmp_path / "one.safetensors")
    first, second = (load_file(two_ranks / f"{kind}-{rank}.safetensors") for rank in range(2))
    for name in one:
        assert torch.equal(first[name], second[name]), name
        tolerance = 1e-5 if name == "reported" else 2e-4
        torch.testing.assert_close(first[name], one[name], atol=tolerance, rtol=1e-5, msg=name)


def test_each_rank_writes_its_share_and_one_rank_can_go_on(two_ranks: Path) -> None:
    run = two_ranks / "run"
    manifest = read_manifest(run / "checkpoints" / "step-00000004")
    names = [entry["name"] for entry in manifest["files"]]
    assert names == ["rank-0000.safetensors", "rank-0001.safetensors"]
    shares = [load_file(run / "checkpoints" / "step-00000004" / name) for name in names]
    assert not shares[0].keys() & shares[1].keys()
    assert len((run / "steps.jsonl").read_text().splitlines()) == 4
    trainer = run_toy(toy_config(run, max_steps=4))
    weights = dict(trainer.model.named_parameters())
    for name, tensor in {**shares[0], **shares[1]}.items():
        if name.startswith("weights/"):
            assert torch.equal(weights[name.removeprefix("weights/")], tensor)
