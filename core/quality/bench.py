"""Rules on cells before Great Expectations, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from core.quality.checks import CellRule, Outcome, Rule, Screen
from core.quality.chunks import Chunk
from core.quality.plan import Plan
from core.quality.suite import Judge

_KEPT = Outcome(success=True)


class Bench:
    """Judges the rules on cells of a plan, chunk by chunk.

    Rules that we find kept in a chunk are judged together by their screen, all others one by one. Where a
    screen finds something, or breaks, so are the rules that it stands for.

    Args:
        plan: The columns.
        rules: On cells.
    """

    def __init__(self, plan: Plan, rules: Sequence[CellRule]) -> None:
        self.plan = plan
        self.rules = tuple(rules)
        self.groups: dict[Screen, list[int]] = {}
        for number, rule in enumerate(rules):
            self.groups.setdefault(rule.screen, []).append(number)
        self.screens = {screen: _judge_of(screen) for screen in self.groups}
        self.single: dict[int, Judge] = {}

    def judge(self, chunk: Chunk, broken: Sequence[bool]) -> list[Outcome]:
        """What Great Expectations says of each rule; `broken`: which of them we find broken in the chunk."""
        alone = [number for number, is_broken in enumerate(broken) if is_broken]
        for screen, numbers in self.groups.items():
            kept = [number for number in numbers if not broken[number]]
            if kept and not self._all_kept(chunk, screen, kept):
                alone += kept
        outcomes = [_KEPT] * len(self.rules)
        if alone:
            frame = self.plan.frame(chunk)
            for number in alone:
                if number not in self.single:
                    self.single[number] = Judge([self.rules[number]])
                outcomes[number] = self.single[number].judge(frame)[0]
        return outcomes

    def _all_kept(self, chunk: Chunk, screen: Screen, numbers: list[int]) -> bool:
        parts = zip(*(self.rules[number].cells(chunk) for number in numbers), strict=True)
        frame = dict(zip(screen.columns, map(np.concatenate, parts), strict=True))
        outcomes = self.screens[screen].judge(pd.DataFrame(frame, copy=False))
        return all(outcome.success and not outcome.unexpected and not outcome.broken for outcome in outcomes)


def _judge_of(screen: Screen) -> Judge:
    return Judge(
        [
            Rule("screen", None, "critical", "", expectation, dict(arguments))
            for expectation, arguments in screen.expectations
        ]
    )
