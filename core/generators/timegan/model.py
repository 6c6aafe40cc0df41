"""The five networks of TimeGAN, sampling from them, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import ConfigError, StorageError
from core.generators.base import Training
from core.networks.recurrent import RecurrentNetwork
from core.networks.threads import one_thread
from core.prepare.series import Windows
from core.tensors import pack_tensors, read_tensors

NETWORKS = ("embedder", "recovery", "generator", "supervisor", "discriminator")
SAMPLE_CHUNK = 1024
"""Windows drawn at a time: bounds memory, and part of what a seed means."""


class TimeGAN(nn.Module):
    """Embedder, recovery, generator, supervisor and discriminator over a latent space in (0, 1).

    Args:
        length: Steps in a window.
        features: Columns of a step.
        hidden: Width of the latent space and of every recurrent layer.
        layers: Recurrent layers; the supervisor has one less (at least one).
        noise: Width of the noise at each step, drawn from U[0, 1]; `features` if None, as in the code.
        seed: Fixes the initial weights.
    """

    kind: ClassVar[str] = "timegan"

    def __init__(
        self,
        *,
        length: int,
        features: int,
        hidden: int = 24,
        layers: int = 3,
        noise: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.networks = NETWORKS
        self.length = length
        self.features = features
        self.noise = noise or features
        self.options = {
            "length": length,
            "features": features,
            "hidden": hidden,
            "layers": layers,
            "noise": self.noise,
        }
        self.embedder = RecurrentNetwork(features, hidden, hidden, layers)
        self.recovery = RecurrentNetwork(hidden, hidden, features, layers)
        self.generator = RecurrentNetwork(self.noise, hidden, hidden, layers)
        self.supervisor = RecurrentNetwork(hidden, hidden, hidden, max(1, layers - 1))
        self.discriminator = RecurrentNetwork(hidden, hidden, 1, layers, logits=True)
        rng = torch.Generator().manual_seed(seed)
        for name in NETWORKS:
            self.network(name).reset_parameters(rng)

    def network(self, name: str) -> RecurrentNetwork:
        """One of `NETWORKS`."""
        network: RecurrentNetwork = getattr(self, name)
        return network

    def start_training(self, windows: Windows, options: Mapping[str, Any], device: torch.device) -> Training:
        """See `core.generators.base.Generator`."""
        # Imported here because a registered model carries this module but not the training.
        from core.generators.timegan.training import TimeGANTraining

        return TimeGANTraining(self, windows, options, device)

    def decode(self, Z: Tensor) -> Tensor:
        """Noise of shape (batch, length, noise) to windows of shape (batch, length, features)."""
        X_hat: Tensor = self.recovery(self.supervisor(self.generator(Z)))
        return X_hat

    @torch.inference_mode()
    def sample(self, n: int, seed: int) -> NDArray[np.float32]:
        """Draw windows.

        Args:
            n: How many, at least 1.
            seed: From 0; the same seed gives the same windows, and the first windows of a larger `n` are
                those of a smaller one, by chunks of `SAMPLE_CHUNK`.

        Returns:
            Shape (n, length, features), values in (0, 1): scaled by the training minimum and maximum.
        """
        if n < 1 or seed < 0:
            raise ConfigError(f"expected n >= 1 and seed >= 0, got n={n} and seed={seed}")
        device = next(self.parameters()).device
        rng = torch.Generator().manual_seed(seed)
        windows = np.empty((n, self.length, self.features), dtype=np.float32)
        with one_thread():
            for start in range(0, n, SAMPLE_CHUNK):
                stop = min(start + SAMPLE_CHUNK, n)
                # Drawn on the CPU, and by whole chunks, so that a seed means the same everywhere.
                Z = torch.rand((SAMPLE_CHUNK, self.length, self.noise), generator=rng)[: stop - start]
                windows[start:stop] = self.decode(Z.to(device)).cpu().numpy()
        return windows

    def save(self, folder: Path) -> None:
        """Write `generator.json` and `weights.safetensors` into an existing folder."""
        tree = {"kind": self.kind, "options": self.options}
        (folder / "generator.json").write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
        (folder / "weights.safetensors").write_bytes(pack_tensors(self.state_dict()))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, on the CPU.

        Raises:
            StorageError: a file is missing or damaged, or the weights are another model's.
        """
        try:
            tree = json.loads((folder / "generator.json").read_text(encoding="utf-8"))
            model = cls(**tree["options"])
            model.load_state_dict(read_tensors(folder / "weights.safetensors")[0])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise StorageError(f"{folder} holds no whole TimeGAN: {error}") from error
        return model.eval()
