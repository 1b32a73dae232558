"""Tables of a TOML file, taken apart key by key."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["Table", "check_text", "unknown_key"]


class Table:
    """A table of a TOML file that knows its own path and which keys were taken.

    Parameters
    ----------
    content : dict
        What the file says.
    path : str
        Dotted path, empty for the whole file.

    Raises
    ------
    TypeError
        If `content` is no table.
    """

    def __init__(self, content: Any, path: str = "") -> None:
        if not isinstance(content, dict):
            raise TypeError(
                f"{path} must be a table, got {content!r}. Write [{path}] on a line "
                "of its own, and its keys below."
            )
        self.content, self.path = content, path
        self._known: list[str] = []

    def name(self, key: str) -> str:
        """Return the dotted path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, check: Callable[[Any, str], Any], *default: Any) -> Any:
        """Return the checked value of a key; without a default it must be there."""
        self._known.append(key)
        if key in self.content:
            return check(self.content[key], self.name(key))
        if default:
            return default[0]
        raise ValueError(f"{self.name(key)} is missing.")

    def take_given(
        self, checks: Mapping[str, Callable[[Any, str], Any]]
    ) -> dict[str, Any]:
        """Return the checked values of those keys that are there, and of no others."""
        found = {
            key: self.take(key, check)
            for key, check in checks.items()
            if key in self.content
        }
        self._known = list(checks)
        self.done()
        return found

    def table(self, key: str, required: bool = False) -> Table:
        """Return the table below a key."""
        self._known.append(key)
        if required and key not in self.content:
            raise ValueError(f"{self.name(key)} is missing: add a table [{key}].")
        return Table(self.content.get(key, {}), self.name(key))

    def tables(self) -> list[tuple[str, Table]]:
        """Return all keys, each with the table below it."""
        return [
            (key, Table(entry, self.name(key))) for key, entry in self.content.items()
        ]

    def done(self) -> None:
        """Raise if the table has a key that nobody asked for."""
        for key in self.content:
            if key not in self._known:
                raise unknown_key(self.name(key), key, self._known)


def unknown_key(name: str, key: str, known: Iterable[str]) -> ValueError:
    """Return the error for a key that does not exist, with the likely one."""
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."
    return ValueError(f"{name} is not a key of a study: {advice}")


def check_text(value: Any, name: str) -> str:
    """Return `value` if it is a string that says something."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text in quotes, got {value!r}.")
    if not value.strip():
        raise ValueError(f"{name} must not be empty.")
    return value
