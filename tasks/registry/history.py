"""The history of a model's champions, kept in tags of the registered model: who, when, from, to, why."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from mlflow import MlflowClient
from prefect import runtime
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import StorageError
from core.sources.snapshots import user_name

PREFIX = "champion."
MAX_REASON = 1000
"""Characters: on PostgreSQL a tag of a registered model holds 5,000, and JSON may need two for one."""
_DIGITS = 6
_KEY = re.compile(rf"{re.escape(PREFIX)}([0-9]{{{_DIGITS}}})\Z")

How = Literal["gates", "always", "hand", "rollback", "outside"]
"""Who decided: the gates, `registry.promote: always`, a person, a person who took back, or somebody past us."""


class Change(BaseModel):
    """One change of the alias `champion`."""

    model_config = ConfigDict(frozen=True)

    when: str
    """ISO, UTC."""
    who: str
    how: How
    before: str | None = None
    """Version that was the champion; None if there was none."""
    after: str
    why: str
    flow_run: str | None = None
    """Prefect flow run, where one did it."""


def history(client: MlflowClient, name: str) -> list[Change]:
    """Every recorded change, the oldest first.

    Raises:
        StorageError: a record cannot be read.
    """
    changes = []
    for number, value in _records(client, name):
        try:
            changes.append(Change.model_validate_json(value))
        except ValidationError as error:
            raise StorageError(
                f"the history of {name} cannot be read, its tag {_key(number)}: {error}; mend or delete it"
            ) from error
    return changes


def _records(client: MlflowClient, name: str) -> list[tuple[int, str]]:
    """Number and text of each, ascending; a record that somebody deleted leaves a gap."""
    tags = client.get_registered_model(name).tags.items()
    return sorted((int(match[1]), value) for key, value in tags if (match := _KEY.match(key)))


def _key(number: int) -> str:
    return f"{PREFIX}{number:0{_DIGITS}}"


def record(client: MlflowClient, name: str, how: How, before: str | None, after: str, why: str) -> Change:
    """Append a change; a change that somebody made past us is recorded before it. For one's turn."""
    known = history(client, name)
    last = known[-1].after if known else None
    if before is not None and before != last:
        seen = f"found as the champion; version {last} was recorded" if last else "was the champion already"
        _append(client, name, _change("outside", last, before, seen))
        return record(client, name, how, before, after, why)
    change = _change(how, before, after, why)
    _append(client, name, change)
    return change


def line_of_champions(changes: Sequence[Change]) -> list[str]:
    """Versions that a rollback goes back through, the present champion last.

    A promotion puts its version on top; a rollback takes off what lies above the version that it returns to.
    """
    line: list[str] = []
    for change in changes:
        if change.how == "rollback" and change.after in line:
            del line[len(line) - line[::-1].index(change.after) :]
        elif not line or line[-1] != change.after:
            line.append(change.after)
    return line


def was_champion(changes: Sequence[Change], version: str) -> bool:
    """Whether a version ever was."""
    return any(change.after == version for change in changes)


def taken_back(changes: Sequence[Change], version: str) -> str | None:
    """Why a version was rolled back last, None if it was not or a person promoted it since."""
    for change in reversed(changes):
        if change.how == "rollback" and change.before == version:
            return change.why or "no reason was given"
        if change.how in ("hand", "rollback") and change.after == version:
            return None
    return None


def _change(how: How, before: str | None, after: str, why: str) -> Change:
    return Change(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        who="unknown" if how == "outside" else user_name(),
        how=how,
        before=before,
        after=after,
        why=" ".join(why.split())[:MAX_REASON],
        flow_run=str(runtime.flow_run.id) if runtime.flow_run.id else None,
    )


def _append(client: MlflowClient, name: str, change: Change) -> None:
    numbers = [number for number, _ in _records(client, name)]
    text = json.dumps(change.model_dump(exclude_none=True), ensure_ascii=False)
    client.set_registered_model_tag(name, _key(max(numbers, default=0) + 1), text)
