from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.errors import ConfigError, DataError, TrainingDivergedError
from core.evaluation.judges.forecasters import Forecaster, forecast_error

STEPS = 16


def autoregression(windows: int, seed: int, weight: float = 0.5, sigma: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(windows) * sigma / math.sqrt(1 - weight**2)
    steps = []
    for _ in range(STEPS):
        steps.append(x)
        x = weight * x + sigma * rng.standard_normal(windows)
    return 0.5 + np.stack(steps, axis=1)[:, :, None]


def sines(windows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frequency, phase = rng.uniform(0.3, 1.5, (windows, 1, 2)), rng.uniform(0, 6, (windows, 1, 2))
    return 0.5 + 0.4 * np.sin(frequency * np.arange(STEPS)[:, None] + phase)


def persistence(windows: np.ndarray) -> float:
    return float(np.abs(np.diff(windows, axis=1)).mean())


def trained_a_little(windows: np.ndarray) -> Forecaster:
    network = Forecaster(windows.astype(np.float32), torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(1))
    return network


def test_no_forecast_depends_on_what_comes_after():
    windows = sines(8, 0)
    network = trained_a_little(windows)
    before = torch.from_numpy(windows).float()
    with torch.no_grad():
        answers = network(before)
        for t in range(STEPS - 1):
            after = before.clone()
            after[:, t + 1 :] = torch.rand(after[:, t + 1 :].shape, generator=torch.Generator().manual_seed(t))
            changed = network(after)
            torch.testing.assert_close(changed[:, : t + 1], answers[:, : t + 1])
            assert (changed[:, t + 1 :] - answers[:, t + 1 :]).abs().min() > 0


def test_the_first_step_still_matters_at_the_last():
    windows = sines(8, 0)
    inputs = torch.from_numpy(windows).float().requires_grad_()
    trained_a_little(windows)(inputs)[:, -1].sum().backward()
    assert (inputs.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_it_comes_close_to_the_error_that_nobody_can_avoid():
    # E|eps| of a normal innovation; the last value as forecast is off by N(0, 2 sigma^2 / (1 + weight)).
    sigma, weight = 0.05, 0.5
    error = forecast_error(autoregression(1500, 0), autoregression(500, 1), repetitions=1, iterations=200)
    floor = sigma * math.sqrt(2 / math.pi)
    assert 0.98 * floor < error.mean < 1.04 * floor
    assert error.mean < 0.95 * floor * math.sqrt(2 / (1 + weight))


def test_it_knows_sines_far_better_than_the_last_value_does():
    test = sines(200, 1)
    error = forecast_error(sines(1500, 0), test, repetitions=1, iterations=200)
    assert error.mean < 0.3 * persistence(test)


def test_worse_training_windows_make_worse_forecasts():
    test, train = sines(100, 1), sines(1000, 0)
    noise = np.random.default_rng(2).standard_normal(train.shape)
    errors = [
        forecast_error(train + scale * noise, test, repetitions=1, iterations=80).mean for scale in (0.0, 0.4)
    ]
    assert errors == sorted(errors)
    assert errors[-1] > 1.5 * errors[0]


def test_the_seed_fixes_it_and_repetitions_differ():
    train, test = sines(100, 0), sines(50, 1)
    given = {"repetitions": 2, "iterations": 5, "batch_size": 16}
    first = forecast_error(train, test, seed=3, **given)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    assert forecast_error(train, test, seed=3, **given) == first
    assert torch.get_num_threads() == threads
    assert not {*forecast_error(train, test, seed=4, **given).values} & {*first.values}
    assert first.values[0] != first.values[1]
    assert first.auc is None


def test_progress_is_told_up_to_the_end():
    told = []
    forecast_error(
        sines(40, 0), sines(9, 1), repetitions=2, iterations=3, progress=lambda *a: told.append(a), name="tstr"
    )
    assert told == [("tstr", done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("shape", [(3, 2, 1), (200, 2, 2), (5, 30, 1)])
def test_small_sets_short_windows_and_constant_columns_will_do(shape):
    rng = np.random.default_rng(0)
    train = np.concatenate([rng.random(shape), np.full(shape, 0.3)], axis=2)
    error = forecast_error(train, train[:2], repetitions=1, iterations=3)
    assert 0 < error.mean < 1


def test_constant_windows_are_forecast_without_error():
    still = np.full((20, 5, 1), 0.4)
    assert forecast_error(still, still, repetitions=1, iterations=3).mean < 0.01


def test_bad_input_is_refused():
    windows = sines(10, 0)
    with pytest.raises(ConfigError, match="iterations must be at least 1"):
        forecast_error(windows, windows, iterations=0)
    with pytest.raises(DataError, match="same steps and features"):
        forecast_error(windows[:, :, :1], windows)
    broken = windows.copy()
    broken[0, 0, 0] = np.inf
    with pytest.raises(DataError, match="finite"):
        forecast_error(broken, windows)
    with pytest.raises(TrainingDivergedError, match="scaled"):
        forecast_error(windows, 1e38 * windows, iterations=1)
