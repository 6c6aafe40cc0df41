"""When an iteration is captured and replayed, by a recorder for the CPU; on a GPU, that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from core.errors import TrainingError, TrainingInterruptedError
from core.generators.timegan.training import TimeGANTraining
from core.training.base import Left
from core.training.graphs import WARM_UP, Graphs
from core.training.loop import LoopOptions, train
from tests.unit.test_timegan import mixed_windows
from tests.unit.tiny_timegan import OFTEN, sine_windows, tiny_training
from tests.unit.toy_generator import toy_training

T = TypeVar("T")


class Counted:
    """Counts, and replays by doing it again."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def warm(self, work: Callable[[], T]) -> T:
        self.calls.append("warm")
        return work()

    def record(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:
        self.calls.append("record")
        return lambda: self.calls.append("replay"), work()


def test_the_first_iterations_of_a_key_are_eager() -> None:
    recorder = Counted()
    graphs: Graphs[str] = Graphs(recorder)
    results = [graphs.run("a", lambda step=step: f"step {step}") for step in range(6)]  # type: ignore[misc]
    assert results == ["step 0", "step 1", "step 2", "step 3", "step 3", "step 3"]
    assert recorder.calls == ["warm"] * WARM_UP + ["record"] + ["replay"] * 3


def test_another_key_is_captured_anew_and_a_forgotten_one() -> None:
    recorder = Counted()
    graphs: Graphs[None] = Graphs(recorder)
    for key in "aaaaa", "bbbb":
        recorder.calls.clear()
        for part in key:
            graphs.run(part, lambda: None)
        assert recorder.calls == ["warm"] * WARM_UP + ["record"] + ["replay"] * (len(key) - WARM_UP)
    graphs.forget()
    recorder.calls.clear()
    graphs.run("b", lambda: None)
    assert recorder.calls == ["warm"]


def test_what_cannot_be_captured_is_an_error_with_a_way_out() -> None:
    class Failing(Counted):
        def record(self, work: Callable[[], T]) -> tuple[Callable[[], None], T]:  # noqa: ARG002
            raise RuntimeError("operation not permitted when stream is capturing")

    graphs: Graphs[None] = Graphs(Failing())
    for _ in range(WARM_UP):
        graphs.run(("joint", None), lambda: None)
    with pytest.raises(TrainingError, match=r"joint.*not permitted.*training\.cuda_graphs=false"):
        graphs.run(("joint", None), lambda: None)


class Imitation(Counted):
    """As a GPU does: capturing changes no tensor, and a replay writes where the capture wrote."""

    def __init__(self, training: TimeGANTraining) -> None:
        super().__init__()
        self.training = training

    def record(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        self.calls.append("record")
        held = self.held()
        before, random = [tensor.clone() for tensor in held], self.training.batches.rng.get_state()
        left: Left = work()
        with torch.no_grad():
            torch._foreach_copy_(held, before)
        self.training.batches.rng.set_state(random)

        def replay() -> None:
            self.calls.append("replay")
            again: Left = work()
            for ours, theirs in zip(self.written(left), self.written(again), strict=True):
                ours.copy_(theirs)

        return replay, left

    def held(self) -> list[torch.Tensor]:
        moments = [
            value
            for solver in self.training.solvers.values()
            for state in solver.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor)
        ]
        alive = [] if self.training.several is None else [self.training.several.alive]
        return [*(parameter.detach() for parameter in self.training.parameters), *moments, *alive]

    def written(self, left: Left) -> list[torch.Tensor]:
        notes = left.notes
        parts = [*left.losses.values(), *notes.moves.values(), *notes.before_clipping.values()]
        return [*parts, *(gradient for gradient in left.gradients if gradient is not None)]


CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "plain": (sine_windows, OFTEN, {}),
    "scheduled": (
        sine_windows,
        {**OFTEN, "schedule": {"kind": "cosine", "warmup": 3}, "gradients": {"clip_norm": 1.0}, "ema": 0.9},
        {"dropout": 0.2},
    ),
    "paper": (mixed_windows, {}, {"variant": "paper"}),
    "watched": (sine_windows, {"gradients": {"exploding": 0.01, "patience": 2, "action": "clip"}}, {}),
    "lowered": (sine_windows, {"gradients": {"exploding": 0.01, "patience": 2, "action": "lower_rate"}}, {}),
    "masked": (sine_windows, {"update": {"rule": "gradient", "fraction": 0.5}}, {}),
    "replicas": (mixed_windows, {**OFTEN, "replicas": 2, "selection": {"validation": 0.3}}, {}),
}


def seen(training: TimeGANTraining, iterations: int) -> list[Any]:
    """All there is to see of so many iterations of each phase: some logged, some of those profiled."""
    found: list[Any] = []
    for phase in training.phases:
        for step in range(1, iterations + 1):
            logged, profiled = step % 5 == 0, step % 10 == 0
            losses = training.iterate(phase, step, logged=logged, profiled=profiled)
            found.append({name: loss.item() for name, loss in losses.items()})
            if logged:
                found += [training.observe(phase, step), training.profile()]
    return found


def same(one: TimeGANTraining, other: TimeGANTraining) -> None:
    ours, theirs = one.state(), other.state()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("case", CASES)
def test_replayed_iterations_are_seen_as_eager_ones(case: str) -> None:
    """Also where eager ones stand between them, whose gradients lie elsewhere."""
    make, options, model = CASES[case]
    eager, replayed = (tiny_training(options, make(), **model) for _ in range(2))
    eager.on_device = replayed.on_device = True
    recorder = Imitation(replayed)
    replayed.graphs = Graphs(recorder)
    assert seen(eager, 20) == seen(replayed, 20)
    same(eager, replayed)
    # Two of a phase are profiled; a bound that comes up is captured anew; while masks are measured nothing is.
    counts = {name: recorder.calls.count(name) for name in ("warm", "record", "replay")}
    if case == "masked":
        assert counts == {"warm": 9, "record": 3, "replay": counts["replay"]}
        assert 10 < counts["replay"] < 30
    else:
        times = 4 if case == "watched" else 3
        assert counts == {"warm": times * WARM_UP, "record": times, "replay": 54 - times * WARM_UP}


def test_a_loaded_state_is_captured_anew() -> None:
    training = tiny_training()
    recorder = Imitation(training)
    training.graphs = Graphs(recorder)
    for step in range(1, 7):
        training.iterate(training.phases[0], step)
    training.load_state({name: value.clone() for name, value in training.state().items()})
    recorder.calls.clear()
    training.iterate(training.phases[0], 7)
    assert recorder.calls == ["warm"]


def test_logged_losses_outlive_the_next_replay() -> None:
    training = tiny_training()
    training.graphs = Graphs(Imitation(training))
    phase = training.phases[0]
    for step in range(1, 6):
        training.iterate(phase, step)
    logged = training.iterate(phase, 6, logged=True)["reconstruction"]
    value = logged.item()
    training.iterate(phase, 7)
    assert logged.item() == value


def test_on_a_cpu_nothing_is_captured() -> None:
    assert tiny_training().graphs is None
    assert toy_training().graphs is None


GPU = torch.device("cuda")
GPU_CASES = {name: CASES[name] for name in ("plain", "scheduled", "paper", "lowered", "replicas")}


def gpu_training(case: str, **more: Any) -> TimeGANTraining:
    make, options, model = CASES[case]
    chosen = {**options, **more, "recurrence": "torch", "log_every": 5}
    iterations = dict.fromkeys(("embedding_iterations", "supervised_iterations", "joint_iterations"), 50)
    return tiny_training({**chosen, **iterations}, make(), GPU, **model)


@pytest.mark.gpu
@pytest.mark.parametrize("case", GPU_CASES)
def test_graphs_change_nothing(case: str) -> None:
    """50 iterations of each phase, captured against eager: losses, curves, weights, moments, random state."""
    eager, captured = (gpu_training(case, cuda_graphs=graphs) for graphs in (False, True))
    assert eager.graphs is None
    assert captured.graphs is not None
    for ours, theirs in zip(seen(captured, 50), seen(eager, 50), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], rel=1e-3, abs=1e-6), name
    ours, theirs = captured.state(), eager.state()
    assert torch.equal(ours["batches"], theirs["batches"])
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize("after", [20, 75, 130])
def test_a_captured_training_resumes(after: int, tmp_path: Path) -> None:
    """Interrupted where iterations are replayed, resumed where they are eager; the random numbers go on."""
    ended = []
    for name, stop_after in (("whole", 0), ("resumed", after)):
        (tmp_path / name).mkdir()
        count = 0

        def stop(stop_after: int = stop_after) -> bool:
            nonlocal count
            count += 1
            return count == stop_after

        training = gpu_training("scheduled")
        try:
            train(training, tmp_path / name, LoopOptions(1000.0, 5), stop)
        except TrainingInterruptedError:
            training = gpu_training("scheduled")
            assert train(training, tmp_path / name, LoopOptions(1000.0, 5)).resumed
        ended.append(training)
    whole, resumed = (training.state() for training in ended)
    assert torch.equal(whole["batches"], resumed["batches"])
    for name, value in whole.items():
        torch.testing.assert_close(
            resumed[name], value, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.gpu
def test_a_captured_step_follows_the_schedule() -> None:
    """With a rate of 0 at the end nothing moves, although the step was captured at another rate."""
    training = gpu_training("plain", schedule={"kind": "linear", "floor": 0.0})
    phase = training.phases[0]
    for step in range(1, 50):
        training.iterate(phase, step)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    training.iterate(phase, 50)
    assert all(torch.equal(value, before[name]) for name, value in training.model.state_dict().items())


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_every_optimiser_is_captured(kind: str, replicas: int) -> None:
    options = {"optimizer": {"kind": kind, "momentum": 0.5, "weight_decay": 0.01}, "l1": {"weight": 0.001}}
    many = {"replicas": replicas, "selection": {"validation": 0.3}}
    eager, captured = (gpu_training("plain", **options, **many, cuda_graphs=graphs) for graphs in (False, True))
    for training in (eager, captured):
        for step in range(1, 21):
            training.iterate(training.phases[2], step)
    for ours, theirs in zip(captured.parameters, eager.parameters, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu
def test_a_gpu_trains_as_a_cpu_does() -> None:
    """The same batches and noise, drawn on the CPU: optimisers on the device, masks and all."""
    options = {**OFTEN, "gradients": {"clip_norm": 1.0}, "cuda_graphs": False}
    on_cpu, on_gpu = tiny_training(options), tiny_training(options, device=GPU)
    on_gpu.batches.rng = on_cpu.batches.rng  # never drawn from: what it would draw is handed over
    drawn: list[Any] = []
    draw, noise = on_cpu.batches.draw, on_cpu.noise

    def kept(what: Any) -> Any:
        drawn.append(what)
        return what

    def moved(x: Any) -> Any:
        return None if x is None else x.to(GPU)

    on_cpu.batches.draw = lambda: kept(draw())  # type: ignore[method-assign]
    on_cpu.noise = lambda: kept(noise())  # type: ignore[method-assign]
    on_gpu.batches.draw = lambda: type(drawn[0])(*(moved(x) for x in vars(drawn.pop(0)).values()))  # type: ignore[method-assign]
    on_gpu.noise = lambda: tuple(part.to(GPU) for part in drawn.pop(0))  # type: ignore[method-assign]
    for ours, theirs in zip(on_gpu.phases, on_cpu.phases, strict=True):
        for step in range(1, 21):
            expected = on_cpu.iterate(theirs, step)
            for name, loss in on_gpu.iterate(ours, step).items():
                torch.testing.assert_close(loss.cpu(), expected[name], rtol=1e-2, atol=1e-4)
    for ours_, theirs_ in zip(on_gpu.parameters, on_cpu.parameters, strict=True):
        torch.testing.assert_close(ours_.cpu(), theirs_, rtol=1e-2, atol=1e-3)
