"""A digest of everything that determines a run.

``joblib.hash`` pickles functions and classes by name, so that a module edited
between two sweeps would look unchanged. Here code counts by its source, and
tensors by their values.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import joblib
import numpy as np
from sklearn.base import BaseEstimator

__all__ = ["fingerprint", "library_versions", "plain"]

# Their versions are part of every key, their sources need not be.
_LIBRARIES = ("scalinglaw", "numpy", "scipy", "scikit-learn", "torch", "skorch")
_VERSIONED = {"scalinglaw", "numpy", "scipy", "sklearn", "torch", "skorch", "builtins"}
# What an estimator prints or where it computes in parallel moves no number.
_SILENT = {"verbose", "n_jobs"}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries whose numbers enter a run."""
    versions = {}
    for name in _LIBRARIES:
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
        source; what a function reads from outside itself does not enter.

    Returns
    -------
    str
        32 hexadecimal digits.

    Raises
    ------
    TypeError
        If a part of `value` can be neither taken apart nor pickled.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


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
    return repr(value)[:500]


def _feed(digest: Any, value: Any) -> None:
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
    elif isinstance(value, BaseEstimator):
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
        _feed_code(digest, value)
        cells = value.__closure__ or ()
        _feed(digest, [value.__defaults__, value.__kwdefaults__])
        _feed(digest, [cell.cell_contents for cell in cells])
    elif hasattr(value, "detach") and hasattr(value, "cpu"):
        _feed_tensor(digest, value)
    elif hasattr(value, "state_dict") and hasattr(value, "named_modules"):
        # The text of a module shows its sizes and options, but not its code.
        _feed(digest, [repr(value), dict(value.state_dict())])
        _feed(digest, sorted({_source(type(part)) for part in value.modules()}))
    elif hasattr(value, "to_numpy") and hasattr(value, "columns"):
        _feed(
            digest,
            [list(map(str, value.columns)), [value[c].to_numpy() for c in value]],
        )
    else:
        _feed_pickle(digest, value)


def _feed_code(digest: Any, value: Any) -> None:
    _tag(digest, "code", _name(value))
    if value.__module__.partition(".")[0] not in _VERSIONED:
        _tag(digest, "source", _source(value))


def _feed_tensor(digest: Any, value: Any) -> None:
    values = value.detach().cpu()
    _tag(digest, "tensor", str(values.dtype))
    # numpy lacks torch's half-precision types; float32 holds their values.
    exact = (
        values.float() if values.is_floating_point() and values.itemsize < 4 else values
    )
    _feed(digest, exact.numpy())


def _feed_pickle(digest: Any, value: Any) -> None:
    try:
        _tag(digest, "pickle", f"{_name(type(value))}{joblib.hash(value)}")
    except Exception as error:
        raise TypeError(
            f"cache_dir needs parameters that can be recognised again, and "
            f"{value!r} cannot be ({error}). Use a function or a class defined at "
            "the top of a file, or fit without cache_dir."
        ) from error


def _tag(digest: Any, kind: str, text: str) -> None:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    digest.update(f"{kind}:{len(text)}:{text};".encode())


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _source(value: Any) -> str:
    """Return the source of a class or function, or its bytecode without one."""
    try:
        return _name(value) + inspect.getsource(value)
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        return _name(value) + (
            code.co_code.hex() + repr(code.co_consts) if code else ""
        )
