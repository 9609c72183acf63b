"""What benchmarks/experts.py makes of its seconds, and that its systems compute one function."""

import argparse

import expert_layers as layers
import expert_parts
import expert_table
import experts
import pytest
import torch

FAIR = {"interval": [0.98, 1.02]}


def test_a_ratio_is_of_medians_and_its_rounds_are_drawn_whole() -> None:
    # Medians 6 and 3; each round is twice the other's, so whatever is drawn has the ratio 2.
    found = experts.ratio([2.0, 6.0, 100.0], [1.0, 3.0, 50.0])
    assert found == {"ratio": 2.0, "interval": [2.0, 2.0]}
    wide = experts.ratio([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert wide["ratio"] == 1.0 and wide["interval"] == [0.5, 1.5]


def test_every_system_comes_first_in_turn_and_the_first_round_is_not_counted() -> None:
    now, order, numbers = [0.0], [], []

    def prepare(name: str, number: int):
        def act() -> None:
            order.append(name)
            numbers.append(number)
            now[0] += 10.0 if number < 3 else 1.0

        return act

    found = experts.timed(["a", "b", "c"], prepare, 2, lambda: now[0])
    assert found == {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}
    assert "".join(order) == "abcbcacab"
    assert numbers == list(range(9))


@pytest.mark.parametrize(
    ("ratio", "most", "control", "told"),
    [
        (1.10, 1.1, FAIR, "met"),
        (1.23, 1.1, FAIR, "short by 0.13"),
        (1.0, None, FAIR, ""),
        (1.0, 1.1, {"interval": [0.98, 1.031]}, "tie"),
        (1.0, 1.1, {"interval": [0.969, 1.0]}, "tie"),
    ],
)
def test_a_figure_is_told_beside_its_target(ratio, most, control, told) -> None:
    assert expert_table.verdict({"ratio": ratio}, most, control) == told


def test_frames_are_as_many_as_was_said() -> None:
    given = layers.batch(3, 16, 1920)
    assert given.mask.sum() == 1920 and given.mask.sum(dim=1).unique().numel() > 4
    assert given.mask.shape[1] == given.mask.sum(dim=1).max()
    assert layers.operations(10, train=True) == 3 * 2 * (2 * 10 * 256 * 1024)


def test_a_peer_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(layers.PEERS, "Switch block of transformers")  # slow to import
    made, missing = layers.learned(3)
    given = layers.batch(0, 2, 24)
    layers.check_alike(made, given)
    assert not missing and len(made) == 6
    layer, module = made["F.grouped_mm"]
    made["F.grouped_mm"] = (lambda given: layer(given) * 1.001, module)
    with pytest.raises(SystemExit, match="'F.grouped_mm' computes something else"):
        layers.check_alike(made, given)


def test_what_was_tried_is_timed_on_what_it_says() -> None:
    """The padded share is that of the name; every way runs, and leaves PyTorch as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    for share in expert_parts.PADDED:
        mask = layers.evenly_padded(1, 120, share).mask
        assert 1 - mask.float().mean() == pytest.approx(share, abs=0.01)
    for part in expert_parts.parts(64):
        for way in (part.before, part.after):
            way(1)()
    assert torch.are_deterministic_algorithms_enabled() == before


def test_a_row_becomes_a_line_of_the_table() -> None:
    row = next(row for row in experts.rows() if row.make is layers.supervised)
    found = experts.measured(row, 2, 24, argparse.Namespace(quick=True, clock="process"))
    assert set(found["systems"]) == {"dense", "again", "turnout"}
    assert not torch.is_autocast_enabled("cpu")
    ceiling = {"float32": 1e9, "bfloat16": 1e9}
    (line,) = expert_table.layer_rows({"layers": [found], "ceiling": ceiling})
    assert line[:2] == ["2 supervised, mixed tasks", "forward"] and line[4] == "1.03"
    assert line[6:10] == ["-"] * 4
