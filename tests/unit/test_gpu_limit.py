"""Which concurrency limit a training holds; that it holds it is in tests/e2e/test_automations.py."""

from __future__ import annotations

import types

import pytest
import torch

from core.settings import Settings
from tasks import gpu
from tasks.gpu import limit_name

UUID = "8d1c2b3a-aaaa-bbbb-cccc-0123456789ab"


@pytest.mark.parametrize("uuid", [UUID, f"GPU-{UUID}"])
@pytest.mark.parametrize(
    ("device", "named", "holds"),
    [
        ("cpu", None, None),
        ("cpu", "shared", None),
        ("cuda", None, "gpu-8d1c2b3a"),
        ("cuda:1", None, "gpu-8d1c2b3a"),
        ("cuda", "shared", "shared"),
        ("cuda", "none", None),
    ],
)
def test_a_gpu_has_a_limit_of_its_own_unless_the_settings_name_one(
    monkeypatch: pytest.MonkeyPatch, uuid: str, device: str, named: str | None, holds: str | None
) -> None:
    monkeypatch.setattr(gpu, "resolve_device", torch.device)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(uuid=uuid))
    assert limit_name(Settings(device=device, gpu_limit=named)) == holds
