"""The task that decides whether a new version becomes the champion."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from core.config import JobConfig
from core.errors import BusyError, ConfigError, DataError, StorageError
from core.handles import EvaluationRef, GeneratorRef, Handle, PreparedRef
from core.pages import markdown_text
from core.prepare.series import PreparedSeries
from core.promotion.card import gate_rows, shortened
from core.promotion.decision import Challenger, Champion, DecisionRef, decide
from core.promotion.facts import DataFacts
from tasks.artifacts import show_markdown
from tasks.events import PROMOTED, REJECTED, emit
from tasks.factory import outcome, task
from tasks.progress import progress
from tasks.registry.champions import PREVIOUS_TAG, set_champion, turn
from tasks.registry.history import Change, How, history, taken_back
from tasks.registry.register import RegisteredRef
from tasks.registry.versions import (
    CHALLENGER,
    CHAMPION,
    KEY_TAG,
    PROMOTION_TAG,
    champion_of,
    fetched,
    find_number,
)
from tasks.tracking import TrackedRun

logger = logging.getLogger(__name__)

STEP_SECONDS = 3600
DECISION_TAG = "timeloom.decision"
CARD_FILES = ("model-card.md", "model-card.html")
MAX_DESCRIPTION = 5000
"""Characters of a version's description: on PostgreSQL one more is refused. A version's tags take more."""
_TRIES = 5
"""How often to judge anew because the champion changed meanwhile."""


class PromotionRef(Handle):
    """What was decided: `decision.json`, `model-card.md` and `model-card.html`."""

    alias: str
    """`champion` if the version is the champion now, else `challenger`."""
    reason: str


@task("promote", timeout_seconds=STEP_SECONDS)
def promote(
    job: JobConfig,
    prepared: PreparedRef,
    generator: GeneratorRef,
    evaluation: EvaluationRef,
    model: RegisteredRef,
    lake: Path,
    run: TrackedRun,
) -> PromotionRef:
    """Put a version through the gates and give the aliases; once, however often it is asked.

    The judging happens outside the turn, which is short; if the champion is another one when the turn comes,
    the version is judged against that one.

    Raises:
        BusyError: the champion changed again and again.
    """
    client, number = run.client, model.version
    for _ in range(_TRIES):
        champion = champion_of(client, model.name)
        decision = _decided(client, job, (prepared, generator, evaluation), model, champion, lake)
        with turn(lake, model.name):
            if _number(champion_of(client, model.name)) != _number(champion):
                logger.info("%s: the champion changed while version %s was judged", model.name, number)
                continue
            reused = _carried_out(client, model, decision)
            if not reused:
                _carry_out(client, model, prepared, decision, champion)
            alias = CHAMPION if _number(champion_of(client, model.name)) == number else CHALLENGER
        _show(run, model, decision, alias)
        made = PromotionRef(
            path=decision.path, digest=decision.digest, reused=reused, alias=alias, reason=decision.reason
        )
        return outcome(made)
    raise BusyError(f"the champion of {model.name} changed {_TRIES} times while version {number} was judged")


def _decided(
    client: MlflowClient,
    job: JobConfig,
    made: tuple[PreparedRef, GeneratorRef, EvaluationRef],
    model: RegisteredRef,
    champion: ModelVersion | None,
    lake: Path,
) -> DecisionRef:
    version = client.get_model_version(model.name, model.version)
    changes = history(client, model.name)
    if _number(champion) == model.version:  # it has won already, against the one before
        champion = _one_before(client, version, changes)
    back = taken_back(changes, model.version)
    challenger = Challenger(model.name, model.version, str(version.run_id), *made, rolled_back=back)
    with ExitStack() as stack, progress("promote") as report:
        incumbent = None if champion is None else _incumbent(stack, champion)
        return decide(job, challenger, incumbent, lake, report)


def _one_before(client: MlflowClient, version: ModelVersion, changes: list[Change]) -> ModelVersion | None:
    before = version.tags.get(PREVIOUS_TAG)
    if before is None:  # somebody made it the champion past us: the last one that is recorded was it before
        others = [change.after for change in changes if change.after != str(version.version)]
        before = others[-1] if others else "none"
    return None if before == "none" else find_number(client, version.name, before)


def _incumbent(stack: ExitStack, champion: ModelVersion) -> Champion:
    """The champion with its files, for as long as the stack is open."""
    trouble, folder, data = "", None, None
    try:
        folder = stack.enter_context(fetched(f"{champion.name}/{champion.version}"))
    except (ConfigError, StorageError) as error:
        logger.warning("the champion %s/%s: %s", champion.name, champion.version, error)
        lost = isinstance(error, ConfigError)
        trouble = f"its files are not {'where the registry says' if lost else 'those that were registered'}"
    try:
        data = DataFacts.from_tags(champion.tags)
    except DataError as error:
        logger.warning("the champion %s/%s: %s", champion.name, champion.version, error)
    return Champion(str(champion.version), champion.tags.get(KEY_TAG, ""), folder, data, trouble)


def _carried_out(client: MlflowClient, model: RegisteredRef, decision: DecisionRef) -> bool:
    """It was, and nothing is to be done again: a person may have rolled back since."""
    tags = client.get_model_version(model.name, model.version).tags
    return bool(tags.get(DECISION_TAG) == decision.digest)


def _carry_out(
    client: MlflowClient,
    model: RegisteredRef,
    prepared: PreparedRef,
    decision: DecisionRef,
    champion: ModelVersion | None,
) -> None:
    """Write it into the registry and tell; the tag that says so comes last: a retry does what is left."""
    name, number = model.name, model.version
    client.set_registered_model_alias(name, CHALLENGER, number)
    card = decision.path / CARD_FILES[0]
    client.update_model_version(name, number, shortened(card.read_text(encoding="utf-8"), MAX_DESCRIPTION))
    facts = DataFacts.of(PreparedSeries.open(prepared.path), prepared.digest)
    verdict = "promoted" if decision.promoted else "not promoted"
    tags = {
        **facts.tags(),
        **{f"gate.{gate['name']}": f"{gate['verdict']}: {gate['explanation']}" for gate in decision.gates},
        PROMOTION_TAG: f"{verdict}: {decision.reason}",
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, number, key, value[:MAX_DESCRIPTION])
    _log_card(client, model, decision)
    logger.info("%s version %s: %s: %s", name, number, verdict, decision.reason)
    payload = {"name": name, "version": number, "reason": decision.reason}
    if decision.promoted:
        how: How = "always" if decision.rule == "always" else "gates"
        set_champion(client, name, number, how, decision.reason)
        emit(PROMOTED, "model", name, {**payload, "before": decision.champion})
    elif decision.rule == "if_better" and _number(champion) != number:
        emit(REJECTED, "model", name, {**payload, "champion": _number(champion)})
    client.set_model_version_tag(name, number, DECISION_TAG, decision.digest)


def _log_card(client: MlflowClient, model: RegisteredRef, decision: DecisionRef) -> None:
    """Among the files of the model."""
    source = str(client.get_model_version(model.name, model.version).source)
    for file in CARD_FILES:
        client.log_model_artifact(source.removeprefix("models:/"), str(decision.path / file))


def _show(run: TrackedRun, model: RegisteredRef, decision: DecisionRef, alias: str) -> None:
    """In the MLflow run and on the Prefect page."""
    for file in CARD_FILES:
        run.client.log_artifact(run.run_id, str(decision.path / file))
    run.client.log_artifact(run.run_id, str(decision.path / "decision.json"), "promotion")
    if decision.comparison is not None:
        test, scores = decision.comparison["test"], ("champion", "challenger")
        means = {f"promotion/{name}": decision.comparison[name]["mean"] for name in scores}
        run.log_metrics(means | {f"promotion/{name}": test[name] for name in ("gain", "error", "p_value")})
    run.set_tags({"model_alias": alias, "promotion": decision.reason})
    show_markdown("promotion", _table(model, decision, alias), model.name)
    show_markdown("model-card", (decision.path / CARD_FILES[0]).read_text(encoding="utf-8"), model.name)


def _table(model: RegisteredRef, decision: DecisionRef, alias: str) -> str:
    lines = [
        f"# {markdown_text(model.name)}, version {model.version}: {alias}",
        "",
        markdown_text(decision.reason) + ".",
        "",
    ]
    if decision.champion is not None:
        lines += [f"Compared with version {decision.champion}.", ""]
    lines += ["| Gate | Verdict | What was found |", "| --- | --- | --- |"]
    lines += ["| " + " | ".join(map(markdown_text, row)) + " |" for row in gate_rows(decision.gates)]
    return "\n".join(lines) + "\n"


def _number(version: ModelVersion | None) -> str | None:
    return None if version is None else str(version.version)
