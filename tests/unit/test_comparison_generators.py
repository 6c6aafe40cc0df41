"""What every comparison method must do: the whole data contract, seeds, files, resuming, readable options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.catalog import DatasetConfig
from core.config import KINDS, PRESETS, JobConfig, build_job, with_model
from core.errors import ConfigError, StorageError
from core.generators.module import TorchGenerator
from core.generators.registry import GENERATORS, load_generator, new_generator
from core.generators.wavegan import WaveGAN
from core.prepare.channels.layout import Block, Channels
from core.prepare.series import Windows
from core.training.base import NetworkTraining
from core.training.batches import Batch

SP500 = DatasetConfig.model_validate({"name": "sp500", "source": {"kind": "arch", "table": "sp500"}})
LENGTH = 6
# Small sizes, and beside the default of each method the options that change its path.
SMALL: dict[str, dict[str, Any]] = {
    "flow_matching": {"kind": "flow_matching", "hidden": 8, "layers": 1, "heads": 2, "sampling_steps": 3},
    "flow_matching, losses": {
        "kind": "flow_matching",
        "hidden": 8,
        "layers": 1,
        "heads": 2,
        "sampling_steps": 3,
        "fourier": 0.1,
        "correlation": 0.1,
        "moments": 0.1,
    },
    "flow_matching, latent": {
        "kind": "flow_matching",
        "hidden": 8,
        "layers": 1,
        "heads": 2,
        "sampling_steps": 3,
        "completion": 0.0,
        "latent": 4,
    },
    "rcgan": {"kind": "rcgan", "hidden": 6, "layers": 1, "discriminator_steps": 2},
    "rcgan, both ways": {"kind": "rcgan", "hidden": 6, "layers": 1, "bidirectional": True},
    "rcgan, dropout": {
        "kind": "rcgan",
        "hidden": 6,
        "layers": 2,
        "cell": "lstm",
        "dropout": 0.2,
        "recurrent_dropout": 0.2,
    },
    "crnngan": {"kind": "crnngan", "hidden": 6, "layers": 1, "pretraining": 0.5, "freezing": 0.3},
    "crnngan, plain": {"kind": "crnngan", "hidden": 6, "layers": 1, "feature_matching": False},
    "tforcing": {"kind": "tforcing", "hidden": 6, "layers": 2, "components": 3},
    "tforcing, dropout": {"kind": "tforcing", "hidden": 6, "layers": 2, "dropout": 0.2, "cell": "lstm_ln"},
    "pforcing": {
        "kind": "pforcing",
        "hidden": 6,
        "layers": 1,
        "components": 2,
        "generator_accuracy": 0.0,
        "teacher_term": True,
    },
    "wavenet": {"kind": "wavenet", "residual": 6, "skip": 8, "components": 3},
    "wavegan": {"kind": "wavegan", "width": 4, "kernel": 5, "stride": 2, "noise": 5, "critic_steps": 2},
}
OPTIONS = {
    "batch_size": 8,
    "embedding_iterations": 3,
    "joint_iterations": 8,
    "learning_rate": 1e-2,
    "seed": 3,
}
CPU = torch.device("cpu")


def mixed_windows(n: int = 300, *, whole: bool = False, seed: int = 0) -> Windows:
    """Every kind of column: continuous, binary, categorical, with missing cells, static, condition, lengths."""
    rng = np.random.default_rng(seed)
    channels = Channels(
        (
            Block("continuous"),
            Block("binary"),
            Block("one_hot", 3),
            Block("continuous", 1, optional=True),
            Block("one_hot", 2, optional=True),
            Block("binary", 1, optional=True),
        ),
        static=(Block("one_hot", 3), Block("continuous", 1, optional=True)),
        condition=(Block("one_hot", 2),),
    )
    rows = n + LENGTH
    present = (rng.random((rows, 3)) < 0.8).astype(float)
    values = np.column_stack(
        [
            rng.random(rows),
            rng.integers(0, 2, rows),
            np.eye(3)[rng.integers(0, 3, rows)],
            present[:, 0],
            present[:, 0] * rng.random(rows),
            present[:, 1],
            present[:, 1:2] * np.eye(2)[rng.integers(0, 2, rows)],
            present[:, 2],
            present[:, 2] * rng.integers(0, 2, rows),
        ]
    )
    there = rng.random(n) < 0.7
    static = np.column_stack([np.eye(3)[rng.integers(0, 3, n)], there, there * rng.random(n)])
    return Windows(
        values.astype(np.float32),
        np.arange(n),
        LENGTH,
        channels,
        np.full(n, LENGTH) if whole else rng.integers(2, LENGTH + 1, n),
        static.astype(np.float32),
        np.eye(2, dtype=np.float32)[rng.integers(0, 2, n)],
    )


def built(name: str, windows: Windows, seed: int = 1) -> TorchGenerator:
    model = new_generator(SMALL[name], length=windows.length, channels=windows.channels, seed=seed)
    assert isinstance(model, TorchGenerator)
    return model


def started(model: TorchGenerator, windows: Windows, **more: Any) -> NetworkTraining:
    training = model.start_training(windows, OPTIONS | more, CPU)
    assert isinstance(training, NetworkTraining)
    return training


def run(training: NetworkTraining, start: int = 0, stop: int | None = None) -> list[dict[str, float]]:
    """Iterations [start, stop) over all phases, as the loop does them; their losses."""
    todo = [(phase, step + 1) for phase in training.phases for step in range(phase.iterations)]
    return [
        {name: float(value) for name, value in training.iterate(phase, step).items()}
        for phase, step in todo[start:stop]
    ]


each = pytest.mark.parametrize("name", SMALL)


@each
@pytest.mark.parametrize("whole", [True, False])
def test_generated_cells_are_always_valid(name: str, whole: bool) -> None:
    windows = mixed_windows(whole=whole)
    model = built(name, windows)
    losses = run(started(model, windows))
    assert all(np.isfinite(value) for step in losses for value in step.values())
    made = model.sample(1500, seed=1)
    inside = np.arange(LENGTH) < made.lengths[:, None]
    cells = made.values[inside]
    assert ((made.values >= 0) & (made.values <= 1)).all()
    for channel in (1, 5, 7, 10, 11):
        assert set(np.unique(cells[:, channel])) <= {0, 1}
    assert (np.sort(cells[:, 2:5], axis=1) == [0, 0, 1]).all()
    assert (cells[cells[:, 5] == 0, 6] == 0).all()
    assert (cells[:, 8:10].sum(1) == cells[:, 7]).all()
    assert set(np.unique(cells[:, 8:10])) <= {0, 1}
    assert (cells[cells[:, 10] == 0, 11] == 0).all()
    assert (made.values[~inside] == 0).all()
    assert (np.sort(made.static[:, :3], axis=1) == [0, 0, 1]).all()
    assert (made.static[made.static[:, 3] == 0, 4] == 0).all()
    for got, trained in ((made.lengths, windows.lengths), (made.condition[:, 0], windows.condition[:, 0])):
        for value in np.unique(trained):
            assert abs((got == value).mean() - (trained == value).mean()) < 0.06


@each
def test_a_seed_means_the_same_windows_and_files_keep_them(name: str, tmp_path: Path) -> None:
    windows = mixed_windows()
    model = built(name, windows)
    run(started(model, windows), stop=3)
    few, many, other = model.sample(5, 7), model.sample(1100, 7), model.sample(5, 8)
    # Torch rounds the last bit by the size of a batch.
    np.testing.assert_allclose(few.values, many.values[:5], atol=1e-5)
    np.testing.assert_allclose(few.static, many.static[:5], atol=1e-5)
    np.testing.assert_array_equal(few.values, model.sample(5, 7).values)
    assert not np.array_equal(few.values, other.values)
    model.save(tmp_path)
    loaded = load_generator(tmp_path)
    np.testing.assert_array_equal(loaded.sample(1100, 7).values, many.values)
    np.testing.assert_array_equal(loaded.sample(1100, 7).static, many.static)


@each
def test_first_weights_come_from_the_seed_alone(name: str) -> None:
    windows = mixed_windows()
    torch.manual_seed(1)
    one, drawn = built(name, windows).state_dict(), torch.rand(1)
    torch.manual_seed(2)
    two, other = built(name, windows).state_dict(), built(name, windows, seed=5).state_dict()
    assert drawn is not None
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@each
@pytest.mark.parametrize("stop", [2, 5])
def test_a_resumed_training_ends_with_the_same_bits(name: str, stop: int) -> None:
    windows = mixed_windows()
    through = started(built(name, windows), windows)
    losses = run(through)
    before = started(built(name, windows), windows)
    run(before, stop=stop)
    # Elsewhere the random numbers of the process stand differently.
    torch.manual_seed(stop)
    state = {key: tensor.clone() for key, tensor in before.state().items()}
    after = started(built(name, windows, seed=9), windows, seed=11)
    after.load_state(state)
    assert run(after, start=stop) == losses[stop:]
    ended = after.state()
    for key, tensor in through.state().items():
        assert torch.equal(tensor, ended[key]), key


@each
def test_mixed_precision_keeps_losses_whole(name: str) -> None:
    """Under autocast, as on a GPU with bf16: losses in 32 bits, weights in 32 bits, nothing infinite."""
    windows = mixed_windows()
    training = started(built(name, windows), windows)
    with torch.autocast("cpu", torch.bfloat16):
        for phase in training.phases:
            for loss in phase.step().values():
                assert loss.dtype == torch.float32
                assert loss.isfinite()
    assert all(tensor.isfinite().all() for tensor in training.model.state_dict().values())


@each
def test_no_loss_sees_past_a_windows_end(name: str) -> None:
    """Changing what stands past a window's end changes no loss and no weight."""
    windows = mixed_windows()
    ends: list[tuple[list[dict[str, float]], dict[str, torch.Tensor]]] = []
    for noise in (0.0, 0.9):
        model = built(name, windows)
        training = started(model, windows)
        training.batches.draw = _disturbed(training.batches.draw, noise)  # type: ignore[method-assign]
        ends.append((run(training), {n: p.detach() for n, p in model.named_parameters()}))
    for plain, with_noise in zip(ends[0][0], ends[1][0], strict=True):
        assert plain == pytest.approx(with_noise, abs=1e-5)
    for key, parameter in ends[0][1].items():
        torch.testing.assert_close(parameter, ends[1][1][key], atol=1e-5, rtol=0)


def _disturbed(draw: Callable[[], Batch], noise: float) -> Callable[[], Batch]:
    def disturbed() -> Batch:
        batch = draw()
        assert batch.rows is not None
        return replace(batch, X=batch.X + noise * (1 - batch.rows))

    return disturbed


@each
def test_each_network_moves_and_what_is_given_matters(name: str) -> None:
    windows = mixed_windows()
    model = built(name, windows)
    training = started(model, windows)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    run(training)
    for network in model.networks:
        changed = [
            not torch.equal(before[key], model.state_dict()[key]) for key in before if key.startswith(network)
        ]
        assert any(changed), network
    low, high = (model.sample(40, 0, np.array(given, np.float32)) for given in ([1, 0], [0, 1]))
    assert (low.condition == [1, 0]).all()
    assert not np.array_equal(low.values, high.values)


@each
def test_series_of_one_kind_of_column_train_too(name: str) -> None:
    """Continuous alone, discrete alone, a single column: empty parts break nothing."""
    rng = np.random.default_rng(0)
    for blocks, values in (
        ((Block("continuous"),) * 3, rng.random((60, 3))),
        ((Block("continuous"),), rng.random((60, 1))),
        ((Block("one_hot", 3),), np.eye(3)[rng.integers(0, 3, 60)]),
    ):
        windows = replace(
            Windows.of(values.astype(np.float32), np.arange(50), LENGTH), channels=Channels(blocks)
        )
        model = built(name, windows)
        run(started(model, windows), stop=5)
        made = model.sample(3, 0)
        assert made.values.shape == (3, LENGTH, values.shape[1])
        assert made.static.shape == (3, 0)
        assert np.isfinite(made.values).all()


def test_the_registry_knows_what_the_configuration_knows() -> None:
    assert set(GENERATORS) == set(KINDS)
    assert set(KINDS) >= {"timegan", "rcgan", "crnngan", "tforcing", "pforcing", "wavenet", "wavegan"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_a_section_is_an_argument_of_its_class(kind: str) -> None:
    job = build_job(SP500, overrides=[f"model.kind={kind}"])
    assert JobConfig.model_validate_json(job.model_dump_json()) == job
    channels = Channels.continuous(3)
    model = new_generator(job.model.model_dump(), length=8, channels=channels, seed=0)
    default = GENERATORS[kind](length=8, channels=channels, seed=0)
    made, expected = model.sample(2, 0), default.sample(2, 0)
    np.testing.assert_array_equal(made.values, expected.values)
    # What a JSON job holds (lists for tuples) builds the same.
    again = new_generator(job.model_dump(mode="json")["model"], length=8, channels=channels, seed=0)
    np.testing.assert_array_equal(again.sample(2, 0).values, expected.values)


def test_presets_size_timegan_alone() -> None:
    for preset in ("quick", "paper"):
        job = build_job(SP500, preset=preset, values={"model": {"kind": "rcgan"}})
        assert job.model.kind == "rcgan"
        assert job.model.hidden is None
        assert job.training.joint_iterations == PRESETS[preset]["training"]["joint_iterations"]
    job = build_job(
        SP500, values={"model": {"kind": "rcgan"}}, overrides=["model.kind=wavegan", "model.width=8"]
    )
    assert (job.model.kind, job.model.width, job.model_name) == ("wavegan", 8, "sp500-wavegan")
    assert build_job(SP500, values={"model": {"hidden": 9}}).model.hidden == 9
    assert build_job(SP500, overrides=["model.kind=timegan"]).model.hidden == 24


def test_the_preset_best_is_flow_matching_and_nothing_else() -> None:
    job = build_job(SP500, preset="best", overrides=["model.hidden=96"])
    assert (job.model.kind, job.model.hidden, job.training.ema) == ("flow_matching", 96, 0.999)
    with pytest.raises(ConfigError, match="preset best is one of flow_matching"):
        build_job(SP500, preset="best", overrides=["model.kind=rcgan"])


def test_a_job_for_another_kind_keeps_what_is_given() -> None:
    job = build_job(SP500, overrides=["model.hidden=9", "model.condition=[sector]"])
    other = with_model(job, "wavenet")
    assert (other.model.kind, other.model.condition) == ("wavenet", ("sector",))
    assert other.training == job.training
    assert with_model(job, "timegan") is job


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.kind=rcgan", "model.hiden=3"], "unknown key model.hiden; did you mean model.hidden"),
        (["model.kind=wavenet", "model.hidden=3"], "unknown key model.hidden"),
        (["model.hiden=3"], "unknown key model.hiden; did you mean model.hidden"),
        (["model.kind=wavgan"], "there is no generator 'wavgan': choose among timegan, rcgan"),
        (["model.kind=[a]"], "model: .*'timegan', 'rcgan'"),
        (["model.kind=wavegan", "model.layers=0"], "model.layers: .* got 0"),
        (["model.kind=wavegan", "model.kernel=3"], "expected kernel >= stride"),
        (["model.kind=rcgan", "model.betas=[0.5,1]"], "model.betas.1: .*less than 1, got 1$"),
        (["model.kind=tforcing", "model.components=many"], "model.components: .* got 'many'"),
        (["model=rcgan"], "model: "),
    ],
)
def test_wrong_options_name_the_key(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_job(SP500, overrides=overrides)


OF_TIMEGAN = (
    "losses.gamma=0.5",
    "discriminator_rule=always",
    "discriminator_threshold=0.2",
    "discriminator_accuracy=0.9",
)


@pytest.mark.parametrize("option", OF_TIMEGAN)
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"timegan"}))
def test_what_timegan_alone_reads_is_refused_for_others(kind: str, option: str) -> None:
    key = option.partition("=")[0].partition(".")[0]
    with pytest.raises(ConfigError, match=rf"training\.{key}: TimeGAN's alone.* kind {kind}"):
        build_job(SP500, overrides=[f"model.kind={kind}", f"training.{option}"])
    # `timeloom compare` has them for TimeGAN alone. A flow validates its job once more.
    plain, asked = build_job(SP500), build_job(SP500, overrides=[f"training.{option}"])
    assert asked.training != plain.training
    assert with_model(asked, "timegan") is asked
    assert JobConfig.model_validate(with_model(asked, kind)) == with_model(plain, kind)
    # Said, but as it is anyway.
    build_job(SP500, overrides=[f"model.kind={kind}", "training.discriminator_threshold=0.15"])


@pytest.mark.parametrize("kind", ["rcgan", "crnngan", "wavegan"])
def test_betas_of_the_optimiser_are_refused_where_the_model_has_its_own(kind: str) -> None:
    words = [f"model.kind={kind}", "training.optimizer.betas=[0.1,0.2]"]
    with pytest.raises(ConfigError, match=rf"training\.optimizer\.betas: .* kind {kind} .* model\.betas"):
        build_job(SP500, overrides=words)
    assert build_job(SP500, overrides=[*words, "model.betas=null"]).training.optimizer.betas == (0.1, 0.2)
    job = build_job(SP500, overrides=[words[1]])
    assert with_model(job, kind).training.optimizer.betas == (0.9, 0.999)
    assert with_model(job, "wavenet").training == job.training
    assert build_job(SP500, overrides=["model.kind=wavenet", words[1]]).training.optimizer.betas == (0.1, 0.2)


@pytest.mark.parametrize(
    ("length", "stride", "most"), [(24, 4, 3), (24, 2, 5), (16, 4, 2), (17, 4, 3), (2, 4, 1)]
)
def test_layers_after_which_one_step_is_left_are_the_most(length: int, stride: int, most: int) -> None:
    """Each further one doubles the channels: ten are 50 GB."""
    words = ["model.kind=wavegan", f"window.length={length}", f"model.stride={stride}"]
    job = build_job(SP500, overrides=[*words, f"model.layers={most}", "model.width=1"])
    model = new_generator(job.model.model_dump(), length=length, channels=Channels.continuous(2), seed=0)
    assert isinstance(model, WaveGAN)
    assert model.discriminator.lengths[-1] == 1 < model.discriminator.lengths[-2]
    with pytest.raises(
        ConfigError, match=rf"model\.layers: windows of {length} .* at most {most}, got {most + 1}"
    ):
        build_job(SP500, overrides=[*words, f"model.layers={most + 1}"])


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    windows = mixed_windows()
    built("wavegan", windows).save(tmp_path)
    with pytest.raises(StorageError, match="no whole rcgan generator"):
        GENERATORS["rcgan"].load(tmp_path)
