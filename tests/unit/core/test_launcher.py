from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch import distributed

from resnets.core import launcher
from resnets.core.launcher import Place

TOLD = {
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
    "TORCHELASTIC_RESTART_COUNT": "2",
}


@pytest.fixture
def told(monkeypatch):
    def tell(**changes):
        for name, value in (TOLD | changes).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return tell


def test_a_process_by_itself_has_no_place_and_leads():
    assert launcher.place() is None
    assert launcher.leads()
    assert launcher.first_to_say("anything")


def test_a_process_of_torchrun_has_the_place_that_it_was_told(told):
    told()
    assert launcher.place() == Place(rank=3, size=8, local_rank=1, local_size=2, restarts=2)
    assert not launcher.leads()
    told(RANK="0", TORCHELASTIC_RESTART_COUNT=None)
    assert launcher.leads()


@pytest.mark.parametrize("missing", [name for name in TOLD if not name.startswith("TORCH")])
def test_what_other_launchers_leave_in_the_environment_is_no_place(told, missing):
    told(**{missing: None})
    assert launcher.place() is None


def test_where_nobody_keeps_notes_everyone_speaks(told):
    told()  # nothing listens at port 1
    assert launcher.first_to_say("what is wrong here")


def test_who_is_alive_agrees_on_a_name_in_a_store_full_of_what_the_dead_have_left():
    notes = distributed.HashStore()
    notes.set_timeout(timedelta(seconds=20))
    names = []
    with ThreadPoolExecutor(3) as pool:
        # In whatever order they come: first those who find the name of an earlier meeting.
        for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
            met = [pool.submit(launcher.meet, notes, rank, 3) for rank in order]
            (name,) = {each.result(timeout=20) for each in met}
            names.append(name)
    assert len(set(names)) == 3
