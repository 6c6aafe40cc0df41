"""Whole iterations captured as CUDA graphs: hundreds of small kernels started by one call.

The first `WARM_UP` iterations of a phase run eagerly on a stream of their own, so that optimisers have their
moments and libraries their workspaces; then the iteration is captured once on that stream and replayed from
then on. Capturing does nothing by itself, so no iteration counts twice. What a replay writes stands at the same
place each time: the losses, the gradients, and what the iteration notes down (`core.training.base.Left`).

The random numbers are those of an eager iteration: a captured draw takes its offset from its generator, which
moves on by as many numbers as the iteration draws each time that the graph is replayed (torch's
`CUDAGeneratorImpl.cpp`, `replay_prologue`). So a checkpoint's random state is the same, and a training can be
resumed from either kind of iteration in the other.

What a step does must not depend on numbers that the host reads. What changes from iteration to iteration is in
tensors (learning rates, counters of steps, who moves), and what changes a step itself is part of the key under
which it was captured (the phase, the norm that gradients are clipped at): a new key is captured anew.

| what | on a GPU with `training.cuda_graphs` |
|---|---|
| TimeGAN, also with replicas | replayed |
| other generators | eagerly, since some decide on the host who moves; told once |
| a hundred iterations of a phase, where gradients are looked at step by step | eagerly, for the hooks |
| `update.rule: gradient`, while it decides on weights of a phase's networks | eagerly: it counts on the host |
| averaged weights (`ema`), logging, looks, checkpoints | between iterations |
| anything else | an error that says what could not be captured |
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import torch

from core.errors import TrainingError

WARM_UP = 3
"""Eager iterations before a capture, as many as torch's own `make_graphed_callables` takes."""
_FINDS_GENERATORS = (2, 14)
"""From this version on torch itself finds the generators that a capture draws from, and warns of being told."""

T = TypeVar("T")


class Recorder(Protocol):
    """What iterations are captured with."""

    def warm(self, work: Callable[[], T]) -> T:
        """Do it once, as a capture of it will."""
        ...

    def record(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """Capture it, doing nothing; what does it, and what it leaves each time."""
        ...


class Graphs(Generic[T]):
    """Runs iterations, each key's first ones eagerly, then by replaying one.

    One graph is held at a time: phases follow each other, and none is come back to.

    Args:
        recorder: Captures.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.key: Hashable = None
        self.warmed = 0
        self.captured: tuple[Callable[[], None], T] | None = None

    def run(self, key: Hashable, work: Callable[[], T]) -> T:
        """One iteration.

        Args:
            key: What `work` does; another key is captured anew.
            work: The iteration, which returns what it leaves on the device.

        Returns:
            What `work` returned, in place and good until the next iteration.

        Raises:
            TrainingError: the iteration cannot be captured.
        """
        if key != self.key:
            self.forget()
            self.key = key
        if self.captured is None and self.warmed < WARM_UP:
            self.warmed += 1
            return self.recorder.warm(work)
        if self.captured is None:
            self.captured = self._record(work)
        replay, left = self.captured
        replay()
        return left

    def forget(self) -> None:
        """The next iteration is the first: what was captured is freed, with the tensors that it writes."""
        self.key, self.warmed, self.captured = None, 0, None

    def _record(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        try:
            return self.recorder.record(work)
        except RuntimeError as error:
            raise TrainingError(
                f"the iteration {self.key} could not be captured as a CUDA graph: {error}; set "
                "training.cuda_graphs=false to train without"
            ) from error


class CudaRecorder:
    """Captures with `torch.cuda.graph`.

    Args:
        device: A CUDA device.
        rng: The generator that iterations draw from.
    """

    def __init__(self, device: torch.device, rng: torch.Generator) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.rng = rng

    def warm(self, work: Callable[[], T]) -> T:
        """On the stream that captures: what a library sets up for a stream is there by then."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            left = work()
        current.wait_stream(self.stream)
        return left

    def record(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        if torch.__version__ < _FINDS_GENERATORS:  # type: ignore[operator]  # as its own doc has it
            graph.register_generator_state(self.rng)
        with torch.cuda.graph(graph, stream=self.stream):
            left = work()
        return graph.replay, left
