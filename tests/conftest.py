"""Options and fixtures for all tests."""

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption(
        "--golden-update",
        action="store_true",
        help="rewrite the files of tests/golden instead of comparing with them",
    )

    parser.addoption(
        "--kills",
        type=int,
        default=4,
        metavar="N",
        help="SIGKILLs for each run of tests/system/test_kill_and_resume.py with everything on",
    )


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Networks as small as those here only wait for a second thread."""
    torch.set_num_threads(1)


@pytest.fixture
def golden_update(request):
    return request.config.getoption("--golden-update")
