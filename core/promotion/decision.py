"""Whether a challenger becomes the champion, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import JobConfig
from core.errors import DataError, StorageError
from core.evaluation.judges.paper_scores import Progress
from core.generators.bundle import GeneratorBundle
from core.handles import EvaluationRef, GeneratorRef, Handle, PreparedRef
from core.lake import build_once, code_digest, content_digest, write_atomically, write_json
from core.prepare.series import PreparedSeries
from core.promotion.card import Sheet, as_html, as_markdown, model_card
from core.promotion.facts import DataFacts
from core.promotion.gates import (
    HAND,
    Gate,
    better_gate,
    data_gate,
    incomparable_gate,
    privacy_gate,
    rolled_back_gate,
    validity_gate,
)
from core.promotion.paired import compare


@dataclass(frozen=True)
class Champion:
    """The version that serves now."""

    version: str
    key: str
    """Of what it was registered from."""
    generator: Path | None
    """Folder with its files; None if they cannot be had."""
    data: DataFacts | None
    trouble: str = ""
    """Why there are no files."""


@dataclass(frozen=True)
class Challenger:
    """The version that may take its place."""

    name: str
    """Of the registered model."""
    version: str
    run_id: str
    """The MLflow run that registered it."""
    prepared: PreparedRef
    generator: GeneratorRef
    evaluation: EvaluationRef
    rolled_back: str | None = None
    """Why it was taken back as champion, if it was."""


class DecisionRef(Handle):
    """`decision.json`, `model-card.md` and `model-card.html`."""

    promoted: bool
    reason: str
    """In one line."""
    rule: str
    """`registry.promote`."""
    champion: str | None
    """Version that it was compared with."""
    gates: list[dict[str, Any]]
    """See `Gate.to_json`."""
    comparison: dict[str, Any] | None
    """See `Comparison.to_json`; None where champion and challenger were not judged."""


def decide(
    job: JobConfig,
    challenger: Challenger,
    champion: Champion | None,
    lake: Path,
    progress: Progress | None = None,
) -> DecisionRef:
    """Put the challenger through the gates, once, and write its model card.

    With `registry.promote` `always` or `never` the two are not judged; what can be read from the evaluation is
    said, and decides nothing. What a person rolled back stays so even with `always`.

    Args:
        job: What made the challenger; its section `registry` has the rule and the gates.
        challenger: A registered version.
        champion: None if there is none: then only the gates that need none count.
        lake: Where `promotions/<name>/<key>/` is written.
        progress: Told how far the judging is.

    Raises:
        TrainingDivergedError: a judge's output is not finite.
        StorageError: the challenger's own files are damaged, or the lake cannot be written.
    """
    key = _key(job, challenger, champion)
    folder = lake / "promotions" / challenger.name / key[:16]

    def build(out: Path) -> None:
        series = PreparedSeries.open(challenger.prepared.path)
        scores = json.loads((challenger.evaluation.path / "scores.json").read_text(encoding="utf-8"))
        facts = DataFacts.of(series, challenger.prepared.digest)
        gates, comparison = _gates(job, challenger, champion, (series, scores, facts), progress)
        tree = _decision(job.registry.promote, gates, champion) | {"comparison": comparison}
        write_json(out / "decision.json", tree)
        sheet = Sheet(
            job, challenger.name, challenger.version, challenger.run_id, series.manifest, scores, facts, tree
        )
        card = model_card(sheet)
        write_atomically(out / "model-card.md", as_markdown(card))
        write_atomically(out / "model-card.html", as_html(card, challenger.evaluation.path / "plots"))

    reused = build_once(folder, build)
    try:
        tree = json.loads((folder / "decision.json").read_text(encoding="utf-8"))
        return DecisionRef(path=folder, digest=key, reused=reused, **tree)
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder} is damaged: {error}; remove it and run the job again") from error


def _key(job: JobConfig, challenger: Challenger, champion: Champion | None) -> str:
    return content_digest(
        version=(challenger.name, challenger.version, challenger.run_id),
        prepared=challenger.prepared.digest,
        generator=challenger.generator.digest,
        evaluation=challenger.evaluation.digest,
        rolled_back=challenger.rolled_back,
        champion=None if champion is None else (champion.version, champion.key, champion.trouble),
        job=job.model_dump(mode="json", exclude={"training"}),
        code=code_digest("promotion", "evaluation", "generators", "networks", "prepare", "pages.py"),
    )


def _gates(
    job: JobConfig,
    challenger: Challenger,
    champion: Champion | None,
    found: tuple[PreparedSeries, dict[str, Any], DataFacts],
    progress: Progress | None,
) -> tuple[list[Gate], dict[str, Any] | None]:
    (series, scores, facts), options = found, job.registry.gates
    gates, comparison = [], None
    if champion is not None and job.registry.promote == "if_better":
        gate, comparison = _compared(job, challenger, champion, series, progress)
        gates.append(gate)
    gates += [privacy_gate(scores["privacy"], options), validity_gate(scores["validity"], options)]
    if champion is not None:
        gates.append(data_gate(facts, champion.data, options))
    if challenger.rolled_back is not None:
        gates.append(rolled_back_gate(challenger.rolled_back))
    return gates, comparison


def _compared(
    job: JobConfig,
    challenger: Challenger,
    champion: Champion,
    series: PreparedSeries,
    progress: Progress | None,
) -> tuple[Gate, dict[str, Any] | None]:
    """The gate that needs both, and what was measured for it."""
    mine = GeneratorBundle.load(challenger.generator.path)
    if champion.generator is None:
        return incomparable_gate(champion.trouble, champion.version), None
    try:
        theirs = GeneratorBundle.load(champion.generator)
    except StorageError as reason:
        return incomparable_gate(str(reason), champion.version), None
    try:
        found = compare(job, series, theirs, mine, progress)
    except DataError as reason:
        return incomparable_gate(str(reason), champion.version), None
    return better_gate(found, champion.version), found.to_json()


def _decision(rule: str, gates: list[Gate], champion: Champion | None) -> dict[str, Any]:
    failed = _named(gate for gate in gates if not gate.passed)
    unmeasured = _named(gate for gate in gates if not gate.measured)
    if rule == "if_better":
        promoted = not failed
        reason = f"did not pass {failed}" if failed else "passed every gate"
        reason += "; there is no champion to be better than" if champion is None else ""
    else:
        promoted = rule == "always" and HAND not in {gate.name for gate in gates}  # a person's word stands
        reason = f"registry.promote is {rule}" + (f"; the gates would refuse it: {failed}" if failed else "")
    reason += f"; WARNING, not measured: {unmeasured}" if unmeasured else ""
    return {
        "promoted": promoted,
        "reason": reason,
        "rule": rule,
        "champion": None if champion is None else champion.version,
        "gates": [gate.to_json() for gate in gates],
    }


def _named(gates: Iterable[Gate]) -> str:
    return ", ".join(gate.name for gate in gates)
