"""What several processes compute together is what one computes alone. They are real, by gloo."""

import os
from pathlib import Path

import pytest
import torch

import forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

SCRIPT = Path(__file__).parent / "sharing.py"
SIZES = (2, 4)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What every process of teams of 1, 2 and 4 found."""

    def run(size):
        folder = tmp_path_factory.mktemp(f"of{size}")
        forked.run(SCRIPT, size, folder)
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]

    return {size: run(size) for size in (1, *SIZES)}


@pytest.fixture(params=SIZES)
def team(found, request):
    return found[request.param]


@pytest.fixture
def alone(found):
    return found[1][0]


def test_sums_are_those_of_all_processes_and_the_same_bits_in_each(team):
    for i in range(2):
        expected = sum(each["numbers"][i].double() for each in team)
        for each in team:
            torch.testing.assert_close(each["summed"][i].double(), expected, atol=1e-6, rtol=1e-6)
            assert torch.equal(each["summed"][i], team[0]["summed"][i])
            assert each["summed"][i].stride() == each["numbers"][i].stride()


def test_whole_numbers_are_summed_exactly_and_gathered_in_order(team):
    size = len(team)
    for each in team:
        assert each["integers"] == [size * (2**53 + 1), sum(range(size))]
        assert each["gathered"] == [[rank] for rank in range(size)]


def test_a_team_is_divided_into_neighbours(found):
    assert [each["pair"] for each in found[4]] == [
        *((0, 2, [1]), (1, 2, [1])),
        *((0, 2, [5]), (1, 2, [5])),
    ]


def test_what_the_leader_does_is_done_once_and_all_hear_how_it_went(team):
    for rank, each in enumerate(team):
        value, done, message, status = each["led"]
        assert value == {"a": [1, 2.5, None]}
        assert done == ([1] if rank == 0 else [])
        assert (message, status) == ("a bad image", 2)


def test_neighbours_have_a_leader_of_their_own(found):
    assert [each["pair led"] for each in found[4]] == [0, 0, 2, 2]


def test_what_the_leader_does_alone_may_take_longer_than_a_sum(team):
    assert [each["waiting"] for each in team] == ["done"] * len(team)


def test_the_leaders_tensors_are_everybodys(team):
    for each in team:
        assert each["tensors"]["a"].tolist() == [0, 1, 2]
        assert each["tensors"]["b"].item() == 1.5


def test_values_of_any_length_are_gathered_in_order(team):
    for each in team:
        assert each["values"] == [{"rank": "é" * rank} for rank in range(len(team))]


def test_what_any_process_has_set_aside_is_counted_in_all_and_too_much_ends_all_alike(team):
    size = len(team)
    first = {0: "by 0"} | {2 + rank: f"by {rank}" for rank in range(size)} | {39: "long ago"}
    second = first | {1: "by 0", 9: "by 0"}
    for each in team:
        told, refused, everywhere = each["aside"]
        assert told == [dict(sorted(found.items())) for found in (first, second)]
        images = len(second) + size * (10 - len(second))
        assert refused.startswith(f"{images} of 40 training images cannot be read")
        assert everywhere


def test_a_wish_of_any_process_is_heard_by_all_at_the_same_call(team):
    for each in team:
        assert each["poll"] == [(0, 0), (0, 0), (15, 0), (0, 1), (0, 0)]


def joined(team, what, name):
    return torch.cat([each[what][name] for each in team])


@pytest.mark.parametrize("what", ["batch norm", "batch norm, plain average"])
def test_bn_over_several_processes_is_bn_over_the_whole_part(team, alone, what):
    for name, expected in alone[what].items():
        of_images = name[0] in "xy" or name == "predicted"
        together = joined(team, what, name) if of_images else team[0][what][name]
        error = (together.double() - expected.double()).norm()
        assert error <= 2e-5 * expected.double().norm(), name


def test_bn_over_several_processes_leaves_the_same_bits_in_each(team):
    for name, tensor in team[0]["batch norm"].items():
        if "running" in name or "gradient" in name or "num" in name:
            assert all(torch.equal(tensor, each["batch norm"][name]) for each in team)


def test_bn_over_several_processes_is_as_good_in_bfloat16(team, alone):
    what = "batch norm, bfloat16"
    assert team[0][what]["y0"].dtype == alone[what]["y0"].dtype == torch.bfloat16
    for name in ("y0", "y1", "x0", "x1"):
        together, expected = joined(team, what, name).float(), alone[what][name].float()
        assert (together - expected).norm() < 0.02 * expected.norm()
    torch.testing.assert_close(team[0][what]["1.running_var"], alone[what]["1.running_var"])


@pytest.mark.parametrize("what", ["dropout", "drop path"])
def test_what_drops_at_random_drops_the_same_in_several_processes(team, alone, what):
    ones, dropped, predicted = alone[what]
    assert torch.equal(torch.cat([each[what][1] for each in team]), dropped)
    assert 0 < (dropped == 0).float().mean() < 0.7
    assert torch.equal(predicted, ones)
    assert all(torch.equal(each[what][2], each[what][0]) for each in team)


def test_true_averages_are_over_what_all_processes_saw(team, alone):
    for name, expected in alone["true averages"].items():
        for each in team:
            torch.testing.assert_close(each["true averages"][name], expected, atol=1e-5, rtol=1e-5)
