"""A look at a champion on new data: everything that is computed, the verdict, and the report of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.errors import DataError
from core.evaluation.generated import judged_channels, judged_names
from core.evaluation.judges.paper_scores import Progress
from core.generators.bundle import GeneratorBundle
from core.handles import Handle, PreparedRef
from core.lake import build_once, code_digest, content_digest, write_json
from core.prepare.channels.layout import Layout, WindowArrays
from core.prepare.channels.scaler import MinMaxScaler
from core.prepare.series import PreparedSeries
from core.prepare.time.stamps import label
from core.watch.champion import Champion
from core.watch.drift import FAMILIES, Windows, measure_drift
from core.watch.options import WatchConfig
from core.watch.report.pages import write_pages
from core.watch.report.pictures import Strip, draw_columns, draw_timeline
from core.watch.rows import Found, Side, learnt_series
from core.watch.scores import score_losses
from core.watch.stretches import FEWEST, Index, evenly, stretch_size, stretches
from core.watch.verdict import Measured, Verdict, verdict

SCHEMA = 1
"""Of `report.json`."""


class WatchRef(Handle):
    """What a look found: `report.json`, `report.html`, `report.md`, `plots/*.png`."""

    judged: bool
    """There was enough to judge."""
    drift: bool
    reasons: tuple[str, ...]
    """Why drift was called."""
    findings: tuple[str, ...]
    """What else is worth knowing."""
    retrain: Literal["full", "sparse"] | None
    """The training that would help and is asked for."""
    new_rows: int
    metrics: dict[str, float]
    """To follow over the looks, all finite."""


def look(
    config: WatchConfig, prepared: PreparedRef, champion: Champion, lake: Path, progress: Progress | None = None
) -> WatchRef:
    """Judge the rows that came after those that the champion learnt, in `lake/watch/<dataset>/<key>/`.

    The key is made of the data, the champion, the options and the code; how old the data are changes by the
    minute and is in `core.watch.freshness`.

    Args:
        config: How.
        prepared: Of all rows there are now, none held out.
        champion: What is watched.
        lake: Where its training data may be, and where to write.
        progress: Told what is being done, and how much of how much.

    Raises:
        DataError: which rows are new cannot be told.
        StorageError: a file is missing or damaged, or cannot be written.
    """
    bundle = GeneratorBundle.load(champion.path)
    learnt = learnt_series(bundle, lake)
    said = {"dataset", "max_age", "model"}
    key = content_digest(
        prepared=prepared.digest,
        champion={"name": champion.name, "version": champion.version, "digest": champion.digest},
        job=champion.job.model_dump(mode="json", include={"window": True, "model": {"condition"}}),
        rows=champion.rows,
        scores=champion.scores,
        learnt=learnt is not None,
        options=config.model_dump(mode="json", exclude=said),
        code=code_digest("watch", "evaluation", "prepare", "generators", "networks", "pages.py"),
    )
    folder = lake / "watch" / config.dataset.name / key[:16]

    def build(out: Path) -> None:
        series = PreparedSeries.open(prepared.path)
        condition = champion.job.model.condition
        found = Found(series, bundle, champion.job.window, condition, learnt, champion.rows)
        report = _Look(config, champion, found, out, progress).report()
        write_json(out / "report.json", report)
        write_pages(out, report)

    reused = build_once(folder, build)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return WatchRef(
        path=folder,
        digest=key,
        reused=reused,
        new_rows=report["new"]["rows"],
        metrics=metrics_of(report),
        **{name: report[name] for name in ("judged", "drift", "reasons", "findings", "retrain")},
    )


@dataclass
class _Look:
    config: WatchConfig
    champion: Champion
    found: Found
    out: Path
    progress: Progress | None

    def report(self) -> dict[str, Any]:
        """What `report.json` holds."""
        found, here = self.found, self.found.learnt is not None
        rows = int(found.is_new.sum())
        new, training = found.new(), found.training()
        windows = 0 if new is None else len(new)
        size = stretch_size(len(training), min(windows, self.config.windows))
        measured = Measured(too_few=self._too_few(rows, windows, len(training), size))
        numbers = sum(column.kind == "continuous" for column in found.known.temporal)
        measured.cells = rows * numbers
        try:
            measured.outside = found.outside()
            measured.restated = found.restated()
            if new is not None and measured.too_few is None:
                self._measure(measured, new, training, size)
        except DataError as reason:
            measured.unknown = str(reason)
        facts = {
            "training": self._span(found.learnt or found.series, None if here else ~found.is_new)
            | {"windows": len(training), "here": here},
            "new": self._span(found.series, found.is_new) | {"windows": windows, "judged": size},
        }
        return self._assembled(facts, measured, verdict(self.config, measured, compared=here))

    def _too_few(self, rows: int, windows: int, training: int, size: int) -> str | None:
        """Why nothing can be judged, in words."""
        least = self.config.fewest_windows
        if not rows:
            return "there are no rows that the champion's data did not have"
        if windows < least:
            return f"{rows:,} new rows give {windows:,} windows, at least {least:,} are needed"
        if size < least:
            return (
                f"{training:,} training windows hold {FEWEST} stretches of {size:,}, stretches of at least "
                f"{least:,} are needed"
            )
        return None

    def _span(self, series: PreparedSeries, which: Any) -> dict[str, Any]:
        """Rows and the time they cover; all if `which` is None."""
        rows = np.arange(len(series.values)) if which is None else np.flatnonzero(which)
        time, stamps = series.manifest["time"], series.stamps
        ends: list[str | None] = [None, None]
        if stamps is not None and len(rows):
            chosen = stamps[rows]
            ends = [label(int(end), time["timezone"]) for end in (chosen.min(), chosen.max())]
        return {"rows": len(rows), "from": ends[0], "to": ends[1]}

    def _measure(self, measured: Measured, new: Side, training: Side, size: int) -> None:
        config, known = self.config, self.found.known
        variable = new.windows.variable or training.windows.variable
        latest = np.arange(len(new) - size, len(new))
        real = new.take(latest)
        sample = training.take(evenly(np.arange(len(training)), config.windows))
        scaler = MinMaxScaler.fit(judged_channels(sample, variable=variable))

        def scaled(windows: WindowArrays) -> Windows:
            return scaler.transform(judged_channels(windows, variable=variable)).astype(np.float32)

        def take(index: Index) -> Windows:
            return scaled(training.take(index))

        names = judged_names(known, variable=variable)
        measured.drift = measure_drift(
            take,
            scaled(real),
            names,
            columns_of(known, variable=variable),
            span=(training.first, training.last),
            level=config.level,
            most=config.windows,
            seed=config.seed,
            told=self.progress,
        )
        parts = stretches(training.first, training.last, size, config.windows)
        apart = parts[::2]  # neighbours overlap by half: as noise to compare with they would count twice
        chosen = [apart[place].own for place in evenly(np.arange(len(apart)), config.judges)]

        def paired(windows: WindowArrays) -> tuple[Windows, Windows]:
            given = windows.condition if known.condition else None
            synthetic = self.found.bundle.generator.sample(len(windows), config.seed, given)
            return scaled(windows), scaled(synthetic)

        measured.scores = score_losses(
            paired(real),
            [paired(training.take(index)) for index in chosen],
            iterations=config.judge_iterations,
            allowed=config.score_loss,
            level=config.level / FAMILIES,
            registered=self.champion.scores,
            seed=config.seed,
            progress=self.progress,
        )
        self._draw(judged_channels(sample, variable=variable), judged_channels(real, variable=variable), names)

    def _draw(self, old: Windows, new: Windows, names: list[str]) -> None:
        plots = self.out / "plots"
        plots.mkdir()
        draw_columns(plots / "columns.png", names, old, new)
        draw_timeline(plots / "timeline.png", Strip.of(self.found))

    def _assembled(self, facts: dict[str, Any], measured: Measured, decided: Verdict) -> dict[str, Any]:
        champion, drift, restated = self.champion, measured.drift, measured.restated
        return {
            "schema": SCHEMA,
            "dataset": self.config.dataset.name,
            "model": champion.name,
            "version": champion.version,
            "kind": champion.job.model.kind,
            "judged": decided.judged,
            "drift": decided.drift,
            "reasons": decided.reasons,
            "findings": decided.findings,
            "retrain": decided.retrain,
            **facts,
            "outside": measured.outside,
            "outside_share": measured.outside_share,
            "restated": None if restated is None else asdict(restated),
            "level": self.config.level,
            "column_drift": self.config.column_drift,
            "stretches": None if drift is None else {"size": drift.size, "disjoint": drift.disjoint},
            "columns": [] if drift is None else [column.to_json() for column in drift.columns],
            "columns_share": None if drift is None else drift.share,
            "together": []
            if drift is None
            else [asdict(one) | {"drifted": one in drift.found_together} for one in drift.together],
            "scores": [one.to_json() for one in measured.scores],
        }


def columns_of(layout: Layout, *, variable: bool) -> list[str]:
    """The column of each channel of `judged_channels`."""
    columns = (*layout.static, *layout.condition, *layout.temporal)
    return ["length of a window"] * variable + [c.name for c in columns for _ in range(c.block.channels)]


def metrics_of(report: dict[str, Any]) -> dict[str, float]:
    """What is followed from look to look, all finite.

    Args:
        report: What `report.json` holds.
    """
    found = {
        "judged": float(report["judged"]),
        "drift": float(report["drift"]),
        "new_rows": float(report["new"]["rows"]),
        "outside_share": report["outside_share"],
    }
    if report["columns_share"] is not None:
        found["columns_share"] = report["columns_share"]
    for test in report["together"]:
        reference = float(np.median(test["references"]))
        found |= {f"distance/{test['name']}": test["value"], f"reference/{test['name']}": reference}
    for score in report["scores"]:
        for kind in ("new", "training"):
            found[f"score/{score['name']}_{kind}"] = float(np.mean(score[kind]))
    return found
