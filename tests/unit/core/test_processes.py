"""Teams of one here; what several say to each other is in tests/unit/training/test_sharing.py."""

import pytest
import torch

from resnets.core import processes
from resnets.core.errors import DataError, RunError
from resnets.core.processes import ALONE, Poll


def test_one_process_is_a_team_that_does_nothing():
    tensor = torch.tensor([1.5, 2.5])
    ALONE.sum_([tensor])
    assert tensor.tolist() == [1.5, 2.5]
    assert ALONE.sum_integers([2**53 + 1, 3]) == [2**53 + 1, 3]
    assert ALONE.gather(tensor).tolist() == [[1.5, 2.5]]
    assert ALONE.divided(1) is ALONE
    assert ALONE.share_tensors({"a": tensor}) == {"a": tensor}
    assert ALONE.leads


def test_what_one_process_leads_is_done_and_its_error_is_its_own():
    found = object()
    assert ALONE.led(lambda: found) is found

    def fail():
        raise DataError("wrong")

    with pytest.raises(DataError, match="wrong"):
        ALONE.led(fail)


def test_one_process_hears_itself_at_once():
    poll = Poll(ALONE)
    assert poll(0, 1) == (0, 1)
    assert poll(15, 0) == (15, 0)


def test_without_torchrun_nothing_is_connected():
    with processes.joined() as team:
        assert team is ALONE
        assert not torch.distributed.is_initialized()


def test_torchrun_with_one_process_connects_nothing_either(monkeypatch):
    for name, value in (
        *(("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1")),
        *(("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")),
    ):
        monkeypatch.setenv(name, value)
    with processes.joined() as team:
        assert team is ALONE


@pytest.fixture
def four_on_a_machine(monkeypatch):
    for name, value in (
        *(("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "3"), ("LOCAL_WORLD_SIZE", "4")),
        *(("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")),
    ):
        monkeypatch.setenv(name, value)


def test_on_the_cpu_all_processes_have_the_same_device(four_on_a_machine):
    assert processes.device("cpu") == torch.device("cpu")


def test_more_processes_than_gpus_are_refused(four_on_a_machine, monkeypatch):
    monkeypatch.setattr(processes.hardware, "gpu_count", lambda: 2)
    with pytest.raises(RunError, match=r"4 processes on a machine with 2 GPUs: .* 2\), or .* cpu"):
        processes.device()


def test_one_gpu_for_all_processes_is_refused(four_on_a_machine, monkeypatch):
    monkeypatch.setattr(processes.hardware, "gpu_count", lambda: 4)
    with pytest.raises(RunError, match="--device cuda:1: of several processes each has its own"):
        processes.device("cuda:1")


def test_tensors_travel_in_their_order_and_not_all_at_once():
    sizes = [3, 2**22, 2**22, 5, 7]
    tensors = [torch.empty(size) for size in sizes] + [torch.empty(2, dtype=torch.int64)]
    buckets = [[t.numel() for t in bucket] for bucket in processes._buckets(tensors)]
    assert buckets == [[3, 2**22, 2**22], [5, 7], [2]]
