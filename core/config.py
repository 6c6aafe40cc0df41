"""The configuration of a job: one typed model, whoever fills it in.

A YAML file, `--set key=value` on the command line, a Prefect deployment's parameters and the Prefect form
all become a `JobConfig`; it is logged to MLflow and stored beside the model. Presets are named starting
values for it. Settings of the machine are in `core.settings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from core.catalog import DatasetConfig
from core.errors import ConfigError, TimeloomError
from core.model_options import Beta, ComparisonConfig, FlowMatchingConfig, WaveGANConfig
from core.promotion.options import GatesConfig
from core.schema import Section, validated

Preset = Literal["quick", "paper", "best"]

# `paper` is the published example's size (TimeGAN repository: hidden 24, 3 layers, batch 128) with 10,000
# iterations a phase. `quick` is sized for six minutes, all in all, on two CPU cores; of a dozen sizes tried
# with one seed each on sp500, those with small batches, many steps and three layers scored lowest.
PRESETS: dict[Preset, dict[str, Any]] = {
    "quick": {
        "model": {"hidden": 24, "layers": 3},
        "training": {
            "batch_size": 64,
            "embedding_iterations": 3000,
            "supervised_iterations": 1500,
            "joint_iterations": 6000,
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
    "best": {
        "model": {"kind": "flow_matching"},
        "training": {
            "batch_size": 128,
            "joint_iterations": 5000,
            "optimizer": {"kind": "adamw", "weight_decay": 0.01},
            "schedule": {"kind": "cosine", "warmup": 500},
            "ema": 0.999,
        },
    },
}


def _changed(section: Section) -> list[str]:
    """Fields that are not what they are where nobody sets them."""
    return [
        name
        for name, field in type(section).model_fields.items()
        if getattr(section, name) != field.get_default(call_default_factory=True)
    ]


class WindowConfig(Section):
    """How the prepared series is cut into windows."""

    length: int = Field(default=24, ge=2, le=4096, description="Steps in a window.")
    stride: int = Field(default=1, ge=1, description="Steps from the start of a window to the next one's.")
    min_length: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Shortest window, where a segment ends; only whole ones if empty.",
    )


class TimeGANConfig(Section):
    """TimeGAN and its size (keyword arguments of `core.generators.timegan.TimeGAN`).

    `variant` gives the defaults of what the paper and its published code do differently; a field that is set
    wins. docs/timegan.md lists every difference and the option that chooses.
    """

    kind_may_be_left_out = True
    kind: Literal["timegan"] = Field(default="timegan", description="Which generator to train.")
    variant: Literal["code", "paper"] = Field(
        default="code", description="Follow the published code or the paper where they differ."
    )
    hidden: int = Field(default=24, ge=1, le=1024, description="Width of the latent space and of every layer.")
    layers: int = Field(default=3, ge=1, le=16, description="Recurrent layers (the supervisor has one less).")
    cell: Literal["gru", "lstm", "lstm_ln"] = Field(
        default="gru", description="Recurrent cell; `lstm_ln` is the layer-normalised LSTM."
    )
    reset_gate: Literal["after", "before"] = Field(
        default="after",
        description="GRU: reset gate after the recurrent product (cuDNN; one fused call) or before (TF1).",
    )
    noise: int | None = Field(
        default=None, ge=1, le=1024, description="Width of the noise; as many as there are channels if empty."
    )
    noise_kind: Literal["uniform", "gaussian", "wiener"] | None = Field(
        default=None,
        description="Noise by step: U[0, 1] (code), N(0, 1), or a Wiener process over the window (paper).",
    )
    noise_constant: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Width of further noise that is the same at each step of a window.",
    )
    supervision: Literal["supervisor", "generator"] | None = Field(
        default=None,
        description="What predicts the next latent: a supervisor behind the generator (code), or the generator "
        "g(h_{t-1}, z_t) itself (paper, eq. 9).",
    )
    recovery: Literal["recurrent", "feedforward"] | None = Field(
        default=None, description="Recovery network: recurrent (code) or the same layers per step (paper)."
    )
    bidirectional: bool | None = Field(
        default=None, description="The discriminator reads both ways: no (code) or yes (paper)."
    )
    discrete: Literal["likeliest", "drawn"] | None = Field(
        default=None,
        description="Discrete columns: the likeliest choice (code), or drawn by its probability and fed back "
        "step by step (paper; needs supervision=generator and recovery=feedforward).",
    )
    latent_static: int | None = Field(
        default=None, ge=1, le=1024, description="Width of the static latent; `hidden` if empty."
    )
    condition: tuple[str, ...] = Field(
        default=(), description="Static columns whose value is given to the generator, not generated."
    )
    one_hot_gradient: Literal["soft", "identity"] = Field(
        default="soft",
        description="Straight-through gradient of a hard category: through the softmax or as is.",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout between layers, in training only.")
    recurrent_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Variational dropout of recurrent states, in training only."
    )
    binarize: tuple[Literal["embedder", "recovery", "generator", "supervisor", "discriminator"], ...] = Field(
        default=(), description="Networks whose weights act by their sign (straight-through)."
    )


ModelConfig = TimeGANConfig | ComparisonConfig | FlowMatchingConfig
_MODELS: dict[str, type[ModelConfig]] = {
    model.model_fields["kind"].default: model for model in get_args(ModelConfig)
}
KINDS = tuple(_MODELS)
"""Generators there are, by `model.kind`."""
_TIMEGAN: str = TimeGANConfig.model_fields["kind"].default
_OF_TIMEGAN = ("losses", "discriminator_rule", "discriminator_threshold", "discriminator_accuracy", "replicas")
"""Keys of the section `training` that no other generator reads and that no preset sets."""


class OptimizerGroup(Section):
    """What differs for one network."""

    learning_rate: float | None = Field(default=None, gt=0, le=1, description="Of this network.")
    weight_decay: float | None = Field(default=None, ge=0, le=1, description="Of this network.")


class OptimizerConfig(Section):
    """How gradients become steps."""

    kind: Literal["adam", "adamw", "sgd", "rmsprop"] = Field(
        default="adam", description="`adam` adds weight decay to the gradient, `adamw` to the step."
    )
    betas: tuple[Beta, Beta] = Field(default=(0.9, 0.999), description="Decay of Adam's two moments.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Of `sgd` and `rmsprop`.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Of all networks, biases included.")
    groups: dict[str, OptimizerGroup] = Field(
        default_factory=dict, description="By network, e.g. {discriminator: {learning_rate: 0.0005}}."
    )


class ScheduleConfig(Section):
    """The learning rate over a phase."""

    kind: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="Constant, or down to `floor` at the end of the phase."
    )
    warmup: int = Field(
        default=0,
        ge=0,
        description="Iterations over which the rate of a phase rises from 0; a shorter phase ends in its rise.",
    )
    floor: float = Field(default=0.0, ge=0, le=1, description="Share of the rate that is left at the end.")


class GradientConfig(Section):
    """What is done about gradients that grow or vanish."""

    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of an optimiser's gradient; longer ones are scaled down."
    )
    clip_value: float | None = Field(default=None, gt=0, description="Largest magnitude of a gradient's entry.")
    vanishing: float = Field(
        default=1e-9, ge=0, description="A network's gradient norm below this counts as vanishing; 0: never."
    )
    exploding: float = Field(
        default=1e6, gt=0, description="A network's gradient norm above this counts as exploding."
    )
    patience: int = Field(default=5, ge=1, description="Logged points in a row before `action` is taken.")
    action: Literal["warn", "stop", "clip", "lower_rate"] = Field(
        default="warn",
        description="Say it, stop the training, clip from then on at `exploding`, or halve the learning rate.",
    )

    @model_validator(mode="after")
    def _a_gradient_may_be_neither(self) -> Self:
        if self.exploding <= self.vanishing:
            raise ValueError(f"expected exploding > vanishing, got {self.exploding:g} and {self.vanishing:g}")
        return self


class SparsityConfig(Section):
    """An L1 penalty on chosen weights."""

    weight: float = Field(default=0.0, ge=0, description="Of the sum of magnitudes; 0: none.")
    parameters: tuple[str, ...] = Field(
        default=("*",), min_length=1, description="Patterns of parameter names, e.g. discriminator.*weight_hh."
    )
    method: Literal["proximal", "subgradient"] = Field(
        default="proximal",
        description="Soft-thresholding after the step, which reaches exact zeros, or weight x sign in the "
        "gradient, which does not.",
    )


class UpdateConfig(Section):
    """Which weights may move at all; the others stay bit for bit."""

    parameters: tuple[str, ...] = Field(
        default=("*",),
        min_length=1,
        description="Patterns of parameter names, e.g. generator.*; others stay.",
    )
    file: str | None = Field(
        default=None,
        description="safetensors file of masks by parameter name (true or 1: moves), dense or as COO "
        "(`NAME.indices` of shape (dimensions, edges)).",
    )
    rule: Literal["all", "magnitude", "gradient"] = Field(
        default="all", description="Of those parameters: all weights, or the largest by magnitude or gradient."
    )
    fraction: float = Field(
        default=0.1, gt=0, le=1, description="With a rule: the share of each parameter's weights that moves."
    )


class SelectionConfig(Section):
    """Choosing weights by windows that were not trained on."""

    validation: float = Field(
        default=0.0, ge=0, lt=0.9, description="Share of the rows, the latest, kept from training; 0: none."
    )
    every: int = Field(default=500, ge=1, description="Iterations between two looks at the validation windows.")
    keep_best: bool = Field(default=True, description="End with the best weights seen, not with the last.")
    patience: int | None = Field(
        default=None, ge=1, description="Looks without progress before the phase ends early; never if empty."
    )
    windows: int = Field(default=1000, ge=10, description="Synthetic windows drawn for a look, at most.")

    @model_validator(mode="after")
    def _nothing_is_chosen_without_windows(self) -> Self:
        if not self.validation and (idle := _changed(self)):
            raise ValueError(
                f"{', '.join(idle)} without held-out windows has no effect: set training.selection.validation"
            )
        return self


class LossConfig(Section):
    """TimeGAN's losses; what is left empty follows `model.variant`."""

    form: Literal["root_mean_square", "norm"] | None = Field(
        default=None,
        description="Reconstruction and supervised error: root of the mean square (code), or mean Euclidean "
        "norm of a step (paper, eqs. 7 and 9).",
    )
    reconstruction: float | None = Field(
        default=None, ge=0, description="Weight of the reconstruction error: 10 (code), 1 (paper)."
    )
    supervised_embedder: float | None = Field(
        default=None, ge=0, description="Lambda, the embedder's supervised error: 0.1 (code), 1 (paper)."
    )
    supervised_generator: float | None = Field(
        default=None, ge=0, description="Eta, the generator's supervised error: 100 (code), 10 (paper)."
    )
    moments: float | None = Field(
        default=None, ge=0, description="Mean and spread of the batch: 100 (code), 0 (not in the paper)."
    )
    gamma: float | None = Field(
        default=None, ge=0, description="Second adversarial term, on E_hat: 1 (code), 0 (not in the paper)."
    )
    gradient_penalty: float = Field(
        default=0.0, ge=0, description="R1: squared gradient of the discriminator at real latents."
    )


class TrainingConfig(Section):
    """The phases and how they are optimised."""

    embedding_iterations: int = Field(
        default=10_000, ge=0, description="TimeGAN, phase 1, and flow matching with a latent: the autoencoder."
    )
    supervised_iterations: int = Field(default=10_000, ge=0, description="TimeGAN, phase 2: the supervisor.")
    joint_iterations: int = Field(
        default=10_000, ge=1, description="TimeGAN, phase 3; of other generators the whole training."
    )
    batch_size: int = Field(default=128, ge=2, description="Windows in a batch.")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="Step size, all networks.")
    losses: LossConfig = LossConfig()
    discriminator_rule: Literal["threshold", "always", "accuracy"] | None = Field(
        default=None,
        description="TimeGAN's discriminator steps while its loss is above `discriminator_threshold` (code), "
        "at every iteration (paper), or while it tells less than `discriminator_accuracy` of a batch right.",
    )
    discriminator_threshold: float = Field(default=0.15, ge=0, description="Of the rule `threshold`.")
    discriminator_accuracy: float = Field(default=0.8, gt=0.5, le=1, description="Of the rule `accuracy`.")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    gradients: GradientConfig = GradientConfig()
    l1: SparsityConfig = SparsityConfig()
    update: UpdateConfig = UpdateConfig()
    start_from: str | None = Field(
        default=None,
        description="Weights to start from: models:/NAME@champion, models:/NAME/3, a run id or a folder.",
    )
    ema: float = Field(
        default=0.0, ge=0, lt=1, description="Decay of the averaged weights that are sampled from; 0: none."
    )
    selection: SelectionConfig = SelectionConfig()
    replicas: int = Field(
        default=1,
        ge=1,
        le=256,
        description="TimeGAN: so many seeds, from `seed` on, are trained as one program and the best is kept, "
        "by `selection.validation`.",
    )
    cuda_graphs: bool = Field(
        default=True,
        description="On a GPU: replay whole iterations of TimeGAN as CUDA graphs (docs/speed.md).",
    )
    recurrence: Literal["torch", "numba", "triton"] | None = Field(
        default=None,
        description="What computes recurrent layers: numba (GRUs on a CPU, the default there), triton (GRUs on "
        "a GPU), or torch (everything, everywhere).",
    )
    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="bf16: mixed precision, on a GPU only."
    )
    deterministic: bool = Field(
        default=False, description="Refuse operations whose result varies from run to run (GPU; slower)."
    )
    checkpoint_every_seconds: float = Field(default=30.0, gt=0, description="Longest work lost by a crash.")
    keep_checkpoints: int = Field(default=2, ge=1, le=100, description="How many of the last are kept.")
    log_every: int = Field(default=10, ge=1, description="Steps between two logged points of a curve.")
    timeout_seconds: float | None = Field(default=None, gt=0, description="Stop a training longer than this.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes initialisation, batches and noise.")


class EvaluationConfig(Section):
    """How synthetic windows are judged, see docs/evaluation.md."""

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
    stronger_judges: tuple[Literal["lstm", "cnn", "rocket"], ...] = Field(
        default=("lstm", "cnn", "rocket"),
        description="Judges beside the paper's: two-layer LSTM, 1-D CNN, ROCKET.",
    )
    stronger_repetitions: int = Field(default=3, ge=1, le=20, description="Of each stronger judge.")
    forecasters: bool = Field(
        default=True,
        description="A stronger forecaster (TCN + Transformer), trained on synthetic and on real windows.",
    )
    distances: bool = Field(
        default=True, description="Distances of distributions, of dependence in time and between columns."
    )
    distance_windows: int = Field(
        default=2000, ge=10, description="Most windows of each kind in distances and privacy, drawn at random."
    )
    stylised_facts: bool | None = Field(
        default=None,
        description="Of market data (fat tails, volatility clustering, leverage); if empty, where the dataset "
        "has a trading calendar.",
    )
    privacy: bool = Field(default=True, description="Copies of training windows, and what can be told of them.")
    overlays: tuple[Literal["pca", "tsne", "umap"], ...] = Field(
        default=("pca", "tsne", "umap"),
        min_length=1,
        description="Embeddings in which windows are drawn; UMAP compiles itself for some ten seconds.",
    )
    plot_windows: int = Field(
        default=1000, ge=10, description="Windows drawn in PCA, t-SNE and UMAP, each kind."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Fixes the sample and the judges.")


class RegistryConfig(Section):
    """Where the trained generator is registered."""

    enabled: bool = Field(default=True, description="Register a model version at the end.")
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="`<dataset>-<kind>` if empty."
    )
    promote: Literal["if_better", "always", "never"] = Field(
        default="if_better",
        description="When the new version, always `challenger`, becomes `champion`: `if_better` asks it to "
        "pass the gates.",
    )
    gates: GatesConfig = GatesConfig()


def _described(dataset: Any) -> Any:
    """What a catalogue name or a path stands for; a description as it is."""
    if not isinstance(dataset, str):
        return dataset
    from core.settings import Settings
    from core.sources.resolve import resolve_dataset

    try:
        return resolve_dataset(dataset, Settings().catalog).dataset
    except TimeloomError as error:
        raise ValueError(str(error)) from error


Dataset = Annotated[DatasetConfig, BeforeValidator(_described, json_schema_input_type=str | DatasetConfig)]
"""A dataset by its name in the catalogue, by the path of a YAML or data file, or described in place."""


class JobConfig(Section):
    """Everything that decides what a `train` job does."""

    dataset: Dataset = Field(
        description="A name of the catalogue, the path of a YAML or data file, or a description in place."
    )
    preset: Preset | None = Field(
        default=None, description="Starting values of the sections `model` and `training`, for what is not set."
    )
    window: WindowConfig = WindowConfig()
    model: ModelConfig = Field(default=TimeGANConfig(), discriminator="kind")
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    registry: RegistryConfig = RegistryConfig()

    @model_validator(mode="before")
    @classmethod
    def _starts_from_the_preset(cls, value: Any) -> Any:
        """What a preset says of the model is its kind's; other kinds start from their own defaults."""
        name = value.get("preset") if isinstance(value, Mapping) else None
        if name not in tuple(PRESETS):
            return value
        preset = PRESETS[name]
        meant = _kind([preset])
        wanted = _kind([preset, value])
        if "kind" in preset["model"] and wanted != meant:
            raise ValueError(f"the preset {name} is one of {meant}; leave model.kind={wanted} out")
        tree: dict[str, Any] = {}
        _merge(tree, {key: part for key, part in preset.items() if wanted == meant or key != "model"})
        _merge(tree, {key: _as_set(part) if key != "dataset" else part for key, part in value.items()})
        return tree

    @field_validator("model", mode="before")
    @classmethod
    def _timegan_unless_said(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "kind" not in value:
            return {"kind": _TIMEGAN, **value}
        return value

    @model_validator(mode="after")
    def _options_are_read(self) -> Self:
        """What would be ignored is refused; `with_model` leaves it out."""
        kind, changed = self.model.kind, _changed(self.training)
        if kind != _TIMEGAN and (idle := [name for name in _OF_TIMEGAN if name in changed]):
            raise ValueError(
                f"{', '.join(f'training.{name}' for name in idle)}: TimeGAN's alone, a generator of kind "
                f"{kind} does not read it; leave it out"
            )
        if _has_betas(self.model) and "betas" in _changed(self.training.optimizer):
            raise ValueError(
                f"training.optimizer.betas: a generator of kind {kind} has betas of its own; set "
                "model.betas, or model.betas=null to have these"
            )
        return self

    @model_validator(mode="after")
    def _recurrence_fits_the_model(self) -> Self:
        """`core.networks.recurrence` refuses the same, and what only the machine shows, in time."""
        wanted, cell = self.training.recurrence, getattr(self.model, "cell", None)
        dropped = getattr(self.model, "recurrent_dropout", 0.0)
        if wanted in ("numba", "triton") and (cell != "gru" or dropped):
            what = f"has no recurrent layers of cell gru, it is of kind {self.model.kind}"
            what = what if cell is None else f"has cell {cell} and recurrent_dropout {dropped:g}"
            raise ValueError(
                f"training.recurrence={wanted} computes GRUs without recurrent dropout, this generator {what}; "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _replicas_stay_apart(self) -> Self:
        """`core.training.replicas` says why, and refuses the same for who trains without a configuration."""
        training, selection = self.training, self.training.selection
        if training.replicas == 1:
            return self
        if not selection.validation or not selection.keep_best:
            raise ValueError(
                "training.replicas: the best is chosen by windows that are held out; set "
                "training.selection.validation, as 0.2, and leave training.selection.keep_best on"
            )
        if _changed(training.update) or training.gradients.action != "warn":
            raise ValueError(
                "training.replicas: training.update, and another training.gradients.action than warn, are for "
                "one replica; leave them out"
            )
        return self

    @model_validator(mode="after")
    def _layers_fit_the_window(self) -> Self:
        model, length = self.model, self.window.length
        if isinstance(model, WaveGANConfig) and (model.layers or 1) > (most := model.most_layers(length)):
            raise ValueError(
                f"model.layers: windows of {length} steps are down to one after {most} convolutions of stride "
                f"{model.stride}; expected at most {most}, got {model.layers}"
            )
        return self

    @property
    def model_name(self) -> str:
        """Name of the registered model."""
        return self.registry.name or f"{self.dataset.name}-{self.model.kind}"


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
    tree: dict[str, Any] = {"dataset": dataset.model_dump(exclude_unset=True), "preset": preset}
    layers = [values or {}, *map(parse_override, overrides)]
    kind = _kind(layers)
    if isinstance(kind, str):
        checked_kinds([kind])
    for layer in layers:
        _merge(tree, layer)
    if seed is not None:
        _merge(tree, {"training": {"seed": seed}, "evaluation": {"seed": seed}})
    return validated(JobConfig, tree)


def checked_kinds(kinds: Iterable[str] | None) -> tuple[str, ...]:
    """The kinds of generators asked for, each once; every one if none is.

    Raises:
        ConfigError: there is no such kind.
    """
    chosen = tuple(dict.fromkeys(kinds or KINDS))
    if unknown := [kind for kind in chosen if kind not in KINDS]:
        raise ConfigError(f"there is no generator {unknown[0]!r}: choose among {', '.join(KINDS)}")
    return chosen


def with_model(job: JobConfig, kind: str) -> JobConfig:
    """The job for another kind of generator: its defaults, given the same conditions.

    What the section `training` says that this kind does not read is left out, as a job for it would refuse it.

    Raises:
        KeyError: there is no such kind.
    """
    if job.model.kind == kind:
        return job
    model, training = _MODELS[kind](condition=job.model.condition), job.training
    if kind != _TIMEGAN:
        defaults = TrainingConfig()
        training = training.model_copy(update={name: getattr(defaults, name) for name in _OF_TIMEGAN})
    if _has_betas(model):
        optimizer = training.optimizer.model_copy(update={"betas": OptimizerConfig().betas})
        training = training.model_copy(update={"optimizer": optimizer})
    return job.model_copy(update={"model": model, "training": training})


def _as_set(part: Any) -> Any:
    """A section as the mapping of what was set in it."""
    return part.model_dump(exclude_unset=True) if isinstance(part, Section) else part


def _has_betas(model: ModelConfig) -> bool:
    """Those of the section `training` have no effect on it."""
    return getattr(model, "betas", None) is not None


def _kind(layers: Iterable[Mapping[str, Any]]) -> Any:
    """The kind of generator that the last layer that names one names."""
    kind: Any = _TIMEGAN
    for layer in layers:
        model = layer.get("model")
        if isinstance(model, Mapping) and "kind" in model:
            kind = model["kind"]
    return kind


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
