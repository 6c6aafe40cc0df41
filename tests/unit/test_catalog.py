"""What a dataset may say of its columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from core.catalog import ColumnConfig, DatasetConfig, load_dataset
from core.errors import ConfigError
from core.prepare.rows.cells import kind_of
from core.prepare.rows.columns import sort_columns


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
    assert dataset.columns["b"] == ColumnConfig(static=True, kind="binary")
    assert DatasetConfig.model_validate_json(dataset.model_dump_json()) == dataset
    assert DatasetConfig.model_validate(dataset.model_dump(exclude_unset=True)) == dataset


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("{x: numeric}", "columns.x.*'continuous', 'binary', 'categorical', 'static' or 'drop', got 'numeric'"),
        ("{x: {static: true, kind: text}}", "columns.x.*kind: .*'categorical', got 'text'"),
        ("{x: {static: true}}", "kind: Field required"),
        ("{x: {kind: binary, scaler: robust}}", "scaler and transform are for continuous columns"),
        ("{x: {kind: continuous, static: true, transform: log}}", "that change from row to row"),
        ("{x: {kind: continuous, scaler: softmax}}", "scaler: Input should be 'minmax', .*got 'softmax'"),
        ("{x: {statik: true, kind: binary}}", "unknown key .*statik; did you mean .*static"),
        ("{x: 3}", "columns.x.*got 3"),
    ],
)
def test_roles_that_are_none_are_refused(tmp_path, columns, says):
    with pytest.raises(ConfigError, match=says):
        loaded(tmp_path, columns)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source: {path: a.csv, delimiter: ';', comment: ';'}", "must differ"),
        ("source: {path: a.csv, thousands: '.'}", "must differ"),
        ("source: {path: a.csv}\ntime: {column: t, none: true}", "contradict one another"),
        ("source: {kind: sql, url: 'sqlite:///a.db'}", "query: Field required"),
        ("source: {path: a.csv, fetch: {kind: url, url: 'ftp://x'}}", "fetch.*url"),
        ("source: {path: a.csv}\nexpectations: {severity: {time stamps: warning}}", "severity"),
        ("source: {path: a.csv}\nseries: a\nseries: b", "'series' twice"),
        ("source: {path: a.csv}\ncolumns: {x: drop, y: drop, x: static}", "'x' twice"),
    ],
)
def test_what_a_dataset_cannot_say_is_refused(tmp_path, text, says):
    path = tmp_path / "set.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_dataset(path)


def test_a_url_is_no_path(tmp_path):
    path = tmp_path / "set.yaml"
    path.write_text("source: {path: 's3://bucket/a.csv'}")
    assert load_dataset(path).source.path == "s3://bucket/a.csv"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source: {path: a.csv, fetch: {kind: yahoo, symbol: A, start: 2004-13-19}}", "no YAML: month"),
        ("[" * 5000, "no YAML"),
        ("source: {path: ~nobody9/a.csv}", "no path"),
        ('source: {path: "a\\0.csv"}', "no path"),
    ],
)
def test_yaml_that_python_chokes_on_is_refused(tmp_path, text, says):
    path = tmp_path / "set.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_dataset(path)


def test_a_name_too_long_for_a_file_is_no_dataset(tmp_path):
    with pytest.raises(ConfigError, match="no dataset file"):
        load_dataset(tmp_path / ("x" * 400 + ".yaml"))


@pytest.mark.parametrize(
    "source",
    [
        "{kind: sql, url: 'postgresql://me:hunter2@host/db', query: select 1}",
        "{kind: sql, url: 'mssql+pyodbc:///?odbc_connect=DRIVER%3Dx;UID=u;PWD=hunter2', query: select 1}",
        "{path: 'https://host/a.csv?token=hunter2'}",
        "{path: a.csv, fetch: {kind: url, url: 'https://host/a.csv?token=hunter2'}}",
    ],
)
def test_a_secret_gets_into_no_configuration(tmp_path, source):
    path = tmp_path / "set.yaml"
    path.write_text(f"source: {source}")
    with pytest.raises(ConfigError, match="password, token or signature") as caught:
        load_dataset(path)
    assert "hunter2" not in str(caught.value)
