"""Every row of docs/bad-input.md: what becomes of such a file, from its path to the windows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from core.catalog import DatasetConfig
from core.config import WindowConfig
from core.errors import ConfigError, DataError
from core.prepare.build import prepare
from core.quality import raise_if_failed, validate
from core.sources.resolve import resolve_dataset
from core.sources.snapshots import snapshot
from tests.unit.bad_inputs import CASES, Case

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-input.md"
WINDOW = WindowConfig(length=4)


@pytest.fixture(scope="module")
def page() -> dict[str, str]:
    """Verdict by name, of the table in the docs."""
    rows = re.findall(
        r"^\| (?P<name>[^|]+?) +\| +(?P<verdict>accepted|repaired|refused)\b",
        PAGE.read_text(encoding="utf-8"),
        re.M,
    )
    return {name.replace("`", "").replace("\\", ""): verdict for name, verdict in rows}


def test_the_page_has_every_case_and_no_other(page):
    assert page == {case.name: case.verdict for case in CASES}
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_becomes_of_it(case, tmp_path):
    path = write(case, tmp_path / case.file)
    lake = tmp_path / "lake"
    lake.mkdir()
    try:
        said = facts(dataset_of(case, path), lake)
        verdict = "repaired" if said.pop("repairs") else "accepted"
    except (DataError, ConfigError) as error:
        verdict, said = "refused", {"error": str(error)}
        assert not list(lake.glob("prepared/*/*"))
    assert not [left for left in lake.rglob("*tmp*") if left.is_file()]
    assert verdict == case.verdict, said
    assert re.search(case.says, json.dumps(said, ensure_ascii=False), re.S), said


def write(case: Case, path: Path) -> Path:
    if callable(case.content):
        case.content(path)
    else:
        path.write_bytes(case.content.encode() if isinstance(case.content, str) else case.content)
    return path


def dataset_of(case: Case, path: Path) -> tuple[DatasetConfig, tuple[str, ...]]:
    if case.yaml is None:
        resolved = resolve_dataset(str(path), path.parent / "catalog")
        return resolved.dataset, resolved.notes
    tree = case.yaml
    if "source:" in tree:
        tree = tree.replace("source: {", f"source: {{path: '{path}', ")
    else:
        tree = f"source: {{path: '{path}'}}\n{'' if tree == '{}' else tree}"
    described = path.parent / "set.yaml"
    described.write_text(tree)
    resolved = resolve_dataset(str(described), path.parent / "catalog")
    return resolved.dataset, resolved.notes


def facts(described: tuple[DatasetConfig, tuple[str, ...]], lake: Path) -> dict[str, Any]:
    """What the three steps say of a dataset; `repairs` is what they changed."""
    dataset, notes = described
    taken = snapshot(dataset, lake)
    report = validate(dataset, taken, lake)
    raise_if_failed(report)
    prepared = prepare(dataset, WINDOW, taken, lake, report.excluded())
    manifest = json.loads((prepared.path / "prepared.json").read_text())
    checks = json.loads((report.path / "report.json").read_text())["checks"]
    read = json.loads((taken.path / "manifest.json").read_text())["notes"]
    counted = ("filled", "dropped_rows", "repeated_rows", "quarantined_rows")
    changed = {name: manifest[name] for name in counted if manifest[name]}
    order = {} if manifest["order"] in ("ascending", "as given") else {"order": manifest["order"]}
    warnings = {check["name"]: check["found"] for check in checks if not check["success"]}
    return {
        "inferred": list(notes),
        "notes": read,
        "warnings": warnings,
        "changed": changed | order,
        "repairs": bool(read or changed or order),
    }


def test_nothing_that_a_page_shows_is_taken_for_markup(tmp_path):
    case = next(case for case in CASES if "<script>" in case.name)
    path = write(case, tmp_path / case.file)
    (tmp_path / "lake").mkdir()
    facts(dataset_of(case, path), tmp_path / "lake")
    pages = [page.read_text() for page in (tmp_path / "lake").rglob("*.html")]
    assert len(pages) >= 2
    assert all("<script>alert" not in page and "&lt;script&gt;alert" in page for page in pages)
