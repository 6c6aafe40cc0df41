"""What every configuration model shares, and readable errors for what does not fit one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


def _as_a_form(schema: dict[str, Any], section: type[Section]) -> None:
    """Make of a section's JSON schema what Prefect's form of a run needs.

    The form fills in every default that it finds and sends it, so that a preset would have nothing left to set:
    defaults are told in the description instead. Two stay: that of what chooses among models (`kind`), as the
    form sends nothing else of the choice, and that of a switch, which is on or off but never empty; no preset
    sets one. PostgreSQL orders an object's keys by their length; `position` keeps ours.

    JSON schema knows no tags of unions: each model of one asks for its `kind`, or a value without it would
    be one of several.
    """
    properties: dict[str, Any] = schema.get("properties", {})
    for position, (name, field) in enumerate(properties.items()):
        field |= {"position": position, "title": name.replace("_", " ").capitalize()}
        if "const" in field or field.get("type") == "boolean":
            continue
        default = field.pop("default", None)
        if default is not None and not isinstance(default, dict):
            told = default if isinstance(default, str) else json.dumps(default)
            field["description"] = f"{field.get('description', '')} Default: {told}.".lstrip()
    if kind := properties.get("kind", {}).get("const"):
        schema["title"] = kind  # the form writes it on the button that chooses
        if not section.kind_may_be_left_out:
            schema["required"] = [*schema.get("required", ()), "kind"]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_as_a_form)
    kind_may_be_left_out: ClassVar[bool] = False
    """Of the one model of a union that is meant where no `kind` is said."""

    def flat(self) -> dict[str, Any]:
        """Every leaf by its dotted name, `None` included, for logging as parameters."""
        return dict(_leaves("", self.model_dump(mode="json")))


def validated(model: type[M], tree: Any, source: str = "configuration") -> M:
    """`model.model_validate(tree)` whose errors are one readable `ConfigError`."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors(include_url=False)]
        raise ConfigError(f"{source} is not valid:\n" + "\n".join(f"  {line}" for line in lines)) from error


def _explain(model: type[BaseModel], detail: Any) -> str:
    place, known = _walk(model, detail["loc"])
    name = ".".join(place) or "(whole)"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.4)
        hint = f"; did you mean {'.'.join([*place[:-1], near[0]])}?" if near else ""
        return f"unknown key {name}{hint} (keys there: {', '.join(sorted(known))})"
    if detail["type"] == "value_error" and isinstance(detail["input"], Mapping | BaseModel):
        # Of a whole section: our own message says which of its values are wrong.
        said = detail["msg"].removeprefix("Value error, ")
        return f"{name}: {said}" if place else said
    return f"{name}: {detail['msg']}, got {detail['input']!r}"


def _walk(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """The place as the user wrote it, and the keys that its section knows.

    Pydantic puts the tag of a union (`kind`) into the place: it chooses among the union's models.
    """
    sections: list[type[BaseModel]] = [model]
    place: list[str] = []
    known: list[str] = []
    for part in map(str, location):
        tagged = [section for section in sections if _tag(section) == part]
        if tagged and len(sections) > 1:
            sections = tagged
            continue
        place.append(part)
        inner = [
            m for s in sections if part in s.model_fields for m in _models_in(s.model_fields[part].annotation)
        ]
        known = [name for section in sections for name in section.model_fields]
        sections = inner or sections
    return place, known


def _tag(section: type[BaseModel]) -> str | None:
    field = section.model_fields.get("kind")
    return field.default if field and isinstance(field.default, str) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _leaves(prefix: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value
