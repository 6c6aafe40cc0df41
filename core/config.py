"""The configuration of a job: one typed model, whoever fills it in.

A YAML file, `--set key=value` on the command line, a Prefect deployment's parameters and the Prefect form
all become a `JobConfig`; it is logged to MLflow and stored beside the model. Presets are named starting
values for it. Settings of the machine are in `core.settings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import yaml
from pydantic import Field

from core.catalog import DatasetConfig
from core.errors import ConfigError
from core.schema import Section, validated

Preset = Literal["quick", "paper"]

# `paper` is the published example's size (TimeGAN repository: hidden 24, 3 layers, batch 128) with 10,000
# iterations a phase. `quick` is sized for ten minutes, all in all, on two CPU cores; of eleven sizes tried
# with one seed each on sp500, those with small batches, many steps and three layers scored lowest.
PRESETS: dict[Preset, dict[str, Any]] = {
    "quick": {
        "model": {"hidden": 24, "layers": 3},
        "training": {
            "batch_size": 32,
            "embedding_iterations": 2000,
            "supervised_iterations": 1000,
            "joint_iterations": 3500,
        },
    },
    "paper": {
        "model": {"hidden": 24, "layers": 3},
        "training": {
            "batch_size": 128,
            "embedding_iterations": 10_000,
            "supervised_iterations": 10_000,
            "joint_iterations": 10_000,
        },
    },
}


class WindowConfig(Section):
    """How the prepared series is cut into windows."""

    length: int = Field(default=24, ge=2, le=4096, description="Steps in a window.")
    stride: int = Field(default=1, ge=1, description="Steps from the start of a window to the next one's.")


class ModelConfig(Section):
    """The generator and its size (keyword arguments of `core.generators.timegan.TimeGAN`)."""

    kind: Literal["timegan"] = Field(default="timegan", description="Which generator to train.")
    hidden: int = Field(default=24, ge=1, le=1024, description="Width of the latent space and of every layer.")
    layers: int = Field(default=3, ge=1, le=16, description="Recurrent layers (the supervisor has one less).")
    noise: int | None = Field(
        default=None, ge=1, le=1024, description="Width of the noise; as many as there are features if empty."
    )


class TrainingConfig(Section):
    """The three phases of TimeGAN and how they are optimised."""

    embedding_iterations: int = Field(default=10_000, ge=1, description="Steps of phase 1, the autoencoder.")
    supervised_iterations: int = Field(default=10_000, ge=1, description="Steps of phase 2, the supervisor.")
    joint_iterations: int = Field(default=10_000, ge=1, description="Steps of phase 3, all five networks.")
    batch_size: int = Field(default=128, ge=2, description="Windows in a batch.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Adam's step size, all networks.")
    gamma: float = Field(default=1.0, ge=0, description="Weight of the second adversarial term (on E_hat).")
    discriminator_threshold: float = Field(
        default=0.15, ge=0, description="The discriminator steps only while its loss is above this."
    )
    checkpoint_every_seconds: float = Field(default=30.0, gt=0, description="Longest work lost by a crash.")
    log_every: int = Field(default=10, ge=1, description="Steps between two logged points of a curve.")
    timeout_seconds: float | None = Field(default=None, gt=0, description="Stop a training longer than this.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes initialisation, batches and noise.")


class EvaluationConfig(Section):
    """Judging by the TimeGAN paper's protocol (its published code's, see docs/architecture.md)."""

    judges: int = Field(default=10, ge=1, le=100, description="Independent judges of each score.")
    discriminative_iterations: int = Field(default=2000, ge=1, description="Training steps of a classifier.")
    predictive_iterations: int = Field(default=5000, ge=1, description="Training steps of a forecaster.")
    batch_size: int = Field(default=128, ge=2, description="Windows in a batch of a judge.")
    max_windows: int = Field(
        default=10_000, ge=10, description="Most real windows judged, drawn at random, and as many synthetic."
    )
    references: bool = Field(
        default=True,
        description="Judge real windows against real ones too: what a perfect generator would get.",
    )
    plot_windows: int = Field(default=1000, ge=10, description="Windows drawn in PCA and t-SNE, each kind.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes the sample and the judges.")


class RegistryConfig(Section):
    """Where the trained generator is registered."""

    enabled: bool = Field(default=True, description="Register a model version at the end.")
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="`<dataset>-<kind>` if empty."
    )
    promote: Literal["if_better", "always", "never"] = Field(
        default="if_better",
        description="When the new version, always `challenger`, becomes `champion`: `if_better` asks for a "
        "discriminative score no worse than the champion's.",
    )


class JobConfig(Section):
    """Everything that decides what a `train` job does."""

    dataset: DatasetConfig
    window: WindowConfig = WindowConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    registry: RegistryConfig = RegistryConfig()

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registry.name or f"{self.dataset.name}-{self.model.kind}"

    def flat(self) -> dict[str, Any]:
        """Every leaf by its dotted name, `None` included, for logging as parameters."""
        return dict(_leaves("", self.model_dump(mode="json")))


def build_job(
    dataset: DatasetConfig,
    *,
    preset: str = "quick",
    values: Mapping[str, Any] | None = None,
    overrides: Iterable[str] = (),
    seed: int | None = None,
) -> JobConfig:
    """A job from a dataset, a preset, then `values` (nested), then `key=value` overrides, then the seed.

    Raises:
        ConfigError: an unknown preset or key (the nearest valid one is suggested) or a value out of range.
    """
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}: choose one of {', '.join(get_args(Preset))}")
    tree: dict[str, Any] = {"dataset": dataset.model_dump(exclude_unset=True)}
    _merge(tree, PRESETS[preset])
    _merge(tree, values or {})
    for override in overrides:
        _merge(tree, parse_override(override))
    if seed is not None:
        _merge(tree, {"training": {"seed": seed}, "evaluation": {"seed": seed}})
    return validated(JobConfig, tree)


def parse_override(text: str) -> dict[str, Any]:
    """`"training.batch_size=64"` as `{"training": {"batch_size": 64}}`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"expected key=value, as in training.batch_size=64, got {text!r}")
    try:
        leaf: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {key} is no YAML: {value!r}") from error
    for part in reversed(key.split(".")):
        leaf = {part: leaf}
    return dict(leaf)


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _leaves(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value
