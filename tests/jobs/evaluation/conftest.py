"""The shop of three shoppers, staged and with shelves."""

import pytest

from jobs.lake.lake import Lake
from tests.jobs.evaluation.three_shoppers import BOUGHT, SHELVES, shelve, stage


@pytest.fixture
def shop(lake: Lake) -> Lake:
    stage(lake, BOUGHT)
    shelve(lake, SHELVES)
    return lake
