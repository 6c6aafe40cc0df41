"""What generators made of torch networks share: their files, and drawing windows in chunks."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import ConfigError, StorageError
from core.generators.limits import check_options, check_weights, no_more_than
from core.networks.threads import one_thread
from core.prepare.channels.layout import Channels, WindowArrays, concatenated, width
from core.prepare.series import Windows
from core.strict_json import read_json
from core.tensors import pack_tensors, read_tensors

SAMPLE_CHUNK = 1024
"""Windows drawn at a time: bounds memory, and part of what a seed means."""
_MARGIN = "margin."


@dataclass
class Margins:
    """What is drawn from the training windows themselves: how long windows are and what is given."""

    lengths: Tensor
    """Shape (length + 1,): windows of each length."""
    conditions: Tensor
    """Shape (U, condition channels): the different conditions."""
    counts: Tensor
    """Shape (U,): windows with each."""

    @classmethod
    def of(cls, windows: Windows) -> Margins:
        """Counted in `windows`."""
        lengths = np.bincount(windows.lengths, minlength=windows.length + 1)
        conditions, counts = np.unique(windows.condition, axis=0, return_counts=True)
        return cls(torch.from_numpy(lengths), torch.from_numpy(conditions), torch.from_numpy(counts))

    @classmethod
    def whole(cls, length: int, conditions: int) -> Margins:
        """Whole windows, nothing given: before training."""
        lengths = torch.zeros(length + 1, dtype=torch.int64)
        lengths[-1] = 1
        return cls(lengths, torch.zeros(1, conditions), torch.ones(1, dtype=torch.int64))

    def check(self, length: int, conditions: int) -> None:
        """Refuse what no windows of at most `length` steps and so many condition channels give.

        Raises:
            ValueError: a shape or type is another, or a count is negative or all are 0.
        """
        known = len(self.conditions)
        shapes = {"lengths": (length + 1,), "conditions": (known, conditions), "counts": (known,)}
        for name, shape in shapes.items():
            found = getattr(self, name)
            if tuple(found.shape) != shape:
                raise ValueError(f"{name} of windows have shape {tuple(found.shape)}, expected {shape}")
        for counts in (self.lengths, self.counts):
            if counts.dtype != torch.int64 or counts.numel() == 0 or counts.min() < 0 or counts.max() == 0:
                raise ValueError("expected counts of windows, some of them above 0")
        if self.lengths[0] or self.conditions.dtype != torch.float32 or not self.conditions.isfinite().all():
            raise ValueError("expected windows of at least one step, and finite conditions")

    def draw(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Lengths, shape (n,), and conditions, shape (n, condition channels), drawn independently."""
        lengths = torch.multinomial(self.lengths.double(), n, replacement=True, generator=rng)
        chosen = torch.multinomial(self.counts.double(), n, replacement=True, generator=rng)
        return lengths, self.conditions[chosen]


class TorchGenerator(nn.Module, ABC):
    """A generator whose networks are attributes named in `networks`.

    A subclass builds its networks in its constructor, calls `reset_parameters` of each, and says what noise
    it wants (`noise_shapes`) and what it makes of it (`decode`).

    Args:
        length: Steps of the longest window.
        channels: Of the windows.
        options: The other arguments of the constructor, for `generator.json`.
    """

    kind: ClassVar[str]
    networks: tuple[str, ...]

    def __init__(self, length: int, channels: Channels, options: dict[str, Any]) -> None:
        super().__init__()
        self.length = length
        self.channels = channels
        self.options = options
        self.margins = Margins.whole(length, width(channels.condition))

    def network(self, name: str) -> nn.Module:
        """One of `networks`."""
        network: nn.Module = getattr(self, name)
        return network

    @abstractmethod
    def noise(self, n: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        """Noise of `n` windows, drawn on the generator's device, each of shape (n, ...)."""

    @abstractmethod
    def decode(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows from noise.

        Args:
            noise: As `noise` gives it, batch B.
            condition: Shape (B, condition channels).
            lengths: Shape (B,): steps of each window.

        Returns:
            Values, shape (B, length, channels), valid by `OutputHead`, and static values, shape (B, static
            channels). What stands past a window's end does not matter.
        """

    def sample(self, n: int, seed: int, condition: NDArray[np.float32] | None = None) -> WindowArrays:
        """Draw windows.

        Args:
            n: How many, at least 1.
            seed: From 0; the same seed gives the same windows, and the first windows of a larger `n` are
                those of a smaller one, up to rounding: torch rounds by the size of a batch.
            condition: Shape (condition channels,) or (n, condition channels): what is given; drawn like the
                training windows' if None.

        Raises:
            ConfigError: an argument is out of range or of another shape.
        """
        return concatenated(list(self.stream(n, seed, condition)))

    def stream(
        self, n: int, seed: int, condition: NDArray[np.float32] | None = None, start: int = 0
    ) -> Iterator[WindowArrays]:
        """The windows of `sample`, bit for bit, in chunks of `SAMPLE_CHUNK`; the last one may be shorter.

        Args:
            n: See `sample`.
            seed: See `sample`.
            condition: See `sample`.
            start: The first chunk to give; what comes before it is not decoded, only its noise is drawn.

        Raises:
            ConfigError: an argument is out of range or of another shape.
        """
        if n < 1 or seed < 0 or start < 0:
            raise ConfigError(
                f"expected n >= 1, seed >= 0 and start >= 0, got n={n}, seed={seed}, start={start}"
            )
        given = self._given(n, condition)
        rng = torch.Generator().manual_seed(seed)
        return self._chunks(n, rng, given, start)

    def _chunks(self, n: int, rng: torch.Generator, given: Tensor | None, start: int) -> Iterator[WindowArrays]:
        for number, first in enumerate(range(0, n, SAMPLE_CHUNK)):
            # Drawn on the CPU, and by whole chunks, so that a seed means the same everywhere.
            lengths, condition = self.margins.draw(SAMPLE_CHUNK, rng)
            noise = self.noise(SAMPLE_CHUNK, rng)
            if number < start:
                continue
            size = min(SAMPLE_CHUNK, n - first)
            if given is not None:
                condition = given[first : first + size]
            yield self._decoded(tuple(part[:size] for part in noise), condition[:size], lengths[:size])

    @torch.inference_mode()
    def _decoded(self, noise: tuple[Tensor, ...], condition: Tensor, lengths: Tensor) -> WindowArrays:
        # Threads and modes are those of whoever draws between two chunks.
        was_training = self.training
        self.eval()
        device = next(self.parameters()).device
        try:
            with one_thread():
                values, static = self.decode(
                    tuple(part.to(device) for part in noise), condition.to(device), lengths.to(device)
                )
        finally:
            self.train(was_training)
        inside = torch.arange(self.length) < lengths[:, None]
        parts = values.cpu() * inside[..., None], static.cpu(), condition, lengths
        return WindowArrays(*(part.numpy() for part in parts))

    def _given(self, n: int, condition: NDArray[np.float32] | None) -> Tensor | None:
        if condition is None:
            return None
        expected = width(self.channels.condition)
        if condition.shape not in {(expected,), (n, expected)}:
            raise ConfigError(
                f"expected a condition of shape ({expected},) or ({n}, {expected}), got {condition.shape}"
            )
        return torch.from_numpy(np.array(condition, dtype=np.float32)).expand(n, expected)

    def save(self, folder: Path) -> None:
        """Write `generator.json` and `weights.safetensors` into an existing folder."""
        tree = {
            "kind": self.kind,
            "length": self.length,
            "channels": self.channels.to_json(),
            "options": self.options,
        }
        (folder / "generator.json").write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
        tensors = self.state_dict() | {f"{_MARGIN}{k}": v for k, v in vars(self.margins).items()}
        (folder / "weights.safetensors").write_bytes(pack_tensors(tensors))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, on the CPU.

        Raises:
            StorageError: a file is missing or damaged, or the weights are another model's.
        """
        try:
            tree = read_json(folder / "generator.json")
            channels = Channels.from_json(tree["channels"])
            tensors = read_tensors(folder / "weights.safetensors")[0]
            check_options(cls.__init__, {"length": tree["length"], **tree["options"]}, tensors)
            margins = Margins(
                *(tensors.pop(f"{_MARGIN}{part}") for part in ("lengths", "conditions", "counts"))
            )
            margins.check(tree["length"], width(channels.condition))
            options = {"length": tree["length"], "channels": channels, "seed": 0, **tree["options"]}
            with no_more_than(tensors):
                expected = cls(**options).state_dict()
            check_weights(expected, tensors)
            model = cls(**options)
            model.load_state_dict(tensors)
            model.margins = margins
        except StorageError:
            raise
        # Whatever impossible options make of a constructor, it is the file that is wrong.
        except Exception as error:
            raise StorageError(f"{folder} holds no whole {cls.kind} generator: {error!r:.300}") from error
        return model.eval()
