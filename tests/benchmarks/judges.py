"""What judging costs, and whether an independent implementation of the paper's judges agrees.

    python -m tests.benchmarks.judges --speed
    python -m tests.benchmarks.judges --agreement
    python -m tests.benchmarks.judges --whole [--windows 20000] [--features 28]

Speed: ten discriminative and ten predictive judges on 3,661 windows of 24 steps and 6 features, against one of
each with `torch.nn.GRU`, times ten. Agreement: the same scores by the obvious code (a cell in a loop, autograd,
`vmap` over judges), which shares nothing with `core.evaluation` but the description in the paper's code. Whole:
seconds of each part of one evaluation with everything on, report included, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional

from core.evaluation.evaluate import Subject, evaluate_windows
from core.evaluation.judges.paper_scores import discriminative_score, predictive_score
from core.evaluation.options import JudgingOptions
from tests.benchmarks.main_job import commit, machine
from tests.benchmarks.train_speed import peak_resident

WINDOWS, STEPS, FEATURES = 3661, 24, 6
DISCRIMINATIVE, PREDICTIVE, BATCH = 2000, 5000, 128
Loss = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--repeats", type=int, default=20, help="of the agreement")
    parser.add_argument("--seed", type=int, default=5, help="of the agreement")
    parser.add_argument("--row", help="of the agreement, such as 'discriminative: noise'; all if left out")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="of the whole evaluation")
    parser.add_argument("--features", type=int, default=FEATURES, help="of the whole evaluation")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine()}; commit {commit()}\n")
    if options.speed:
        compare_speed()
    if options.agreement:
        compare_scores(options.repeats, options.seed, options.row)
    if options.whole:
        time_whole(options.windows, options.features)
    if not (options.speed or options.agreement or options.whole):
        parser.error("say which: --speed, --agreement, --whole")


def series(seed: int, windows: int = WINDOWS, features: int = FEATURES) -> NDArray[np.float32]:
    """Overlapping windows of correlated autoregressive columns, scaled to [0, 1]."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(size=(windows + STEPS - 1, features)) @ (np.eye(features) + 0.5)
    rows = np.zeros_like(shocks)
    for t in range(1, len(rows)):
        rows[t] = 0.95 * rows[t - 1] + shocks[t]
    rows = (rows - rows.min(0)) / (rows.max(0) - rows.min(0))
    return np.lib.stride_tricks.sliding_window_view(rows, STEPS, axis=0).swapaxes(1, 2).astype(np.float32)


def compare_speed() -> None:
    real = series(0)
    fake = np.clip(real + np.random.default_rng(1).normal(0, 0.02, real.shape), 0, 1).astype(np.float32)
    print(
        "| judges | one, s | ten, s | ten / one | ten by torch.nn.GRU one after the other, s | times faster |"
    )
    print("|---|---|---|---|---|---|")
    totals = np.zeros(3)
    for name, score, plain in (
        ("discriminative", discriminative_score, plain_discriminative),
        ("predictive", predictive_score, plain_predictive),
    ):
        one, ten = (seconds(partial(score, real, fake, judges=count)) for count in (1, 10))
        slow = 10 * seconds(partial(plain, real, fake))
        totals += one, ten, slow
        print(f"| {name} | {one:.1f} | {ten:.1f} | {ten / one:.1f} | {slow:.0f} | {slow / ten:.1f} |")
    one, ten, slow = totals
    print(f"| both | {one:.1f} | {ten:.1f} | {ten / one:.1f} | {slow:.0f} | {slow / ten:.1f} |\n")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class PlainJudge(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, FEATURES // 2, batch_first=True)
        self.dense = nn.Linear(FEATURES // 2, 1)

    def forward(self, x: Tensor, *, last: bool) -> Tensor:
        states = self.gru(x)[0]
        return self.dense(states[:, -1] if last else states)[..., 0]


def plain_discriminative(real: NDArray[np.float32], fake: NDArray[np.float32]) -> None:
    sets, judge = (torch.from_numpy(real.copy()), torch.from_numpy(fake)), PlainJudge(FEATURES)
    optimiser = torch.optim.Adam(judge.parameters())
    labels = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])
    for _ in range(DISCRIMINATIVE):
        batch = torch.cat([windows[torch.randperm(len(windows))[:BATCH]] for windows in sets])
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(judge(batch, last=True), labels).backward()
        optimiser.step()


def plain_predictive(real: NDArray[np.float32], fake: NDArray[np.float32]) -> None:
    windows, judge = torch.from_numpy(fake), PlainJudge(FEATURES - 1)
    optimiser = torch.optim.Adam(judge.parameters())
    for _ in range(PREDICTIVE):
        batch = windows[torch.randperm(len(windows))[:BATCH]]
        optimiser.zero_grad()
        (judge(batch[:, :-1, :-1], last=False).sigmoid() - batch[:, 1:, -1]).abs().mean().backward()
        optimiser.step()
    judge(torch.from_numpy(real.copy())[:, :-1, :-1], last=False)


class Cell(nn.Module):
    """`tf.nn.rnn_cell.GRUCell` unrolled, and a dense layer."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Parameter(glorot(inputs + hidden, 2 * hidden))
        self.gate_bias = nn.Parameter(torch.ones(2 * hidden))
        self.candidate = nn.Parameter(glorot(inputs + hidden, hidden))
        self.candidate_bias = nn.Parameter(torch.zeros(hidden))
        self.dense = nn.Parameter(glorot(hidden, 1))
        self.dense_bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.candidate.shape[1])
        states = []
        for step in x.unbind(1):
            r, u = (torch.cat([step, h], 1) @ self.gates + self.gate_bias).sigmoid().chunk(2, dim=1)
            c = (torch.cat([step, r * h], 1) @ self.candidate + self.candidate_bias).tanh()
            h = u * h + (1 - u) * c
            states.append(h)
        return (torch.stack(states, 1) @ self.dense + self.dense_bias)[..., 0]


def glorot(rows: int, columns: int) -> Tensor:
    return (torch.rand(rows, columns) * 2 - 1) * math.sqrt(6 / (rows + columns))


def trained(
    cells: list[Cell], iterations: int, draw: Callable[[], tuple[Tensor, Tensor]], loss: object
) -> dict:
    """Cells side by side, each on its own batches: Adam in the open."""
    base = cells[0]
    weights = {
        name: torch.stack([dict(cell.named_parameters())[name].detach() for cell in cells])
        for name, _ in base.named_parameters()
    }
    first, second = ({name: torch.zeros_like(value) for name, value in weights.items()} for _ in range(2))

    def value(parameters: dict, x: Tensor, y: Tensor) -> Tensor:
        return loss(functional_call(base, parameters, (x,)), y)  # type: ignore[operator]

    gradient = vmap(grad_and_value(value))
    for t in range(1, iterations + 1):
        slopes, _ = gradient(weights, *draw())
        for name, slope in slopes.items():
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            step = (first[name] / (1 - 0.9**t)) / ((second[name] / (1 - 0.999**t)).sqrt() + 1e-8)
            weights[name] = weights[name] - 1e-3 * step
    return weights


def other_discriminative(real: Tensor, fake: Tensor, repeats: int) -> NDArray[np.float64]:
    sets = (real, fake)
    orders = [[torch.randperm(len(windows)) for windows in sets] for _ in range(repeats)]
    cut = [int(0.8 * len(windows)) for windows in sets]

    def draw() -> tuple[Tensor, Tensor]:
        batches = []
        for order in orders:
            parts = [
                windows[part[:limit][torch.randperm(limit)[:BATCH]]]
                for windows, part, limit in zip(sets, order, cut, strict=True)
            ]
            batches.append(torch.cat(parts))
        return torch.stack(batches), torch.cat([torch.ones(BATCH), torch.zeros(BATCH)]).expand(repeats, -1)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return 2 * functional.binary_cross_entropy_with_logits(outputs[:, -1], labels)

    cells = [Cell(FEATURES, FEATURES // 2) for _ in range(repeats)]
    weights = trained(cells, DISCRIMINATIVE, draw, loss)
    scores = []
    for number, order in enumerate(orders):
        own = {name: value[number] for name, value in weights.items()}
        right = []
        for windows, part, limit, label in zip(sets, order, cut, (True, False), strict=True):
            logits = functional_call(cells[0], own, (windows[part[limit:]],))[:, -1]
            right.append(((logits > 0) == label).double().mean())
        scores.append(abs(float(sum(right)) / 2 - 0.5))
    return np.array(scores)


def other_predictive(real: Tensor, fake: Tensor, repeats: int) -> NDArray[np.float64]:
    def draw() -> tuple[Tensor, Tensor]:
        batch = torch.stack([fake[torch.randperm(len(fake))[:BATCH]] for _ in range(repeats)])
        return batch[:, :, :-1, :-1], batch[:, :, 1:, -1]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.sigmoid() - targets).abs().mean()

    cells = [Cell(FEATURES - 1, FEATURES // 2) for _ in range(repeats)]
    weights = trained(cells, PREDICTIVE, draw, loss)
    scores = []
    for number in range(repeats):
        own = {name: value[number] for name, value in weights.items()}
        outputs = functional_call(cells[0], own, (real[:, :-1, :-1],)).sigmoid()
        scores.append(float((outputs - real[:, 1:, -1]).abs().mean()))
    return np.array(scores)


def compare_scores(repeats: int, seed: int, row: str | None) -> None:
    """Means of both implementations and their difference in standard errors."""
    real, rng = series(0), np.random.default_rng(2)
    order = rng.permutation(len(real))
    cases = {
        "the other half": (real[order[: len(real) // 2]], real[order[len(real) // 2 :]]),
        "slightly perturbed": (real, np.clip(real + rng.normal(0, 0.02, real.shape), 0, 1).astype(np.float32)),
        "noise": (real, rng.uniform(size=real.shape).astype(np.float32)),
    }
    print(f"| score, {repeats} judges each | real against | ours | independent | difference / standard error |")
    print("|---|---|---|---|---|")
    for name, ours, other in (
        ("discriminative", discriminative_score, other_discriminative),
        ("predictive", predictive_score, other_predictive),
    ):
        for case, (left, right) in cases.items():
            if row not in (None, f"{name}: {case}"):
                continue
            torch.manual_seed(seed + 1000)
            a = np.array(ours(left, right, judges=repeats, seed=seed).values)
            b = other(torch.from_numpy(left.copy()), torch.from_numpy(right.copy()), repeats)
            error = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
            print(
                f"| {name} | {case} | {a.mean():.4f} +/- {a.std(ddof=1):.4f} "
                f"| {b.mean():.4f} +/- {b.std(ddof=1):.4f} | {(a.mean() - b.mean()) / error:+.2f} |",
                flush=True,
            )
    print()


def time_whole(windows: int, features: int) -> None:
    """Seconds between two reports of progress are those of the part that reports."""
    real = series(0, windows, features)
    fake = real + np.random.default_rng(1).normal(0, 0.02, real.shape).astype(np.float32)
    before, taken, peaks = peak_resident(), defaultdict[str, float](float), {}
    started = last = time.perf_counter()

    def progress(part: str, _done: int, _total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        taken[part] += now - last
        peaks[part] = peak_resident()
        last = now

    with tempfile.TemporaryDirectory() as out:
        names = [f"feature {number}" for number in range(1, features + 1)]
        subject = Subject(real, fake, names, starts=np.arange(windows))
        evaluate_windows(subject, Path(out), JudgingOptions(), progress)
    progress("pages", 1, 1)
    print(f"| {windows:,} x {STEPS} x {features} | seconds | peak memory until then, MiB |\n|---|---|---|")
    print(f"| imports, windows | | {before:,.0f} |")
    for part, spent in taken.items():
        print(f"| {part} | {spent:.0f} | {peaks[part]:,.0f} |")
    print(f"| all | {last - started:.0f} | {peak_resident():,.0f} |\n")


if __name__ == "__main__":
    main()
