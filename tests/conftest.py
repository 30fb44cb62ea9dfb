"""Options and fixtures for all tests."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--golden-update",
        action="store_true",
        help="rewrite the files of tests/golden instead of comparing with them",
    )


@pytest.fixture
def golden_update(request):
    return request.config.getoption("--golden-update")
