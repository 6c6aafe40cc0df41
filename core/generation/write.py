"""Writing what a `generate` job asks for: in constant memory, and going on where it was cut off."""

from __future__ import annotations

import importlib.metadata
import re
import time
from pathlib import Path
from typing import Any

import pandas as pd

from core import __version__
from core.errors import ConfigError, StorageError
from core.generation.options import GenerationConfig
from core.generation.rows import Rows
from core.generation.series import SeriesParts, continued
from core.generation.stage import stage
from core.generation.target import target_of
from core.generation.windows import WindowParts
from core.generation.writer import Generated, Report, Writer, refuse_others
from core.generators.bundle import GeneratorBundle
from core.generators.integrity import FILES
from core.lake import code_digest, content_digest, file_digest
from core.prepare.time.timeline import future_stamps

MOST_STAMPS = 20_000_000
"""They are in memory, 8 bytes each."""
_CODE = (
    *("errors.py", "generation", "generators", "networks", "prepare/channels", "prepare/time"),
    *("strict_json.py", "tensors.py"),
)
_PACKAGES = ("exchange_calendars", "numpy", "pandas", "pyarrow", "torch")


def generator_digest(folder: Path) -> str:
    """SHA-256 of a generator's files.

    Raises:
        StorageError: one of them cannot be read.
    """
    try:
        return content_digest(**{name: file_digest(folder / name) for name in FILES})
    except OSError as error:
        raise StorageError(f"{folder} holds no whole generator: {error}") from error


def lineage_of(bundle: GeneratorBundle, config: GenerationConfig, origin: dict[str, Any]) -> dict[str, Any]:
    """Where windows come from: the same for the same call, so no times.

    Args:
        bundle: What they are drawn from.
        config: How.
        origin: `name`, `version`, `run_id` and `generator`, its digest, as far as they are known.
    """
    series = config.form == "series"
    asked = {
        "model": config.model,
        **origin,
        "dataset": bundle.series.dataset,
        "data": bundle.series.digest,
        "form": config.form,
        "windows": None if series else config.windows,
        "steps": config.steps,
        "series": config.series,
        **(continued(bundle, config) if series else {}),
        "seed": config.seed,
        "start": config.start,
        "scaled": config.scaled,
        "condition": config.condition or None,
        "scenario": list(config.scenario) or None,
        "timeloom": __version__,
    }
    return {name: value for name, value in asked.items() if value is not None}


def generate(
    bundle: GeneratorBundle,
    config: GenerationConfig,
    origin: dict[str, Any],
    lake: Path,
    report: Report | None = None,
) -> Generated:
    """Draw what `config` says and write it; the same call gives the same bytes.

    Parts that an earlier attempt of the same call finished are used again, after a look at their digests; the
    result is the same, byte for byte. A single file appears whole or not at all; a folder is whole once
    `_manifest.json` is in it. Beside a .csv or .npy file `FILE.json` holds the lineage, which a Parquet file
    holds in its metadata under `timeloom`.

    Args:
        bundle: What to draw from.
        config: What.
        origin: Of the model, see `lineage_of`.
        lake: Where unfinished work is kept.
        report: Told how far it is.

    Raises:
        ConfigError: an output, a condition, a start or a series that is not possible; nothing is written.
        DataError: the seams of a series are visible and `seams` is `refuse`, or its level overflowed.
        BusyError: another process is writing the same output.
        StorageError, TargetError: the output could not be written; finished parts are kept.
    """
    began = time.monotonic()
    parts = checked(bundle, config, lake)
    lineage = lineage_of(bundle, config, origin)
    address = target_of(config.output, lake).address
    key = _key(lineage, address)
    with stage(lake, address, key) as folder:
        writer = Writer(target_of(config.output, folder), parts, lineage, key, folder, config)
        return writer.run(began, report or (lambda *_: None))


def checked(bundle: GeneratorBundle, config: GenerationConfig, lake: Path) -> WindowParts | SeriesParts:
    """What to write, after all checks that need no drawing; nothing is made.

    Raises:
        ConfigError: see `generate`.
        TargetError: the output's service does not answer.
    """
    target = target_of(config.output, lake)
    bundle.given(config.condition or None)
    series = config.form == "series"
    rows = Rows(bundle, target.kind, config.scaled, series, _stamps(bundle, config), config.series)
    parts = SeriesParts(rows, config) if series else WindowParts(rows, config)
    parts.check()
    parts.written.check()
    if target.name is None:
        target.place.check()
        refuse_others(target)
    else:
        target.place.check(target.name)
        if target.kind != "parquet":
            target.place.check(f"{target.name}.json")
    return parts


def _key(lineage: dict[str, Any], address: str) -> str:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    try:
        return content_digest(lineage=lineage, output=address, code=code_digest(*_CODE), versions=versions)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"expected a condition of texts, numbers and booleans: {error}") from error


def _stamps(bundle: GeneratorBundle, config: GenerationConfig) -> pd.DatetimeIndex | None:
    if config.start is None:
        return None
    if not re.search(r"\d{4}", config.start):  # pandas would take the rest from today's date, each time anew
        raise ConfigError(f"expected start as a date with its year, such as 2024-01-31, got {config.start!r}")
    steps = bundle.generator.length if config.form == "windows" else config.steps or 0
    if steps > MOST_STAMPS:
        raise ConfigError(
            f"a series with stamps has at most {MOST_STAMPS:,} steps, got {steps:,}: leave start out"
        )
    try:
        return future_stamps(bundle.series.time, config.start, steps)
    except (OverflowError, ValueError) as error:  # pandas knows no stamp after the year 2262
        raise ConfigError(f"there are no {steps:,} stamps from {config.start} on: {error}") from error
