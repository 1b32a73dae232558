"""A digest of everything that determines a run.

``joblib.hash`` pickles functions and classes by name, so that a module edited
between two sweeps would look unchanged. Here code counts by its source, with the
constants, functions and classes that it names, and tensors by their values.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator

__all__ = ["fingerprint", "library_versions", "plain"]

# Their versions are part of every key, their sources need not be.
_LIBRARIES = (
    "scalinglaw",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "skorch",
)
_VERSIONED = {*_LIBRARIES, "sklearn", "builtins"}
# What an estimator prints or where it computes in parallel moves no number.
_SILENT = {"verbose", "n_jobs"}


def library_versions(names: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Return the versions of libraries: of those whose numbers enter a run."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def fingerprint(value: Any) -> str:
    """Return a hexadecimal digest of `value`, the same in every process.

    Parameters
    ----------
    value : object
        Numbers, strings, arrays, tensors, data frames, containers of them,
        estimators, torch modules, classes and functions. Code enters by its
        source, and so do the functions, classes and immutable constants that it
        names at the top of its file; what it reads from files does not.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    TypeError
        If a part of `value` can be neither taken apart nor pickled.
    """
    digest = _Digest()
    _feed(digest, value)
    return digest.hexdigest()


class _Digest:
    """A hash, and the code that has entered it, which may name itself."""

    def __init__(self) -> None:
        hashed = hashlib.blake2b(digest_size=16)
        self.update, self.hexdigest = hashed.update, hashed.hexdigest
        self.seen: set[Any] = set()


def plain(value: Any) -> Any:
    """Return `value` in a form that JSON holds and people can read."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        return {"class": _name(type(value))} | {k: plain(v) for k, v in params.items()}
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (type, types.FunctionType)):
        return _name(value)
    if isinstance(value, functools.partial):
        # Its own repr has the address of the function.
        given = [repr(plain(entry)) for entry in value.args]
        given += [f"{key}={plain(entry)!r}" for key, entry in value.keywords.items()]
        return f"{plain(value.func)}({', '.join(given)})"
    return repr(value)[:500]


def _feed(digest: _Digest, value: Any) -> None:
    """Add `value` to `digest`, each kind under a tag of its own."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        _tag(digest, type(value).__name__, repr(value))
    elif isinstance(value, np.generic):
        # np.float64(0.1) and 0.1 set the same learning rate.
        _feed(digest, value.item())
    elif isinstance(value, np.ndarray) and value.dtype != object:
        _tag(digest, "array", f"{value.dtype.str}{value.shape}")
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, np.ndarray):
        _tag(digest, "objects", str(value.shape))
        _feed(digest, value.ravel().tolist())
    elif isinstance(value, (list, tuple)):
        _tag(digest, "sequence", str(len(value)))
        for entry in value:
            _feed(digest, entry)
    elif isinstance(value, (set, frozenset)):
        _feed(digest, sorted(map(fingerprint, value)))
    elif isinstance(value, Mapping):
        _tag(digest, "mapping", str(len(value)))
        for name in sorted(value, key=repr):
            _feed(digest, name)
            _feed(digest, value[name])
    elif not isinstance(value, type) and hasattr(value, "get_params"):
        # Estimators, and skorch's nets and callbacks.
        _feed(digest, type(value))
        params = value.get_params(deep=False)
        _feed(digest, {k: v for k, v in params.items() if k not in _SILENT})
    elif isinstance(value, functools.partial):
        _feed(digest, [value.func, value.args, value.keywords])
    elif isinstance(value, type):
        for base in value.__mro__:
            _feed_code(digest, base)
    elif isinstance(value, types.MethodType):
        _feed(digest, [value.__func__, value.__self__])
    elif isinstance(value, types.FunctionType):
        known = value in digest.seen
        _feed_code(digest, value)
        if not known:
            _feed(digest, [value.__defaults__, value.__kwdefaults__])
            _feed(digest, [_contents(cell) for cell in value.__closure__ or ()])
    elif hasattr(value, "detach") and hasattr(value, "cpu"):
        _feed_tensor(digest, value)
    elif hasattr(value, "state_dict") and hasattr(value, "named_modules"):
        # The text of a module shows its sizes and options, but not its code.
        _feed(digest, [repr(value), dict(value.state_dict())])
        parts = {_name(type(part)): type(part) for part in value.modules()}
        _feed(digest, [parts[name] for name in sorted(parts)])
    elif hasattr(value, "to_numpy") and hasattr(value, "columns"):
        _feed(
            digest,
            [list(map(str, value.columns)), [value[c].to_numpy() for c in value]],
        )
    else:
        _feed_pickle(digest, value)


def _feed_code(digest: _Digest, value: Any) -> None:
    _tag(digest, "code", _name(value))
    if value.__module__.partition(".")[0] in _VERSIONED or value in digest.seen:
        return
    digest.seen.add(value)
    _tag(digest, "source", _source(value))
    if _is_own(value):
        for name, used in sorted(_named_by(value).items()):
            _feed(digest, [name, used])


def _is_own(value: Any) -> bool:
    """Whether code is the user's, rather than Python's or an installed library's."""
    module = value.__module__.partition(".")[0]
    if module in sys.stdlib_module_names and module != "__main__":
        return False
    file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _named_by(value: Any) -> dict[str, Any]:
    """Return the constants, functions and classes that code names as globals.

    Containers that can change are left out: a list that code appends to is no
    constant, and would make every run look new.
    """
    kinds = (int, float, complex, str, bytes, tuple, frozenset, type)
    found = {}
    for function in _functions(value):
        for name in _names(function.__code__):
            used = function.__globals__.get(name)
            if isinstance(used, (*kinds, types.FunctionType)):
                found[name] = used
    return found


def _functions(value: Any) -> Iterator[types.FunctionType]:
    if isinstance(value, types.FunctionType):
        yield value
        return
    for entry in vars(value).values():
        # Behind staticmethod and classmethod, and behind property.
        entry = getattr(entry, "__func__", getattr(entry, "fget", entry))
        if isinstance(entry, types.FunctionType):
            yield entry


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _feed_tensor(digest: _Digest, value: Any) -> None:
    values = value.detach().cpu()
    _tag(digest, "tensor", str(values.dtype))
    # numpy lacks torch's half-precision types; float32 holds their values.
    exact = (
        values.float() if values.is_floating_point() and values.itemsize < 4 else values
    )
    _feed(digest, exact.numpy())


def _feed_pickle(digest: _Digest, value: Any) -> None:
    # A pickle names its class, as for a callback, but does not hold its code.
    _feed(digest, type(value))
    try:
        _tag(digest, "pickle", f"{_name(type(value))}{joblib.hash(value)}")
    except Exception as error:
        raise TypeError(
            f"cache_dir needs parameters that can be recognised again, and "
            f"{value!r} cannot be ({error}). Use a function or a class defined at "
            "the top of a file, or fit without cache_dir."
        ) from error


def _tag(digest: _Digest, kind: str, text: str) -> None:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    digest.update(f"{kind}:{len(text)}:{text};".encode())


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _source(value: Any) -> str:
    """Return the source of a class or function, or its bytecode without one."""
    try:
        return _name(value) + inspect.getsource(value)
    except (OSError, TypeError):
        return _name(value) + "".join(
            f"{function.__name__}{_bytecode(function.__code__)}"
            for function in _functions(value)
        )


def _bytecode(code: types.CodeType) -> str:
    # The text of a nested code object would hold its address.
    constants = [
        _bytecode(entry) if isinstance(entry, types.CodeType) else repr(entry)
        for entry in code.co_consts
    ]
    return f"{code.co_code.hex()}{code.co_names}{constants}"
