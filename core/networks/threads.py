"""Torch threads: networks this small want one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, and the number of before afterwards.

    Several are slower on recurrent networks of this size, forty times slower where another thread of the
    process is busy too; and sums would depend on their number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
