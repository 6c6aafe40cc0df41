"""What every configuration model shares, and readable errors for what does not fit one."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validated(model: type[M], tree: Any, source: str = "configuration") -> M:
    """`model.model_validate(tree)` whose errors are one readable `ConfigError`."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors(include_url=False)]
        raise ConfigError(f"{source} is not valid:\n" + "\n".join(f"  {line}" for line in lines)) from error


def _explain(model: type[BaseModel], detail: Any) -> str:
    place = [str(part) for part in detail["loc"]]
    name = ".".join(place) or "(whole)"
    if detail["type"] == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.4)
        prefix = ".".join([*place[:-1], ""])
        hint = f"; did you mean {prefix}{near[0]}?" if near else ""
        return f"unknown key {name}{hint} (keys there: {', '.join(sorted(known))})"
    return f"{name}: {detail['msg']}, got {detail['input']!r}"


def _keys_at(model: type[BaseModel], place: list[str]) -> list[str]:
    """Names of the fields of the section at `place`, through unions by the tag that pydantic puts there."""
    sections: list[type[BaseModel]] = [model]
    for part in place:
        inner = [
            kind
            for section in sections
            if part in section.model_fields
            for kind in _models_in(section.model_fields[part].annotation)
        ]
        sections = inner or sections
    return [name for section in sections for name in section.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
