"""What tests of the project's own experiments share."""

from collections.abc import Callable

import pytest

from ssm_ref.training.batch import Source
from ssm_ref.training.config import RunConfig

# Errors that say what somebody has to fetch first.
TO_FETCH = ("no file of", "pip install", "Get them with")


@pytest.fixture
def data_of() -> Callable[[RunConfig], Source]:
    """The data of a config; the test is skipped where they are yet to be fetched."""

    def opened(cfg: RunConfig) -> Source:
        try:
            return cfg.open_data()
        except ValueError as error:
            if any(words in str(error) for words in TO_FETCH):
                pytest.skip(str(error))
            raise

    return opened
