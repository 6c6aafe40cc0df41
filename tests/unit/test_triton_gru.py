"""The Triton GRU: its arithmetic in Triton's interpreter, its compilation without a GPU, and both on one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

INTERPRET = """
import sys
import torch
from core.networks.recurrence import gru
from core.networks.recurrence.triton_gru import backward, forward

torch.use_deterministic_algorithms(True)  # new memory is full of NaN: nothing may be read before it is written

def run(x, weights, grad, how, wants, precision):
    given = {**how, "precision": precision}
    states, saved = forward(x, weights, keep=any(wants), **given)
    if not any(wants):
        assert saved == ()
        return states, None, None
    return states, *backward(grad, x, weights, saved, want_x=wants[0], want_weights=wants[1], **given)

def trained(x, weights, grad, how):
    x, weights = x.requires_grad_(), [weight.requires_grad_() for weight in weights]
    states = gru(x.flatten(0, 1), weights, how["layers"], how["reset_gate"], "triton")
    return torch.autograd.grad(states, [x, *weights], grad.flatten(0, 1))

cases = torch.load(sys.argv[1])
results = [run(**case) for case in cases]
last = {key: value for key, value in cases[0].items() if key in ("x", "weights", "grad", "how")}
torch.save([*results, trained(**last)], sys.argv[2])
"""


@dataclass(frozen=True)
class Case:
    """Sizes of one call; `tf32` is a tile of 16 windows, and the interpreter rounds as with `ieee`."""

    replicas: int
    batch: int
    steps: int
    inputs: int
    hidden: int
    layers: int
    reset_gate: str = "after"
    precision: str = "ieee"
    want_x: bool = True
    want_weights: bool = True
    dtype: torch.dtype = torch.float32

    def make(self, device: str = "cpu") -> dict[str, Any]:
        """Arguments of `run`, from a fixed seed."""
        rng = torch.Generator().manual_seed(7)

        def draw(*size: int) -> Tensor:
            return (torch.rand(size, generator=rng) - 0.5).to(device)

        weights = []
        for layer in range(self.layers):
            width = self.hidden if layer else self.inputs
            sizes = [(3 * self.hidden, width), (3 * self.hidden, self.hidden), (3 * self.hidden,)]
            sizes += [(3 * self.hidden,)] if self.reset_gate == "after" else []
            weights += [draw(self.replicas, *size) for size in sizes]
        before = (self.replicas, self.batch, self.steps)
        return {
            "x": (4 * draw(*before, self.inputs)).to(self.dtype),
            "weights": weights,
            "grad": draw(*before, self.hidden).to(self.dtype),
            "how": {"layers": self.layers, "reset_gate": self.reset_gate},
            "wants": (self.want_x, self.want_weights),
            "precision": self.precision,
        }


BOTH = [
    Case(1, 1, 1, 1, 5, 1),
    Case(3, 2, 3, 6, 24, 2),
    Case(1, 16, 24, 6, 24, 3, precision="tf32"),
    Case(3, 7, 5, 28, 32, 2, precision="tf32"),
    Case(1, 50, 2, 28, 32, 1, precision="tf32"),
    Case(1, 7, 3, 28, 64, 2, precision="tf32"),
    Case(1, 130, 1, 6, 5, 1),  # two windows to a program
    Case(2, 3, 3, 40, 5, 2),  # x is wider than the layer
    Case(1, 2, 2, 72, 64, 1),
]
CASES = [
    *(Case(**{**vars(case), "reset_gate": gate}) for case in BOTH for gate in ("after", "before")),
    Case(1, 3, 2, 6, 5, 2, want_x=False),
    Case(1, 3, 2, 6, 5, 2, "before", want_x=False),
    Case(1, 3, 2, 6, 5, 2, want_weights=False),
    Case(1, 3, 2, 40, 5, 2, want_x=False),
    Case(1, 3, 2, 40, 5, 2, "before", want_weights=False),
    Case(1, 3, 2, 6, 5, 3, want_x=False, want_weights=False),
    Case(1, 3, 2, 6, 5, 2, dtype=torch.bfloat16),
]


def reference(x: Tensor, weights: list[Tensor], layers: int, reset_gate: str) -> Tensor:
    """The formulas in the docstring of `core.networks.recurrent`, one step after the other."""
    each = len(weights) // layers
    for layer in range(layers):
        kernel, recurrent, bias, *second = weights[each * layer : each * (layer + 1)]
        w, u, b = kernel.mT.chunk(3, -1), recurrent.mT.chunk(3, -1), bias[:, None].chunk(3, -1)
        c = [part[:, None] for part in second[0].chunk(3, -1)] if second else [0, 0, 0]
        h, states = x.new_zeros(*x.shape[:2], recurrent.shape[-1]), []
        for step in x.unbind(2):
            r = (step @ w[0] + b[0] + h @ u[0] + c[0]).sigmoid()
            z = (step @ w[1] + b[1] + h @ u[1] + c[1]).sigmoid()
            inner = r * (h @ u[2] + c[2]) if reset_gate == "after" else (r * h) @ u[2]
            n = (step @ w[2] + b[2] + inner).tanh()
            h = (1 - z) * n + z * h
            states.append(h)
        x = torch.stack(states, 2)
    return x


def expected(x: Tensor, weights: list[Tensor], grad: Tensor, how: dict[str, Any]) -> list[Tensor]:
    """States, gradient of x and of the weights, in float64."""
    x, *weights = (part.detach().double().requires_grad_() for part in (x, *weights))
    states = reference(x, weights, **how)
    return [states, *torch.autograd.grad(states, [x, *weights], grad.double())]


def assert_close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """To a share of the largest number."""
    assert got.shape == wanted.shape
    error, size = (got.double() - wanted).abs().max(), wanted.abs().max()
    assert error <= tolerance * size, f"error {error:.2e} of {size:.2e}"


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Results of all cases, from a process of its own: Triton reads the variable when it is imported."""
    folder = tmp_path_factory.mktemp("interpreted")
    torch.save([case.make() for case in CASES], folder / "cases.pt")
    call = [sys.executable, "-c", INTERPRET, str(folder / "cases.pt"), str(folder / "results.pt")]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    results: list[Any] = torch.load(folder / "results.pt")
    return results


@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: str(CASES[index]))
def test_the_kernels_compute_the_formulas(interpreted: list[Any], index: int) -> None:
    case, (states, grad_x, grad_weights) = CASES[index], interpreted[index]
    made = case.make()
    wanted = expected(made["x"], made["weights"], made["grad"], made["how"])
    tolerance = 1e-2 if case.dtype == torch.bfloat16 else 1e-5
    assert states.dtype == case.dtype
    assert_close(states, wanted[0], tolerance)
    assert (grad_x is not None) == case.want_x
    assert (grad_weights is not None) == case.want_weights
    if case.want_x:
        assert grad_x.dtype == case.dtype
        assert_close(grad_x, wanted[1], tolerance)
    for got, weight in zip(grad_weights or [], wanted[2:], strict=case.want_weights):
        assert got.is_contiguous()
        assert_close(got, weight, tolerance)


def test_the_formulas_are_those_of_torch_nn_gru() -> None:
    case = Case(1, 7, 24, 6, 24, 3).make()
    module = torch.nn.GRU(6, 24, 3, batch_first=True)
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), case["weights"], strict=True):
            parameter.copy_(weight[0])
    torch.testing.assert_close(module(case["x"][0])[0], reference(case["x"], case["weights"], **case["how"])[0])


def test_networks_call_them_through_autograd(interpreted: list[Any]) -> None:
    made = CASES[0].make()
    wanted = expected(made["x"], made["weights"], made["grad"], made["how"])[1:]
    for got, part in zip(interpreted[-1], wanted, strict=True):
        assert_close(got, part, 1e-5)


class HopperDriver:
    """What Triton asks of a driver before it compiles for an H100."""

    def get_current_device(self) -> str:
        return "an H100 that is not there"

    def get_current_stream(self, _device: str) -> int:
        return 0

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Kernels that are compiled for an H100 where they would be launched."""
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    kernels: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, **options: Any) -> Any:
        kernels.append(run(self, *args, **{**options, "warmup": True}))
        return kernels[-1]

    monkeypatch.setattr(driver, "_active", HopperDriver())
    monkeypatch.setattr(JITFunction, "run", compile_only)
    return kernels


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 128, 24, 6, 24, 3),
        Case(1, 128, 24, 6, 24, 2, "before"),
        Case(16, 128, 24, 24, 24, 2, precision="tf32x3"),
        Case(16, 128, 24, 100, 64, 2),
    ],
    ids=str,
)
def test_they_compile_for_an_h100(compiled: list[Any], case: Case) -> None:
    from core.networks.recurrence.triton_gru import backward, forward, shared_memory

    made = case.make()
    how = {**made["how"], "precision": case.precision}
    _, saved = forward(made["x"], made["weights"], keep=True, **how)
    backward(made["grad"], made["x"], made["weights"], saved, want_x=True, want_weights=True, **how)
    assert [kernel.src.fn.__name__ for kernel in compiled] == [
        "gru_forward",
        "gru_backward",
        "gru_weight_gradients",
    ]
    for kernel in compiled:
        assert ".target sm_90" in kernel.asm["ptx"]
        assert kernel.metadata.shared <= shared_memory(case.hidden, case.precision) <= 227 * 1024
    for kernel in compiled[:2]:
        assert_no_read_after_write(kernel.asm["ptx"], case.layers)


def assert_no_read_after_write(ptx: str, layers: int) -> None:
    """Between a store to global memory and the next load from it, in the order of the code, is a barrier."""
    written, layers_written = False, 0
    for kind in re.findall(r"(ld\.global|st\.global|bar\.sync)", ptx):
        if kind == "bar.sync":
            written = False
        elif kind == "st.global":
            layers_written += not written
            written = True
        else:
            assert not written
    assert layers_written >= layers


def test_what_does_not_fit_is_named() -> None:
    from core.networks.recurrence.triton_gru import supports

    cpu = torch.device("cpu")
    assert supports(64, cpu) is None
    assert "at most 64 units, these have 65" in str(supports(65, cpu))


ON_A_GPU = [
    Case(1, 128, 24, 6, 24, 3),
    Case(1, 128, 24, 24, 24, 2, "before"),
    Case(1, 50, 24, 28, 64, 3),
    Case(1, 50, 24, 28, 64, 1, "before"),
    Case(3, 7, 24, 1, 5, 2),
    Case(16, 128, 24, 28, 32, 3),
    Case(16, 128, 24, 28, 64, 2, "before"),
    Case(1, 4096, 5, 6, 24, 2),
    Case(3, 16, 24, 512, 24, 2),
    Case(16, 128, 24, 24, 24, 3, precision="tf32x3"),
]


def on_the_gpu(case: Case) -> tuple[dict[str, Any], list[Tensor]]:
    """Inputs, and states and gradients as the kernels have them."""
    from core.networks.recurrence.triton_gru import backward, forward

    made = case.make("cuda")
    how = {**made["how"], "precision": case.precision}
    states, saved = forward(made["x"], made["weights"], keep=True, **how)
    grad_x, grad_weights = backward(
        made["grad"], made["x"], made["weights"], saved, want_x=True, want_weights=True, **how
    )
    assert grad_x is not None
    assert grad_weights is not None
    return made, [states, grad_x, *grad_weights]


@pytest.mark.gpu
@pytest.mark.parametrize("case", ON_A_GPU, ids=str)
def test_a_gpu_computes_the_formulas_and_the_same_bits_again(case: Case) -> None:
    made, got = on_the_gpu(case)
    wanted = expected(made["x"], made["weights"], made["grad"], made["how"])
    for part, other in zip(got, wanted, strict=True):
        assert_close(part, other, 2e-5)
    for part, again in zip(got, on_the_gpu(case)[1], strict=True):
        assert torch.equal(part, again)


@pytest.mark.gpu
@pytest.mark.parametrize(("inputs", "hidden", "layers"), [(6, 24, 3), (28, 64, 2), (1, 5, 1)])
def test_a_gpu_agrees_with_cudnn(
    monkeypatch: pytest.MonkeyPatch, inputs: int, hidden: int, layers: int
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    made, got = on_the_gpu(Case(1, 128, 24, inputs, hidden, layers))
    module = torch.nn.GRU(inputs, hidden, layers, batch_first=True).cuda()
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), made["weights"], strict=True):
            parameter.copy_(weight[0])
    x = made["x"][0].requires_grad_()
    states = module(x)[0]
    wanted = [states, *torch.autograd.grad(states, [x, *module.parameters()], made["grad"][0])]
    for part, other in zip(got, wanted, strict=True):
        assert_close(part[0], other.detach().double(), 2e-5)


@pytest.mark.gpu
def test_a_gpu_replays_them_in_a_graph() -> None:
    from core.networks.recurrence.triton_gru import backward, forward

    made, wanted = on_the_gpu(Case(1, 128, 24, 6, 24, 3))
    x, weights, grad = made["x"].zero_(), made["weights"], made["grad"]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        states, saved = forward(x, weights, keep=True, **made["how"])
        grads = backward(grad, x, weights, saved, want_x=True, want_weights=True, **made["how"])
    x.copy_(Case(1, 128, 24, 6, 24, 3).make("cuda")["x"])
    graph.replay()
    assert grads[0] is not None
    assert grads[1] is not None
    for part, other in zip([states, grads[0], *grads[1]], wanted, strict=True):
        assert torch.equal(part, other)
