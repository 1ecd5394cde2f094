"""One thread inside, and as many as before afterwards, whatever happens."""

from __future__ import annotations

import pytest
import torch

from fuse.threads import one_thread


def test_one_thread_inside_and_as_before_afterwards() -> None:
    torch.set_num_threads(3)  # the suite sets it back
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(ValueError, match="inside"), one_thread():
        raise ValueError("inside")
    assert torch.get_num_threads() == 3
