"""What holds for the tests of methods."""

import gc

import pytest


@pytest.fixture(scope="session", autouse=True)
def frozen():
    """Some library collects garbage between its passes, which is slow with much in memory."""
    gc.freeze()
    yield
    gc.unfreeze()
