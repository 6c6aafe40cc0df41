"""Great Expectations: rules built once in code, and as many frames as they are to judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from core.quality.checks import Outcome, Rule


class Judge:
    """Rules, ready to judge frames of the same columns.

    Frames go to the pandas engine directly. A batch of a data context costs as much again: it hashes every cell
    for a fingerprint that nothing here asks for, and a context takes longer to build than a small frame takes
    to be judged.

    Args:
        rules: What every frame is judged by.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        from great_expectations.execution_engine import PandasExecutionEngine
        from great_expectations.validator.validator import Validator

        self.rules = tuple(rules)
        # One engine for all frames: engines lie in reference cycles and would keep each frame for a while.
        self.engine = PandasExecutionEngine()
        self.validator = Validator(execution_engine=self.engine)
        self.validator.metrics_calculator.show_progress_bars = False
        self.configurations = [
            expectation_class(rule.expectation)(
                **rule.arguments, severity=rule.severity, meta={"rule": number}
            ).configuration
            for number, rule in enumerate(rules)
        ]

    def judge(self, frame: pd.DataFrame) -> list[Outcome]:
        """One outcome for each rule, in their order.

        Great Expectations' own `success` ignores severity, and an error inside a check comes back as a failure:
        both are told apart here.
        """
        if not self.rules:
            return []
        self.engine.load_batch_data(_BATCH, frame)
        try:
            results = self.validator.graph_validate(
                configurations=self.configurations,
                runtime_configuration={"result_format": {"result_format": "BASIC"}},
            )
        finally:
            self.engine.load_batch_data(_BATCH, pd.DataFrame())
        by_number = {int(result.expectation_config.meta["rule"]): _outcome(result) for result in results}
        return [by_number.get(number, _UNANSWERED) for number in range(len(self.rules))]


_BATCH = "frame"
_UNANSWERED = Outcome(success=False, broken="Great Expectations gave no result")


def expectation_class(name: str) -> Any:
    """An expectation by its name: ours, else one of Great Expectations'."""
    import great_expectations.expectations as standard

    from core.quality import expectations as ours

    return getattr(ours, name, None) or getattr(standard, name)


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
