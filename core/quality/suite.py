"""Great Expectations, called once with a suite built in code."""

from __future__ import annotations

from typing import Any

import pandas as pd

from core.quality.checks import Outcome, Rule


def run_rules(name: str, frame: pd.DataFrame, rules: list[Rule]) -> list[Outcome]:
    """Check `rules` on `frame`; one outcome each, in their order.

    The context lives in memory. Great Expectations' own `success` ignores severity, and an error inside a
    check comes back as a failure: both are told apart here.
    """
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    suite = gx.ExpectationSuite(name=name)
    for number, rule in enumerate(rules):
        expectation = getattr(gxe, rule.expectation)
        suite.add_expectation(expectation(**rule.arguments, severity=rule.severity, meta={"rule": number}))
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch({"dataframe": frame})
    results = batch.validate(suite, result_format="SUMMARY").results
    by_number = {int(result.expectation_config.meta["rule"]): _outcome(result) for result in results}
    return [by_number.get(number, _UNANSWERED) for number in range(len(rules))]


_UNANSWERED = Outcome(success=False, broken="Great Expectations gave no result")


def _outcome(result: Any) -> Outcome:
    numbers: dict[str, Any] = result.result or {}
    observed = numbers.get("observed_value")
    return Outcome(
        success=bool(result.success),
        unexpected=int(numbers.get("unexpected_count") or 0),
        observed="" if observed is None else str(observed),
        broken=_error(result.exception_info or {}),
    )


def _error(info: dict[str, Any]) -> str:
    """The message of an error inside the check: `info` is one such record, or one for each metric."""
    records = [info, *(value for value in info.values() if isinstance(value, dict))]
    for record in records:
        if record.get("raised_exception"):
            return str(record.get("exception_message") or "unknown error")
    return ""
