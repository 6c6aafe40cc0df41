"""Names of networks and parameters, checked for every generator before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

import flows.compare
from core.catalog import DatasetConfig
from core.config import KINDS, build_job, with_model
from core.errors import ConfigError
from core.generators.module import TorchGenerator
from core.generators.registry import new_generator
from core.prepare.channels.layout import Block, Channels
from core.training import check
from core.training.check import check_names

SINE = DatasetConfig.model_validate({"name": "sine", "source": {"kind": "sine"}})
SMALL = {"model": {"hidden": 4, "layers": 2}, "window": {"length": 8}}


def parameters(model: dict[str, Any], channels: Channels) -> set[str]:
    generator = new_generator(model, length=8, channels=channels, seed=0)
    assert isinstance(generator, TorchGenerator)
    return {name for name, _ in generator.named_parameters()} | set(generator.networks)


@pytest.mark.parametrize("variant", ["code", "paper"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_data_gives_a_generator_more_names(kind: str, variant: str) -> None:
    model = with_model(build_job(SINE, values=SMALL, overrides=[f"model.variant={variant}"]), kind).model
    tree = model.model_dump()
    known = parameters(tree, check._EVERYTHING)
    blocks = [Block("continuous"), Block("continuous", optional=True), Block("binary"), Block("one_hot", 3)]
    for block in blocks:
        for static in ((), (block,)):
            for condition in ((), (block,)):
                assert parameters(tree, Channels((block,), static, condition)) <= known


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.optimizer.groups={supervisor: {}}", r"optimizer\.groups: .*no network 'supervisor'"),
        ("training.update.parameters=[supervisor.*]", r"update\.parameters: no parameter is named like"),
        (
            "training.l1={weight: 0.1, parameters: [supervisor.*]}",
            r"l1\.parameters: no parameter is named",
        ),
    ],
)
def test_what_one_kind_does_not_have_is_refused_by_its_name(
    override: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = build_job(SINE, values=SMALL, overrides=[override])

    def check_of(kind: str) -> None:
        chosen = with_model(job, kind)
        check_names(chosen.model.model_dump(), chosen.training.model_dump(), length=8)

    check_of("timegan")
    for kind in sorted(set(KINDS) - {"timegan"}):
        with pytest.raises(ConfigError, match=rf"^{kind}: training\.{says}"):
            check_of(kind)
    # The flow says so before TimeGAN, which comes first, is trained.
    monkeypatch.setattr(flows.compare, "configure", lambda _: None)
    monkeypatch.setattr(flows.compare, "_compare_one", lambda *_: pytest.fail("it trained"))
    with pytest.raises(ConfigError, match=r"^rcgan: "):
        flows.compare.compare.fn(job, ["timegan", "rcgan"])


def test_an_l1_penalty_of_weight_0_names_nothing() -> None:
    check_names({"kind": "rcgan"}, {"l1": {"parameters": ("nothing.*",)}}, length=8)


def test_names_that_only_other_data_would_give_pass() -> None:
    check_names({"kind": "rcgan"}, {"optimizer": {"groups": {"static_generator": {}}}}, length=8)
