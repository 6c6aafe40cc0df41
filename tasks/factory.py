"""The project's `task`: what every task of Timeloom has in common, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import httpx
import prefect
from mlflow.exceptions import MlflowException
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Completed
from prefect.tasks import Task

from core.errors import TimeloomError
from core.handles import Handle

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Handle)

RETRY_DELAYS_SECONDS: list[float] = [2, 10, 45]
"""Between attempts, each made longer at random by up to a half: what fell over together does not come back
together. Short, for Prefect cannot hand a run that waits in its process to another worker; the clients below
(HTTP, MLflow, databases) have tried for a while already."""
_JITTER = 0.5
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500
_PASSING_CODES = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}


def is_retryable(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """Whether doing the same again can help: a busy or unreachable service yes, bad data or a time limit no.

    Called by Prefect after a failed attempt, while there are attempts left.
    """
    if state.name == "TimedOut":
        return False
    try:
        state.result()
    except TimeloomError as error:
        return error.retryable
    except MlflowException as error:
        # MLflow wraps a refused connection and a locked database into one of these.
        return error.error_code in _PASSING_CODES
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        return code == _TOO_MANY_REQUESTS or code >= _SERVER_ERROR
    except (ConnectionError, TimeoutError, httpx.TransportError):
        return True
    except Exception:
        return False
    return False


def task(name: str, *, timeout_seconds: float | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """`prefect.task` with the lake as cache and retries for faults that can pass.

    Args:
        name: Of the task and, so that the Prefect UI reads well, of its runs.
        timeout_seconds: After which a run fails.
    """
    return prefect.task(
        name=name,
        task_run_name=name,
        timeout_seconds=timeout_seconds,
        # The lake is the cache: artefacts are named by the content that made them, and a step whose artefact
        # is there returns the state `Cached` (see `outcome`). Prefect's own cache would be a second memory
        # that still says "done" after the lake was cleaned, and its default results are pickles.
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(RETRY_DELAYS_SECONDS),
        retry_delay_seconds=RETRY_DELAYS_SECONDS,
        retry_jitter_factor=_JITTER,
        retry_condition_fn=is_retryable,
    )


def outcome(handle: H) -> H:
    """What a task returns for a handle: a state named `Cached` where the artefact was in the lake already.

    Prefect unwraps a returned state, so that to the caller it is the handle either way.
    """
    if not handle.reused:
        return handle
    message = f"unchanged: reused {handle.path.name}"
    return cast(H, Completed(name="Cached", data=handle, message=message))
