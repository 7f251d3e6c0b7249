"""For kernel tests: where they run, in which dtypes, and fresh memory that is never clean.

The same tests run under Triton's interpreter on a CPU (float32 and float16: bfloat16 products are
wrong there) and compiled on a GPU.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

GPU = torch.cuda.is_available()
DTYPES = [torch.float32, torch.float16, *([torch.bfloat16] if GPU else [])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernel_dtype" in metafunc.fixturenames:
        metafunc.parametrize("kernel_dtype", DTYPES, ids=str)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not GPU:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if GPU else "cpu")


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """Fill every torch.empty with NaN, so that an element nobody writes is seen."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    def error(got: Tensor, want: Tensor) -> float:
        difference = (got.double().cpu() - want.double().cpu()).norm()
        return (difference / want.double().cpu().norm().clamp(min=1e-30)).item()

    return error
