"""Masked updates: what must not move keeps its bits, whatever the optimiser wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.errors import ConfigError
from core.tensors import pack_tensors, read_tensors
from core.training.masks import MEASURED, EdgeMasks, largest, save_masks
from core.training.options import DEFAULTS
from tests.unit.toy_generator import Toy, interrupted, parameters, toy_training, toy_windows, whole

# Everything that pulls at a weight without a gradient of its own.
PULLING: dict[str, Any] = {
    "optimizer": {"kind": "adam", "weight_decay": 0.1},
    "learning_rate": 0.01,
    "ema": 0.9,
    "l1": {"weight": 0.01},
}
FRACTION = 0.2


def new_toy() -> Toy:
    return Toy(channels=toy_windows().channels, seed=1)


def update(**options: Any) -> dict[str, Any]:
    return {**DEFAULTS["update"], **options}


def random_masks(seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=rng) < 0.3 for name, p in new_toy().named_parameters()}


def moved(options: dict[str, Any], run_dir: Path) -> tuple[dict[str, Tensor], Any]:
    """Which weights a whole training moved, and its result."""
    start = parameters(new_toy())
    training, result = whole({**PULLING, **options}, run_dir)
    return {name: value != start[name] for name, value in parameters(training.model).items()}, result


def test_patterns_choose_whole_parameters(tmp_path: Path) -> None:
    changed, result = moved({"update": update(parameters=("critic.*", "*weight_hh"))}, tmp_path / "run")
    for name, mask in changed.items():
        chosen = name.startswith("critic.") or name.endswith("weight_hh")
        assert mask.any() == chosen, name
    sizes = {name: p.numel() for name, p in new_toy().named_parameters()}
    critic = sum(size for name, size in sizes.items() if name.startswith("critic"))
    generator = sum(sizes.values()) - critic
    assert result.edges == {
        "critic": [critic, critic],
        "generator": [sizes["generator.recurrent.layers.0.weight_hh"], generator],
    }


@pytest.mark.parametrize("sparse", [False, True])
def test_only_the_edges_of_a_file_move(sparse: bool, tmp_path: Path) -> None:
    masks = random_masks(0)
    del masks["critic.dense.weight"]  # what a file does not name stays
    save_masks(tmp_path / "masks.safetensors", masks, sparse=sparse)
    changed, result = moved({"update": update(file=str(tmp_path / "masks.safetensors"))}, tmp_path / "run")
    assert not changed.pop("critic.dense.weight").any()
    for name, mask in changed.items():
        # L1 holds a few moving edges at the 0 that biases start from.
        assert not (mask & ~masks[name]).any(), name
        assert "bias" in name or torch.equal(mask, masks[name]), name
    assert sum(pair[0] for pair in result.edges.values()) == sum(int(mask.sum()) for mask in masks.values())


@pytest.mark.parametrize("rule", ["magnitude", "gradient"])
def test_only_the_edges_of_a_rule_move(rule: str, tmp_path: Path) -> None:
    changed, result = moved({"update": update(rule=rule, fraction=FRACTION)}, tmp_path / "run")
    expected = {name: max(1, round(FRACTION * mask.numel())) for name, mask in changed.items()}
    for name, mask in changed.items():
        assert 0 < int(mask.sum()) <= expected[name], name
        assert "bias" in name or int(mask.sum()) == expected[name], name
    assert sum(pair[0] for pair in result.edges.values()) == sum(expected.values())


def test_the_largest_weights_move() -> None:
    model = new_toy()
    masks = EdgeMasks(model, update(rule="magnitude", fraction=FRACTION)).masks
    for name, parameter in model.named_parameters():
        size, magnitude = parameter.numel(), parameter.detach().abs().numpy()
        mask = masks[name].numpy()
        assert mask.sum() == max(1, round(FRACTION * size))
        assert magnitude[mask].min() >= magnitude[~mask].max(initial=0)


def test_the_gradients_of_the_first_batches_decide() -> None:
    """The sum of the gradients of the first batches at the starting weights, worked out without a step."""
    reference = toy_training()
    reference.model.requires_grad_(True)
    for _ in range(MEASURED):
        (reference.generator_loss() + reference.critic_loss()).backward()
    training = toy_training(update=update(rule="gradient", fraction=FRACTION))
    start = parameters(training.model)
    for _ in range(MEASURED):
        training.warm_step()
    assert training.masks is not None
    for name, parameter in reference.model.named_parameters():
        assert torch.equal(training.model.get_parameter(name), start[name]), "it moved while it was measured"
        assert parameter.grad is not None
        size = parameter.grad.abs().flatten().numpy()
        chosen = np.argsort(-size, kind="stable")[: max(1, round(FRACTION * len(size)))]
        assert set(training.masks.masks[name].flatten().nonzero()[:, 0].tolist()) == set(chosen.tolist()), name
    training.warm_step()
    after = parameters(training.model)
    assert any(not torch.equal(after[name], start[name]) for name in start)


def test_what_too_few_gradients_reached_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start = parameters(new_toy())
    options = {"update": update(rule="gradient", fraction=FRACTION), "embedding_iterations": 0}
    with caplog.at_level("WARNING"):
        training, result = whole({**options, "joint_iterations": MEASURED - 1}, tmp_path / "run")
    assert {moving for moving, _ in result.edges.values()} == {0}
    after = parameters(training.model)
    assert all(torch.equal(after[name], start[name]) for name in start)
    (said,) = [message for message in caplog.messages if "never moved" in message]
    assert all(name in said for name in start)
    caplog.clear()
    with caplog.at_level("WARNING"):
        _, result = whole({**options, "joint_iterations": MEASURED}, tmp_path / "longer")
    assert all(moving > 0 for moving, _ in result.edges.values())
    assert not caplog.messages


@pytest.mark.parametrize("after", [MEASURED // 2, MEASURED + 3, 30])
def test_a_masked_training_resumes_exactly(after: int, tmp_path: Path) -> None:
    """Also while the rule still measures, and with masks that the next start would choose differently."""
    for rule in ("gradient", "magnitude"):
        options = {**PULLING, "update": update(rule=rule, fraction=FRACTION)}
        expected, _ = whole(options, tmp_path / f"whole-{rule}")
        resumed, _ = interrupted(options, tmp_path / f"resumed-{rule}", after)
        one, other = expected.model.state_dict(), resumed.model.state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one)


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    sparse=st.booleans(),
)
def test_masks_in_files_are_what_was_saved(
    shape: list[int], seed: int, sparse: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask.view(-1)[0] = True
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.zeros(shape))
    path = tmp_path_factory.mktemp("masks") / "masks.safetensors"
    save_masks(path, {"weight": mask}, sparse=sparse)
    assert torch.equal(EdgeMasks(model, update(file=str(path))).masks["weight"], mask)
    if sparse:  # COO as scipy and torch have it
        indices = read_tensors(path)[0]["weight.indices"]
        dense = torch.sparse_coo_tensor(
            indices, torch.ones(indices.shape[1]), shape, check_invariants=True
        ).to_dense()
        assert torch.equal(dense.bool(), mask)


@given(
    values=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30),
    fraction=st.floats(0.01, 1),
)
def test_the_largest_are_no_smaller_than_the_rest(values: list[float], fraction: float) -> None:
    mask = largest(torch.tensor(values), fraction)
    magnitude = torch.tensor(values).abs()
    assert int(mask.sum()) == max(1, round(fraction * len(values)))
    assert mask.all() or magnitude[mask].min() >= magnitude[~mask].max()


WRONG: dict[str, tuple[dict[str, Tensor], str]] = {
    "name": (
        {"critic.dense.weights": torch.ones(1, 4)},
        r"no parameter 'critic\.dense\.weights'.*dense\.weight",
    ),
    "shape": ({"critic.dense.weight": torch.ones(4, 1)}, r"critic\.dense\.weight has shape \(4, 1\).*\(1, 4\)"),
    "values": ({"critic.dense.weight": torch.full((1, 4), 0.5)}, "other than 0 and 1"),
    "dtype": ({"critic.dense.weight.indices": torch.zeros(2, 3)}, r"int64 of shape \(2, edges\).*float32"),
    "rank": ({"critic.dense.weight.indices": torch.zeros(3, 1, dtype=torch.int64)}, r"\(2, edges\)"),
    "beyond": ({"critic.dense.weight.indices": torch.tensor([[0], [4]])}, "beyond the parameter's shape"),
    "negative": ({"critic.dense.weight.indices": torch.tensor([[0], [-1]])}, "beyond the parameter's shape"),
    "nothing": ({"critic.dense.weight": torch.zeros(1, 4)}, "nothing would be trained"),
    "twice": (
        {
            "critic.dense.weight": torch.ones(1, 4),
            "critic.dense.weight.indices": torch.tensor([[0], [1]]),
        },
        "there twice",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_by_file_and_parameter(case: str, tmp_path: Path) -> None:
    tensors, says = WRONG[case]
    path = tmp_path / "masks.safetensors"
    path.write_bytes(pack_tensors(tensors))
    with pytest.raises(ConfigError, match=says) as caught:
        toy_training(update=update(file=str(path)))
    assert str(path) in str(caught.value)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"update\.parameters: no parameter is named like 'critc\.\*'"):
        toy_training(update=update(parameters=("critc.*",)))
    with pytest.raises(ConfigError, match="exclude each other"):
        toy_training(update=update(file="masks.safetensors", rule="magnitude"))
    with pytest.raises(ConfigError, match="there is no file"):
        toy_training(update=update(file=str(tmp_path / "none.safetensors")))
    (tmp_path / "masks.npz").write_bytes(b"PK, an archive of NumPy's")
    with pytest.raises(ConfigError, match=r"^training\.update\.file: .*masks\.npz .*no safetensors file"):
        toy_training(update=update(file=str(tmp_path / "masks.npz")))


def test_without_a_mask_nothing_is_kept() -> None:
    assert toy_training().masks is None
