"""Sections `model` of generators other than TimeGAN: keyword arguments of their classes in `core.generators`.

Defaults of the comparison methods are their papers', sizes the TimeGAN paper's (docs/comparison.md);
docs/flow-matching.md explains flow matching.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from core.schema import Section

Cell = Annotated[
    Literal["gru", "lstm", "lstm_ln"],
    Field(description="Recurrent cell; `lstm_ln` is the layer-normalised LSTM."),
]
Condition = Annotated[
    tuple[str, ...], Field(description="Static columns whose value is given to the generator, not generated.")
]
Beta = Annotated[float, Field(ge=0, lt=1)]
"""Decay of a moment of Adam."""
Betas = Annotated[tuple[Beta, Beta] | None, Field(description="Of Adam; `training.optimizer.betas` if empty.")]
Components = Annotated[
    int, Field(ge=1, le=64, description="Components of the mixture that a step is drawn from.")
]
Dropout = Annotated[float, Field(ge=0, lt=1, description="Dropout between layers, in training only.")]
Hidden = Annotated[
    int | None,
    Field(ge=1, le=1024, description="Width of the recurrent layers; 4 times the channels if empty."),
]
Layers = Annotated[int, Field(ge=1, le=16, description="Recurrent layers of each network.")]
Noise = Annotated[
    int | None,
    Field(ge=1, le=1024, description="Width of the noise at each step; as many as channels if empty."),
]
OneHotGradient = Annotated[
    Literal["soft", "identity"],
    Field(description="Straight-through gradient of a hard category: through the softmax or as is."),
]
RecurrentDropout = Annotated[
    float, Field(ge=0, lt=1, description="Variational dropout of recurrent states, in training only.")
]


class RCGANConfig(Section):
    """RCGAN: recurrent generator and discriminator, noise at each step."""

    kind: Literal["rcgan"] = Field(default="rcgan", description="Which generator to train.")
    hidden: Hidden = None
    layers: Layers = 3
    cell: Cell = "gru"
    noise: Noise = None
    noise_kind: Literal["gaussian", "uniform"] = Field(default="gaussian", description="N(0, 1) or U[0, 1).")
    bidirectional: bool = Field(default=False, description="The discriminator reads both ways.")
    discriminator_steps: int = Field(default=1, ge=1, le=100, description="Of the discriminator an iteration.")
    generator_steps: int = Field(default=1, ge=1, le=100, description="Of the generator an iteration.")
    betas: Betas = (0.5, 0.9)
    condition: Condition = ()
    one_hot_gradient: OneHotGradient = "soft"
    dropout: Dropout = 0.0
    recurrent_dropout: RecurrentDropout = 0.0


class CRNNGANConfig(Section):
    """C-RNN-GAN: the generator reads its own last step, the discriminator both ways."""

    kind: Literal["crnngan"] = Field(default="crnngan", description="Which generator to train.")
    hidden: Hidden = None
    layers: Layers = 3
    cell: Cell = "gru"
    noise: Noise = None
    feature_matching: bool = Field(
        default=True, description="The generator matches the discriminator's last layer on real windows."
    )
    freezing: float = Field(
        default=0.7, ge=0, lt=1, description="A network rests below this share of the other's loss; 0: never."
    )
    l2: float = Field(default=1e-4, ge=0, description="Weight of the sum of squared weights.")
    pretraining: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the iterations that pretrain the generator."
    )
    betas: Betas = (0.5, 0.9)
    condition: Condition = ()
    one_hot_gradient: OneHotGradient = "soft"


class TForcingConfig(Section):
    """T-Forcing: a recurrent network's distribution of the next step, by maximum likelihood."""

    kind: Literal["tforcing"] = Field(default="tforcing", description="Which generator to train.")
    hidden: Hidden = None
    layers: Layers = 3
    cell: Cell = "gru"
    components: Components = 5
    condition: Condition = ()
    dropout: Dropout = 0.0
    recurrent_dropout: RecurrentDropout = 0.0


class PForcingConfig(Section):
    """P-Forcing: T-Forcing that behaves alike on real steps and its own, by a discriminator."""

    kind: Literal["pforcing"] = Field(default="pforcing", description="Which generator to train.")
    hidden: Hidden = None
    layers: Layers = 3
    cell: Cell = "gru"
    components: Components = 5
    adversarial: float = Field(default=1.0, ge=0, description="Weight of the discriminator's answer.")
    teacher_term: bool = Field(default=False, description="Taught runs shall look like free ones, too.")
    discriminator_accuracy: float = Field(
        default=0.99, gt=0, le=1, description="The discriminator steps while it is right less often."
    )
    generator_accuracy: float = Field(
        default=0.75, ge=0, le=1, description="Its gradient is used while it is right more often."
    )
    condition: Condition = ()


class WaveNetConfig(Section):
    """WaveNet: dilated causal convolutions, by maximum likelihood."""

    kind: Literal["wavenet"] = Field(default="wavenet", description="Which generator to train.")
    residual: int = Field(default=32, ge=1, le=1024, description="Channels of the residual stream.")
    skip: int = Field(default=64, ge=1, le=4096, description="Channels of the skip connections.")
    kernel: int = Field(default=2, ge=2, le=64, description="Steps that a convolution reads.")
    stacks: int = Field(default=2, ge=1, le=16, description="How often the dilations are gone through.")
    dilations: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        default=None, min_length=1, description="Of one stack; 1, 2, 4, ... until it sees the window if empty."
    )
    components: Components = 5
    condition: Condition = ()


class WaveGANConfig(Section):
    """WaveGAN: strided convolutions against a Wasserstein critic."""

    kind: Literal["wavegan"] = Field(default="wavegan", description="Which generator to train.")
    width: int = Field(default=64, ge=1, le=1024, description="Channels of the critic's first layer.")
    kernel: int = Field(default=25, ge=2, le=256, description="Steps that a convolution reads, >= `stride`.")
    stride: int = Field(default=4, ge=2, le=16, description="Factor of each layer.")
    layers: int | None = Field(
        default=None, ge=1, le=10, description="Convolutions of each network; down to 4 steps if empty."
    )
    noise: int = Field(default=100, ge=1, le=4096, description="Width of the noise, one vector a window.")
    phase_shuffle: int = Field(
        default=2, ge=0, le=64, description="Most steps that the critic's inner layers are moved by; 0: never."
    )
    critic_steps: int = Field(default=5, ge=1, le=100, description="Of the critic an iteration.")
    gradient_penalty: float = Field(default=10.0, ge=0, description="Weight of WGAN-GP's penalty.")
    betas: Betas = (0.5, 0.9)
    condition: Condition = ()
    one_hot_gradient: OneHotGradient = "soft"

    @model_validator(mode="after")
    def _kernel_covers_stride(self) -> Self:
        if self.kernel < self.stride:
            raise ValueError(f"expected kernel >= stride, got {self.kernel} and {self.stride}")
        return self

    def most_layers(self, length: int) -> int:
        """Convolutions until one step of a window is left: each further one only doubles the channels."""
        layers = 1
        while self.stride**layers < length:
            layers += 1
        return layers


class FlowMatchingConfig(Section):
    """Flow matching: noise becomes a window along the velocities that a transformer learnt."""

    kind: Literal["flow_matching"] = Field(default="flow_matching", description="Which generator to train.")
    hidden: int = Field(
        default=64, ge=2, le=4096, description="Width of the transformer, a multiple of twice `heads`."
    )
    layers: int = Field(default=2, ge=1, le=32, description="Blocks of the transformer.")
    heads: int = Field(default=4, ge=1, le=64, description="Of its attention.")
    expansion: int = Field(
        default=4, ge=1, le=16, description="Width of a block's dense layer, in multiples of `hidden`."
    )
    levels: int = Field(
        default=8,
        ge=0,
        le=256,
        description="Width of a dense network beside the transformer, on the windows' levels alone, in "
        "multiples of the numbers of a step; 0: none.",
    )
    solver: Literal["fitted", "adams", "heun", "euler"] = Field(
        default="fitted",
        description="How velocities are followed: `fitted` to this generator when it is trained, or by a "
        "method for any field; `heun` asks the network twice a step, the others once.",
    )
    sampling_steps: int = Field(default=6, ge=1, le=1000, description="From noise to window.")
    whitening: bool = Field(
        default=True,
        description="Noise moves no more than the windows do, by frequency and column; not of windows that "
        "differ in length, nor in a latent space.",
    )
    condition: Condition = ()
    condition_dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Share of training windows whose condition is not told."
    )
    guidance: float = Field(
        default=1.0, ge=0, le=20, description="How strongly a condition is followed; 1: as it was learnt."
    )
    completion: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of training windows that are told some of their cells, so that missing cells can be "
        "filled in and windows continued; 0: they cannot.",
    )
    fourier: float = Field(
        default=0.0,
        ge=0,
        description="In training: weight of the difference of Fourier transforms of the estimated window and "
        "the real one.",
    )
    fourier_form: Literal["absolute", "square"] = Field(
        default="absolute",
        description="Of that difference: as Diffusion-TS's code has it, or as its paper does, which by "
        "Parseval's theorem is the plain error once more (docs/flow-matching.md).",
    )
    correlation: float = Field(
        default=0.0,
        ge=0,
        description="In training: weight of the discrepancy between estimated and real windows' correlations, "
        "of columns with each other and of steps.",
    )
    moments: float = Field(
        default=0.0,
        ge=0,
        description="In training: weight of TimeGAN's two moments, over a batch of estimated windows.",
    )
    latent: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Numbers of a step that flow instead of the columns, made by an autoencoder that "
        "`training.embedding_iterations` train first; needs `completion` 0.",
    )

    @model_validator(mode="after")
    def _latents_stand_alone(self) -> Self:
        if self.latent is None:
            return self
        columnwise = ("completion", "fourier", "correlation", "moments")
        if named := [name for name in columnwise if getattr(self, name)]:
            raise ValueError(
                f"in a latent space there are no columns to look at: set model.{named[0]}=0 or leave "
                "model.latent out"
            )
        return self

    @model_validator(mode="after")
    def _heads_are_even(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"expected hidden to be a multiple of {2 * self.heads}, got {self.hidden}")
        return self


ComparisonConfig = RCGANConfig | CRNNGANConfig | TForcingConfig | PForcingConfig | WaveNetConfig | WaveGANConfig
