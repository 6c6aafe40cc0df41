"""Environment variables in addresses, and the secrets that they hold."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, quote, urlsplit

from core.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_SECRET_NAMES = re.compile(
    r"pass(word|wd)?$|pwd|secret|token|signature|^sig$|credential|api_?key|access_?key|^key$", re.IGNORECASE
)
_INSIDE = re.compile(r"\b(?:pwd|password)\s*=\s*([^;]*)", re.IGNORECASE)  # of ODBC's connection strings


class Secrets(set[str]):
    """Texts that no message may hold."""

    def hide(self, text: str) -> str:
        """`text` with *** for each of them."""
        for secret in sorted(filter(None, self), key=len, reverse=True):
            text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


def expand(text: str, option: str) -> tuple[str, Secrets]:
    """`text` with every `${NAME}` replaced by that environment variable, and what was put in.

    In front of the `@` of an address the value is quoted, so that it may hold any character.

    Raises:
        ConfigError: a variable is not set; or a part that is a secret by its name stands there as it is.
    """
    refuse_secrets(text, option)
    used = Secrets()
    at = text.rfind("@")

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise ConfigError(f"{option} needs the environment variable {match[1]}, which is not set")
        used.add(found)
        return quote(found, safe="") if match.start() < at else found

    return _VARIABLE.sub(value, text), used


def refuse_secrets(text: str, option: str) -> None:
    """Refuse an address in which a password, token or signature stands.

    Raises:
        ConfigError: it does; the message does not repeat it.
    """
    try:
        parts = urlsplit(text)
        named = [(name, value) for name, value in parse_qsl(parts.query) if _SECRET_NAMES.search(name)]
        password = parts.password
    except ValueError as error:
        raise ConfigError(f"{option} is no address") from error
    inside = [found[1] for _, value in parse_qsl(parts.query) for found in _INSIDE.finditer(value)]
    held = [password or "", *(value for _, value in named), *inside]
    if any(value and not _VARIABLE.fullmatch(value) for value in held):
        raise ConfigError(
            f"{option} holds a password, token or signature; write ${{NAME}} in its place and set that "
            "environment variable"
        )
