"""What code is whose, and what it takes from around it."""

from __future__ import annotations

import dis
import functools
import importlib.util
import os
import sys
import types
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Any

__all__ = [
    "functions_of",
    "is_found_by_name",
    "is_own",
    "is_versioned",
    "library_versions",
    "package_of",
    "used_by",
    "version_of",
]

# Their versions are part of every key, their code need not be.
_LIBRARIES = (
    "scalinglaw",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "skorch",
)
_VERSIONED = {*_LIBRARIES, "sklearn"}

_GLOBAL_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTE_LOADS = {"LOAD_ATTR", "LOAD_METHOD"}


def library_versions(names: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Return the versions of libraries: of those whose numbers enter a run."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def is_own(module: str | None) -> bool:
    """Whether code is the user's, rather than Python's or an installed library's."""
    package = package_of(module)
    if package in _VERSIONED:
        return False
    # Profilers and debuggers run a script in the name of their own file.
    if package == "__main__":
        return True
    file = getattr(sys.modules.get(str(module)), "__file__", None)
    if file is None:
        return package not in sys.stdlib_module_names
    return _is_users_file(file)


def _is_users_file(file: str) -> bool:
    # By its folder and not its name: a script may be called code.py or test.py.
    standard = os.path.dirname(os.__file__) + os.sep
    return not (
        "site-packages" in file or "dist-packages" in file or file.startswith(standard)
    )


def is_versioned(module: str | None) -> bool:
    """Whether code that is not the user's is known by the version of its library."""
    package = package_of(module)
    return package in _VERSIONED or package in sys.stdlib_module_names


def package_of(module: str | None) -> str:
    """Return the package that a module is in."""
    # A class of an extension may have a descriptor in place of the name.
    return module.partition(".")[0] if isinstance(module, str) else "builtins"


@functools.cache
def version_of(package: str) -> str:
    """Return the version of an importable package, loaded or not."""
    if package in sys.stdlib_module_names:
        return f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = library_versions([package])[package]
    if found == "unknown":
        # Slow: it reads what each installed library brings.
        names = metadata.packages_distributions().get(package, ())
        found = str(library_versions(sorted(set(names))))
    return found


def is_found_by_name(value: types.FunctionType, module: str) -> bool:
    """Whether a module holds a function under the function's own name."""
    return getattr(sys.modules.get(module), value.__name__, None) is value


def used_by(code: types.CodeType, space: dict[str, Any]) -> dict[str, Any]:
    """Return what code reads from the top of its file or imports, by name.

    Of a module of the user's it is what the code takes from it; all of it where
    that is not to be seen, as in ``getattr(module, name)``.
    """
    steps = [s for s in dis.get_instructions(code) if s.opname != "EXTENDED_ARG"]
    found: dict[str, Any] = {}
    for position, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level, names = (before.argval for before in steps[position - 2 : position])
            found |= _imported(step.argval, names, level, space)
        elif step.opname in _GLOBAL_LOADS and step.argval in space:
            name, value = step.argval, space[step.argval]
            for after in steps[position + 1 :]:
                if after.opname not in _ATTRIBUTE_LOADS or not _is_own_module(value):
                    break
                name += f".{after.argval}"
                value = getattr(value, after.argval, None)
            found[name] = value
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= used_by(constant, space)
    return found


def _is_own_module(value: Any) -> bool:
    return isinstance(value, types.ModuleType) and is_own(value.__name__)


def _imported(
    name: str, names: tuple[str, ...] | None, level: int, space: dict[str, Any]
) -> dict[str, Any]:
    """Return what a function imports when it runs, from a module of the user's."""
    package = package_of(name)
    try:
        if level == 0 and package not in sys.modules:
            spec = importlib.util.find_spec(package)
            if spec is not None and spec.origin and not _is_users_file(spec.origin):
                return {name: version_of(package)}
        elif level == 0 and not is_own(package):
            return {name: version_of(package)}
        # The run would import it all the same.
        module = __import__(name, space, None, names or ("__name__",), level)
    except Exception:  # whatever a file of the user's may raise
        return {name: None}
    if names is None:
        return {name: module}
    return {f"{name}.{part}": getattr(module, part, None) for part in names}


def functions_of(value: type) -> Iterator[types.FunctionType]:
    """Yield the functions that a class itself defines."""
    for entry in vars(value).values():
        # Behind staticmethod and classmethod, and behind property.
        entry = getattr(entry, "__func__", getattr(entry, "fget", entry))
        if isinstance(entry, types.FunctionType):
            yield entry
