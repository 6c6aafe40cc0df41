"""`watch`: a champion on new data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter
from rich.text import Text

from core.errors import TimeloomError
from flows.cli.common import (
    Json,
    Overrides,
    app,
    out,
    refuse_missing_folder,
    resolve,
    say_where,
    settings_here,
    write_result,
)

if TYPE_CHECKING:
    from core.settings import Settings
    from core.watch.options import WatchConfig
    from flows.train import TrainResult
    from flows.watch import WatchResult


@app.command
def watch(
    dataset: str,
    *,
    set_: Overrides = None,
    retrain: Annotated[
        bool, Parameter(negative=(), help="After a drift, train at once as its event asks for.")
    ] = False,
    json_: Json = None,
) -> None:
    """Look whether new data are still those that the champion learnt; a drift is an answer, not a failure.

    Args:
        dataset: A name of the catalogue, or a path to a YAML file, a data file or a folder of Parquet files.
    """
    from flows.environment import configure
    from flows.server import prefect_api

    settings = settings_here()
    job = _job(dataset, settings, set_)
    refuse_missing_folder(json_)
    configure(settings)
    with prefect_api(settings) as api:
        from flows.show import quiet_tracebacks
        from flows.watch import watch as watch_flow

        quiet_tracebacks()
        say_where(api)
        result = watch_flow(job)
        _show(result)
        tree = result.model_dump(mode="json")
        if retrain:
            tree["retrained"] = _retrain(result)
    write_result(json_, tree)


def _job(dataset: str, settings: Settings, overrides: list[str] | None) -> WatchConfig:
    from core.config import parse_override
    from core.schema import validated
    from core.watch.options import WatchConfig

    tree: dict[str, Any] = {"dataset": resolve(dataset, settings).dataset.model_dump(exclude_unset=True)}
    for layer in map(parse_override, overrides or ()):
        _merge(tree, layer)
    return validated(WatchConfig, tree)


def _merge(tree: dict[str, Any], layer: dict[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _show(result: WatchResult) -> None:
    verdict = "not judged" if not result.judged else "drift" if result.drift else "no drift"
    out.print(
        Text(
            f"{result.model_name} version {result.model_version}, look {result.look}: {verdict} "
            f"({result.new_rows:,} new rows)",
            style="bold",
        )
    )
    fresh = [] if result.freshness is None else [str(result.freshness["text"])]
    for text in (*result.reasons, *result.findings, *fresh):
        out.print(Text(f"- {text}"))
    out.print(Text(result.report), soft_wrap=True)


def _retrain(result: WatchResult) -> dict[str, Any] | None:
    """Train as the drift asks for; the result's JSON, None where nothing is asked for."""
    if result.job is None:
        out.print("nothing to retrain")
        return None
    from core.config import JobConfig
    from core.schema import validated
    from flows.show import show_result
    from flows.train import train

    state = train(validated(JobConfig, result.job), slot=result.slot, return_state=True)
    if state.is_cancelled():
        raise TimeloomError(f"cancelled: {state.message}")
    trained = cast("TrainResult", state.result())
    show_result(out, trained)
    return dict(trained.model_dump(mode="json"))
