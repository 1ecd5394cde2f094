"""What every test stands on: restored random states, one thread, rules for tests that want more than a clean clone."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch or numpy is imported: tests share the cores, and two threads in one small forward only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from hypothesis import HealthCheck, settings

# No deadline (a time is no property of the code), and the same examples in every run: a red suite is red for all.
settings.register_profile(
    "duet",
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("duet")

SAMPLES = "DUET_SAMPLE_DATA"
GPU_EXPECTED = "DUET_EXPECT_GPU"
_NO_SAMPLES = f"{SAMPLES} is not set"


@pytest.fixture(autouse=True)
def _same_chance() -> Iterator[None]:
    """Leave the random states as they were, so that no test depends on which ran before it."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - others may use it
    torch = sys.modules.get("torch")  # a test that doesn't want torch must not pay for it
    torch_state = torch.get_rng_state() if torch is not None else None
    if torch is not None:
        torch.set_num_threads(1)
    yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)  # noqa: NPY002
    if torch is not None:
        torch.set_rng_state(torch_state)
        torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_weights(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the weights that were fetched on this machine, or writes beside them."""
    os.environ["DUET_WEIGHTS"] = str(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def samples() -> Callable[[str], Path]:
    """`samples("grid/bbaf2n.mpg")` is the path of a real file. With the folder given, a missing file is a failure."""

    def find(name: str) -> Path:
        path = Path(os.environ[SAMPLES]) / name
        assert path.exists(), f"{SAMPLES} is set, but {path} is missing"
        return path

    return find


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("samples") and not os.environ.get(SAMPLES):
        pytest.skip(_NO_SAMPLES)
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            if os.environ.get(GPU_EXPECTED):
                pytest.fail(f"{GPU_EXPECTED} is set, but torch finds no GPU")
            pytest.skip("no GPU here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Who promised the real files is told when a test that wants them did not run."""
    report = yield
    if report.skipped and item.get_closest_marker("samples") and os.environ.get(SAMPLES):
        report.outcome = "failed"
        report.longrepr = f"{SAMPLES} is set, so this test may not skip: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _NO_SAMPLES in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests of real files skipped: {_NO_SAMPLES}")
