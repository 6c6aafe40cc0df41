"""What a generator's files may say of it: no more than fits the files themselves.

`core.generators.integrity` tells that files are the ones that were saved, not that a friend saved them. Numbers
in them must not ask for more memory or time than their weights account for.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from core.prepare.channels.layout import Column, ColumnKind, Layout, Scaler, Transform


def check_options(make: Callable[..., Any], options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse options that no generator with these weights can have.

    Args:
        make: What takes them; its annotations say their types.
        options: From `generator.json`.
        tensors: Of the weights.

    Raises:
        ValueError: an option is unknown, of another type, or a size that makes more weights than there are.
    """
    types = get_type_hints(make)
    for name, value in options.items():
        if name not in types or not _fits(value, types[name]):
            raise ValueError(f"the option {name:.80} cannot be {value!r:.80}")
    _check_sizes(list(options.values()), tensors)


def _fits(value: Any, wanted: Any) -> bool:
    """Whether what came from JSON is of an annotated type."""
    inside = get_args(wanted)
    if get_origin(wanted) is Literal:
        return value in inside
    if get_origin(wanted) is Sequence:
        return isinstance(value, list) and all(_fits(part, inside[0]) for part in value)
    if inside:
        return any(_fits(value, part) for part in inside)
    if wanted is float:
        return _is_number(value)
    return type(value) is wanted


def _check_sizes(options: list[Any], tensors: Mapping[str, Tensor]) -> None:
    numbers = sum(tensor.numel() for tensor in tensors.values())
    for option in options:
        sizes = option if isinstance(option, list) else [option]
        if len(sizes) > len(tensors):
            raise ValueError(f"a list of {len(sizes):,} options does not fit {len(tensors):,} tensors")
        # Each size makes at least as many weights.
        if any(isinstance(size, int) and not 0 <= size <= numbers for size in sizes):
            raise ValueError(f"a size among the options does not fit {numbers:,} weights")


@contextmanager
def no_more_than(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Modules that this thread makes here have no memory, and no more weights than `tensors` have.

    Raises:
        ValueError: they ask for more.
    """
    thread, left = threading.get_ident(), [len(tensors), sum(tensor.numel() for tensor in tensors.values())]

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:  # noqa: ARG001 - torch's signature
        if threading.get_ident() != thread:
            return
        left[0] -= 1
        left[1] -= parameter.numel()
        if min(left) < 0:
            raise ValueError("its options ask for more weights than the file holds")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def check_weights(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """The tensors of a file against those of the generator that its options describe.

    Raises:
        ValueError: they differ in names, shapes or types, or one is not finite.
    """
    if different := sorted(expected.keys() ^ found.keys()):
        raise ValueError(f"the weights {', '.join(different[:5])} are missing or of another generator")
    for name, tensor in found.items():
        wanted = expected[name]
        if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"the weight {name} is {tensor.dtype} of shape {tuple(tensor.shape)}, expected {wanted.dtype} "
                f"of shape {tuple(wanted.shape)}"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"the weight {name} is NaN or infinite in places")


def check_layout(layout: Layout) -> None:
    """Refuse columns that no prepared series has.

    Raises:
        ValueError: a column is not of the documented types and ranges, or two have the same name.
    """
    columns = (*layout.temporal, *layout.static, *layout.condition)
    for column in columns:
        if wrong := next((name for name, holds in _rules(column).items() if not holds), None):
            raise ValueError(
                f"the column {column.name!r:.80} cannot have {wrong} {getattr(column, wrong)!r:.80}"
            )
    names = [column.name for column in columns]
    if len(set(names)) < len(names) or not layout.temporal:
        raise ValueError("expected columns with a name of their own, at least one of them of a step")


def _rules(column: Column) -> dict[str, bool]:
    """What must hold of each field."""
    known = {bool: ("integer", "optional"), str: ("name", "level_of")}
    rules = {name: isinstance(getattr(column, name), kind) for kind, names in known.items() for name in names}
    choices = {"kind": ColumnKind, "scaler": Scaler, "transform": Transform}
    rules |= {name: getattr(column, name) in get_args(choice) for name, choice in choices.items()}
    rules |= {name: _is_number(getattr(column, name)) for name in ("minimum", "maximum")}
    rules["quantiles"] = all(map(_is_number, column.quantiles))
    rules["categories"] = all(isinstance(value, str | bool) or _is_number(value) for value in column.categories)
    return rules


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
