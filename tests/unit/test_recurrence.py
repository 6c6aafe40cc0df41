"""The CPU's recurrent kernels against torch's own GRU, the formulas step by step, and finite differences."""

from __future__ import annotations

import copy
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from torch import Tensor

from core.errors import ConfigError
from core.generators.registry import new_generator
from core.lake import CORE
from core.networks import recurrence
from core.networks.recurrence import Layers, choose, gru, numba_gru, simd
from core.networks.recurrent import RecurrentNetwork, RecurrentOptions, RecurrentStack
from core.prepare.series import PreparedSeries

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def stack(inputs: int, hidden: int, layers: int, **options: Any) -> RecurrentStack:
    made = RecurrentStack(inputs, hidden, layers, RecurrentOptions(**options))
    rng = torch.Generator().manual_seed(hidden)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) / math.sqrt(hidden)
    return made


def weights(made: RecurrentStack) -> list[Tensor]:
    return [weight for layer in made._layers(made.layers) for weight in layer.weights()]


def gradients(made: torch.nn.Module, x: Tensor, along: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    states = made(x)
    found = torch.autograd.grad((states * along).sum(), [x, *made.parameters()])
    return [states.detach(), *found]


def close(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 2e-6) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=tolerance * max(1.0, other.abs().max().item()))


@settings(max_examples=25)
@given(
    reset_gate=st.sampled_from(["after", "before"]),
    batch=st.integers(1, 70),
    steps=st.integers(1, 9),
    inputs=st.integers(1, 13),
    hidden=st.integers(1, 21),
    layers=st.integers(1, 3),
)
def test_kernels_equal_the_formulas_step_by_step(
    reset_gate: str, batch: int, steps: int, inputs: int, hidden: int, layers: int
) -> None:
    made = stack(inputs, hidden, layers, reset_gate=reset_gate)
    rng = torch.Generator().manual_seed(batch)
    x, along = (torch.randn(batch, steps, width, generator=rng) for width in (inputs, hidden))
    made.use("numba")
    ours = gradients(made, x, along)
    with made.twice_differentiable():
        theirs = gradients(made, x, along)
    close(ours, theirs)


def test_kernels_equal_torchs_gru() -> None:
    reference = torch.nn.GRU(6, 24, num_layers=3, batch_first=True)
    x, along = torch.randn(40, 24, 6), torch.randn(40, 24, 24)
    names = [
        f"{kind}_l{layer}" for layer in range(3) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    given_weights = [getattr(reference, name).detach().clone().requires_grad_() for name in names]
    states = gru(x, given_weights, 3, "after", "numba")
    ours = torch.autograd.grad((states * along).sum(), given_weights)
    expected = reference(x)[0]
    theirs = torch.autograd.grad((expected * along).sum(), [getattr(reference, name) for name in names])
    close([states, *ours], [expected, *theirs])


@pytest.mark.parametrize("reset_gate", ["after", "before"])
def test_gradients_are_those_of_finite_differences(reset_gate: str) -> None:
    made = stack(3, 5, 2, reset_gate=reset_gate).double()
    x = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, *given_weights: Tensor) -> Tensor:
        return gru(x, given_weights, 2, reset_gate, "numba")

    # The kernels' tanh is 3e-7 from the true one, whose slope the backward pass takes.
    assert torch.autograd.gradcheck(call, (x, *weights(made)), eps=1e-5, atol=1e-5, rtol=1e-4)


def test_what_wants_no_gradient_costs_none_and_changes_no_bit() -> None:
    made = stack(4, 8, 2)
    made.use("numba")
    x, along = torch.randn(20, 5, 4), torch.randn(20, 5, 8)
    states, of_x, *of_weights = gradients(made, x, along)
    made.requires_grad_(False)
    asked = x.clone().requires_grad_()
    frozen = made(asked)
    (alone,) = torch.autograd.grad((frozen * along).sum(), [asked])
    with torch.no_grad():
        assert torch.equal(made(x), states)
    made.requires_grad_(True)
    only = torch.autograd.grad((made(x) * along).sum(), list(made.parameters()))
    assert torch.equal(frozen.detach(), states)
    assert torch.equal(alone, of_x)
    assert all(torch.equal(mine, other) for mine, other in zip(only, of_weights, strict=True))


@pytest.mark.parametrize("reset_gate", ["after", "before"])
def test_the_number_of_threads_changes_no_bit(reset_gate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stack(6, 24, 3, reset_gate=reset_gate)
    made.use("numba")
    x, along = torch.randn(300, 12, 6), torch.randn(300, 12, 24)
    results = []
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(recurrence, "_threads", threads)
        results.append(gradients(made, x, along))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("recurrence", ["numba", "torch"])
@pytest.mark.parametrize(
    ("cell", "reset_gate"), [("gru", "after"), ("gru", "before"), ("lstm", "after"), ("lstm_ln", "after")]
)
def test_replicas_side_by_side_are_each_alone(cell: Any, reset_gate: Any, recurrence: Any) -> None:
    options = RecurrentOptions(cell=cell, reset_gate=reset_gate, bidirectional=True, binarize=True)
    networks = [RecurrentNetwork(3, 5, 2, 2, options=options) for _ in range(3)]
    for seed, network in enumerate(networks):
        network.reset_parameters(torch.Generator().manual_seed(seed))
    together = copy.deepcopy(networks[0])
    for module in together.modules():
        for name in list(module._parameters):
            path = next(key for key, value in together.named_modules() if value is module)
            parts = [dict(network.named_modules())[path]._parameters[name] for network in networks]
            module._parameters[name] = torch.nn.Parameter(torch.stack([part.detach() for part in parts]))
    for network in (*networks, together):
        network.recurrent.use(recurrence)
    x, along = torch.randn(3 * 7, 6, 3), torch.randn(3 * 7, 6, 2)
    ours = gradients(together, x, along)
    for index, network in enumerate(networks):
        rows = slice(7 * index, 7 * index + 7)
        theirs = gradients(network, x[rows], along[rows])
        mine = [ours[0][rows], ours[1][rows], *(gradient[index] for gradient in ours[2:])]
        close(mine, theirs, 1e-5)


def test_a_second_derivative_is_refused_not_wrong() -> None:
    made = stack(2, 3, 1)
    made.use("numba")
    x = torch.randn(2, 3, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(made(x).sum(), x, create_graph=True)
    with made.twice_differentiable():
        (first,) = torch.autograd.grad(made(x).sum(), x, create_graph=True)
    first.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None


def test_not_a_number_stays_in_its_window() -> None:
    made = stack(2, 3, 2)
    made.use("numba")
    x = torch.randn(20, 4, 2)
    x[7, 2, 1] = math.nan
    found = made(x).isnan().any(dim=2)
    assert found[7].tolist() == [False, False, True, True]
    assert not found[[i for i in range(20) if i != 7]].any()


def test_tanh_and_sigmoid_are_right_to_3e_7() -> None:
    @njit  # type: ignore[untyped-decorator]
    def apply(x: Any, hyperbolic: Any, logistic: Any) -> None:
        for at in range(0, len(x), simd.LANES):
            simd.store(hyperbolic, at, simd.tanh(simd.load(x, at)))
            simd.store(logistic, at, simd.sigmoid(simd.load(x, at)))

    x = np.concatenate([np.linspace(-25, 25, 1 << 14), [0, -0.0, 1e-30, -1e-30], np.full(12, 1e30)])
    x = x.astype(np.float32)
    hyperbolic, logistic = np.empty_like(x), np.empty_like(x)
    apply(x, hyperbolic, logistic)
    exact = x.astype(np.float64)
    assert np.abs(hyperbolic - np.tanh(exact)).max() < 3.5e-7
    assert np.abs(logistic - 1 / (1 + np.exp(-np.clip(exact, -100, 100)))).max() < 3.5e-7
    assert np.abs(hyperbolic).max() <= 1


def test_groups_cover_every_tile_once() -> None:
    for batch in (1, 16, 17, 100, 128, 4096):
        shape = numba_gru._Shape(2, batch, 3, 4, 5, 1, True)
        covered = [tile for _, first, last, _ in shape.spans for tile in range(first, last)]
        assert covered == list(range(2 * shape.tiles))


def layers(
    cell: str = "gru", device: str = "cpu", dtype: torch.dtype = torch.float32, dropped: float = 0.0
) -> Layers:
    return Layers(cell, 24, dtype, dropped, torch.device(device))


def test_without_a_wish_grus_on_a_cpu_are_numbas() -> None:
    assert choose(None, layers()) == "numba"
    for others in (layers("lstm"), layers(dtype=torch.float64), layers(device="cuda"), layers(dropped=0.1)):
        assert choose(None, others) == "torch"
    assert choose("torch", layers()) == "torch"


@pytest.mark.parametrize(
    ("wanted", "others", "words"),
    [
        ("numba", layers("lstm"), r"model\.cell=gru alone, this is lstm"),
        ("numba", layers(dropped=0.1), r"no model\.recurrent_dropout"),
        ("numba", layers(device="cuda"), "runs on cpu, the training is on cuda"),
        ("triton", layers(), "runs on cuda, the training is on cpu"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(wanted: str, others: Layers, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose(wanted, others)


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(recurrence, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="package numba is not installed"):
        choose("numba", layers())
    assert choose(None, layers()) == "torch"
    assert "numba is not installed" in caplog.text


def test_a_wish_without_recurrent_layers_is_refused(prepared: PreparedSeries) -> None:
    windows = prepared.windows(8)
    generator = new_generator({"kind": "wavegan"}, length=8, channels=windows.channels, seed=0)
    with pytest.raises(ConfigError, match="kind wavegan has no recurrent layers"):
        generator.start_training(windows, {"recurrence": "numba"}, CPU)


def test_threads_are_measured_once_and_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def slow(_reset_gate: str, _shape: tuple[int, ...], threads: int) -> float:
        asked.append(threads)
        return 10.0 / threads

    monkeypatch.setattr(recurrence, "_timed", slow)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1, 2}, raising=False)
    monkeypatch.setattr(recurrence, "_threads", None)
    recurrence.prepare("after", (128, 24, 24, 3))
    assert asked == [1, 1, 3]  # compiled, then each once: the first took all of the time there is
    assert recurrence._threads == 3
    recurrence.prepare("after", (128, 24, 24, 3))
    assert asked == [1, 1, 3, 1]


def test_kernels_of_other_code_are_not_read_from_the_cache(tmp_path: Path) -> None:
    """Numba by itself would not see an edit of `simd.py`."""
    code = tmp_path / "code"
    shutil.copytree(CORE, code / "core", ignore=shutil.ignore_patterns("__pycache__"))
    script = """
import torch
from core.networks.recurrence import numba_gru
x, weights = torch.ones(1, 1, 1, 1), [torch.ones(1, *size) for size in ((3, 1), (3, 1), (3,), (3,))]
print(numba_gru.forward(x, weights, layers=1, reset_gate="after", keep=False, threads=1)[0].item())
"""

    def run() -> float:
        environment = {**os.environ, "PYTHONPATH": str(code), "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
        command = [sys.executable, "-P", "-c", script]
        return float(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )

    before = run()
    simd_file = code / "core" / "networks" / "recurrence" / "simd.py"
    text = simd_file.read_text(encoding="utf-8")
    simd_file.write_text(text.replace("4.89352518554385e-03", "6.0e-03"), encoding="utf-8")
    assert run() != before
