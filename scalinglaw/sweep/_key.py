"""The key of a sweep's runs: a digest of what determines them, as far as it shows.

Parameters are taken apart down to numbers, texts and arrays. ``joblib.hash`` alone
would know functions and classes by their names only; here the files of the user's that
define them count with their text, and installed packages with their version.
"""

from __future__ import annotations

import copyreg
import functools
import linecache
import os
import sys
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

import joblib
import numpy as np

__all__ = ["library_versions", "run_key"]

_LIBRARIES = (
    *("scalinglaw", "numpy", "scipy", "scikit-learn"),
    *("torch", "torchvision", "skorch"),
)
# Raise when runs recorded by an older release are no longer what a new one records.
_FORMAT = 2
# What an estimator prints or where it computes in parallel moves no number.
_SILENT = {"verbose", "n_jobs"}
_ATOMS = (type(None), bool, int, float, complex, str, bytes)
_NOT_THE_USERS = (
    os.path.dirname(os.__file__) + os.sep,
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    "<frozen",
)


def run_key(determinants: Mapping[str, Any], cache_key: str | None = None) -> str:
    """Return a hexadecimal digest, the same in every process.

    Parameters
    ----------
    determinants : dict
        Data, parameters and whatever else determines the runs, by name.
    cache_key : str, optional
        What the user says about all that cannot be seen here.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    TypeError
        If a part cannot be recognised again and there is no `cache_key`.
    """
    parts = _Parts()
    taken = [[name, parts.take(value)] for name, value in determinants.items()]
    if parts.unknown and cache_key is None:
        raise TypeError(
            "cache_dir needs parameters that can be recognised again, got "
            f"{parts.unknown[0]}. Give cache_key a text that stands for it and change "
            "the text whenever it changes, or fit without cache_dir."
        )
    versions = library_versions([*_LIBRARIES, *sorted(parts.packages)])
    texts = sorted(set(parts.texts.values()))
    parts_of_key = [_FORMAT, cache_key, list(versions.items()), texts, taken]
    return str(joblib.hash(parts_of_key))


def library_versions(names: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Return the versions of libraries: of those whose numbers enter a run."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = str(getattr(sys.modules.get(name), "__version__", None))
    return versions


class _Parts:
    """Nested lists of texts for what was taken, and where its code comes from."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}  # digest of each file's text
        self.packages: set[str] = set()
        self.unknown: list[str] = []
        self._above: list[int] = []
        self._met: list[Any] = []  # classes, functions and tensors

    def take(self, value: Any) -> Any:
        """Return what `value` is made of, in lists and texts."""
        if type(value) in _ATOMS:
            return [type(value).__name__, repr(value)]
        if id(value) in self._above:  # an object may hold itself
            return ["above", len(self._above) - self._above.index(id(value))]
        self._above.append(id(value))
        try:
            return [type(value).__qualname__, *self._take_parts(value)]
        except Exception as error:  # whatever an object raises that will not pickle
            self.unknown.append(f"{type(value).__qualname__} ({error})")
            return []
        finally:
            self._above.pop()

    def _take_parts(self, value: Any) -> Iterable[Any]:
        torch = sys.modules.get("torch")
        kind = type(value)
        if kind in (np.ndarray, np.memmap):
            return [joblib.hash(value, coerce_mmap=True)]
        if kind in (list, tuple):
            return map(self.take, value)
        if kind in (set, frozenset):
            return sorted(joblib.hash(self.take(entry)) for entry in value)
        if kind in (dict, OrderedDict, types.MappingProxyType):
            return [[self.take(k), self.take(v)] for k, v in value.items()]
        if isinstance(value, type):
            return self._take_class(value)
        if kind is types.FunctionType:
            return self._take_function(value)
        if kind is types.CodeType:
            return map(self.take, (value.co_code, value.co_names, value.co_consts))
        if kind is types.ModuleType:
            self._see(value.__name__, getattr(value, "__file__", None))
            return [value.__name__]
        if kind is types.CellType:
            try:
                return [self.take(value.cell_contents)]
            except ValueError:  # of a name that is not bound yet
                return []
        if kind is weakref.ref:
            return [self.take(value())]
        if isinstance(value, functools.partial):
            return map(self.take, (value.func, value.args, value.keywords))
        if torch is not None and isinstance(value, torch.Tensor):
            return self._take_tensor(value)
        if torch is not None and isinstance(value, torch.nn.Module):
            # Hooks are numbered by a counter of the process.
            state = {
                name: list(entry.values()) if "_hooks" in name and entry else entry
                for name, entry in sorted(vars(value).items())
            }
            return map(self.take, (kind, state))
        if hasattr(value, "get_params"):
            # An estimator as it is cloned: by its parameters, not by what it learned.
            params = value.get_params(deep=False)
            kept = {name: params[name] for name in params if name not in _SILENT}
            return map(self.take, (kind, kept))
        reduce = copyreg.dispatch_table.get(kind, lambda v: v.__reduce_ex__(4))
        reduced: Any = reduce(value)
        if isinstance(reduced, str):  # the name of a global
            reduced = (value.__module__, reduced, getattr(value, "__wrapped__", None))
        # Items of a list or a dict come as iterators.
        return [
            self.take(list(part) if isinstance(part, Iterator) else part)
            for part in (kind, *reduced)
        ]

    def _take_tensor(self, value: Any) -> Iterable[Any]:
        import torch

        if again := self._again(value):  # of tied weights
            return again
        kind = [str(value.dtype), str(value.requires_grad), self.take(vars(value))]
        if torch.nn.parameter.is_lazy(value):
            return kind
        values = value.detach().cpu()
        # numpy has no bfloat16; bytes have no type.
        data = values.contiguous().reshape(-1).view(torch.uint8).numpy()
        return [*kind, str(values.shape), str(values.stride()), joblib.hash(data)]

    def _take_class(self, value: type) -> Iterable[Any]:
        parts: list[Any] = [f"{value.__module__}.{value.__qualname__}"]
        if again := self._again(value):
            return again
        for base in value.__mro__[:-1]:
            entries = list(vars(base).values())
            made = [entry for entry in entries if isinstance(entry, types.FunctionType)]
            file = getattr(sys.modules.get(base.__module__), "__file__", None)
            if file is None and made:  # as in a notebook
                file = made[0].__code__.co_filename
            if self._see(base.__module__, file):
                parts += [self._around(function) for function in made]
        return parts

    def _take_function(self, value: types.FunctionType) -> Iterable[Any]:
        code = value.__code__
        parts: list[Any] = [f"{value.__module__}.{value.__qualname__}"]
        if again := self._again(value):
            return again
        own = self._see(str(value.__globals__.get("__name__")), code.co_filename)
        if own or value.__closure__:
            parts += [str(code.co_firstlineno), self._around(value)]
        if own and value.__name__ == "<lambda>":  # others may stand in its line
            parts.append(self.take(code))
        return parts

    def _again(self, value: Any) -> list[str]:
        """Return the number of a class, function or tensor that came before."""
        numbers = [str(i) for i, known in enumerate(self._met) if known is value]
        if not numbers:
            self._met.append(value)
        return numbers

    def _around(self, function: types.FunctionType) -> Any:
        """Return what a function holds beside its text."""
        given = (function.__defaults__, function.__kwdefaults__, vars(function))
        return self.take([*given, function.__closure__])

    def _see(self, module: str, file: str | None) -> bool:
        """Note where code is from; return whether it is the user's."""
        package = module.partition(".")[0]
        if file is None and package != "__main__":  # compiled
            return False
        if file is not None and not _is_users(file):
            if package not in sys.stdlib_module_names:
                self.packages.add(package)
            return False
        if file in self.texts:
            return True
        # It also holds the cells of a notebook.
        linecache.checkcache(file)
        lines = linecache.getlines(file) if file is not None else []
        if not lines:
            self.unknown.append(f"code of {module} without its text")
        self.texts[str(file)] = joblib.hash("".join(lines))
        for name in _imported(sys.modules.get(module)):
            found = getattr(sys.modules.get(name), "__file__", None)
            if found is not None and _is_users(found):
                self._see(name, found)
        return True


def _imported(module: types.ModuleType | None) -> list[str]:
    """Return the modules that a file of the user's imports at its top, or from."""
    values = list(vars(module).values()) if module is not None else []
    modules = [v.__name__ for v in values if isinstance(v, types.ModuleType)]
    code = [v for v in values if isinstance(v, type | types.FunctionType)]
    return sorted({*modules, *(str(value.__module__) for value in code)})


def _is_users(file: str) -> bool:
    installed = "site-packages" in file or "dist-packages" in file
    return not installed and not file.startswith(_NOT_THE_USERS)
