"""What a dataset may say of its columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from core.catalog import DatasetConfig, StaticColumn, load_dataset
from core.errors import ConfigError
from core.prepare.cells import kind_of
from core.prepare.columns import sort_columns


def loaded(folder: Path, columns: str) -> DatasetConfig:
    path = folder / "mine.yaml"
    path.write_text(f"source: {{path: x.csv}}\nseries: who\ncolumns: {columns}\n")
    return load_dataset(path)


@pytest.mark.parametrize(
    ("role", "kind", "expected", "static"),
    [
        (None, pa.float64(), "continuous", False),
        (None, pa.bool_(), "binary", False),
        (None, pa.string(), "continuous", False),  # and refused as no number
        ("continuous", pa.bool_(), "continuous", False),
        ("binary", pa.string(), "binary", False),
        ("categorical", pa.int64(), "categorical", False),
        ("static", pa.string(), "categorical", True),
        ("static", pa.bool_(), "binary", True),
        ("static", pa.int64(), "continuous", True),
        ("{static: true, kind: categorical}", pa.int64(), "categorical", True),
        ("{static: true, kind: binary}", pa.string(), "binary", True),
        ("{static: true, kind: continuous}", pa.bool_(), "continuous", True),
    ],
)
def test_a_role_or_the_type_says_the_kind(tmp_path, role, kind, expected, static):
    dataset = loaded(tmp_path, "{}" if role is None else f"{{x: {role}}}")
    assert kind_of(dataset, "x", kind) == expected
    roles = sort_columns(["who", "t", "x", "y"], dataset, "t")
    assert (roles.static, roles.features) == ((("x",), ("y",)) if static else ((), ("x", "y")))


def test_roles_survive_the_configuration_s_forms(tmp_path):
    dataset = loaded(tmp_path, "{a: categorical, b: {static: true, kind: binary}, c: drop}")
    assert dataset.columns["b"] == StaticColumn(static=True, kind="binary")
    assert DatasetConfig.model_validate_json(dataset.model_dump_json()) == dataset
    assert DatasetConfig.model_validate(dataset.model_dump(exclude_unset=True)) == dataset


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("{x: numeric}", "columns.x.*'continuous', 'binary', 'categorical', 'static' or 'drop', got 'numeric'"),
        ("{x: {static: true, kind: text}}", "columns.x.*kind: .*'categorical', got 'text'"),
        ("{x: {static: true}}", "kind: Field required"),
        ("{x: {static: false, kind: binary}}", "static: Input should be True, got False"),
        ("{x: {statik: true, kind: binary}}", "unknown key .*statik; did you mean .*static"),
        ("{x: 3}", "columns.x.*got 3"),
    ],
)
def test_roles_that_are_none_are_refused(tmp_path, columns, says):
    with pytest.raises(ConfigError, match=says):
        loaded(tmp_path, columns)
