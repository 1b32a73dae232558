"""A digest of everything that determines a run.

``joblib.hash`` pickles functions and classes by name, so that a module edited
between two sweeps would look unchanged. Here code counts as it was compiled,
with all that it names, and an object by its class and its whole state. Where it
cannot be told whether two things are the same, they are not: a key that does
not come back costs time, and one that comes back wrongly costs a wrong number.
"""

from __future__ import annotations

import collections
import copyreg
import functools
import hashlib
import io
import pickle
import random
import sys
import threading
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from .code import (
    functions_of,
    is_found_by_name,
    is_own,
    is_versioned,
    package_of,
    used_by,
    version_of,
)

__all__ = ["fingerprint", "plain"]

# What an estimator prints or where it computes in parallel moves no number.
_SILENT = {"verbose", "n_jobs"}

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_MAPPINGS = (dict, collections.OrderedDict, types.MappingProxyType)
# Kinds that pickle not at all, or by name, and what they are made of.
_PARTS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (types.MethodType, ("__func__", "__self__")),
    (functools.partial, ("func", "args", "keywords")),
    ((staticmethod, classmethod, type(functools.cache(len))), ("__wrapped__",)),
    (property, ("fget", "fset", "fdel")),
    (functools.cached_property, ("func",)),
)
# Compiled parts of a class, which stand for themselves by name.
_COMPILED = (
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
# They belong to the process, and each run seeds what it draws from them.
# The stubs of `random` do not say that its functions are bound to a generator.
_GENERATORS = (random.seed.__self__, np.random.rand.__self__)  # type: ignore[attr-defined]
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
# Attributes of a class that say where it stands, or what Python noted about it.
_NOTES = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__orig_bases__",
    "__parameters__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}


def fingerprint(value: Any) -> str:
    """Return a hexadecimal digest of `value`, the same in every process.

    Parameters
    ----------
    value : object
        Numbers, strings, arrays, tensors, data frames, containers of them,
        torch modules, classes, functions, and whatever can be pickled. An
        estimator, alone or in a list, enters by its parameters, as it is cloned.
        Code enters as compiled, with what it names at the top of its file or
        takes from modules of the user's; what it reads from files does not.

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
    try:
        _feed_setting(digest, value)
        for found in digest.objects:  # which grow while they are taken apart
            _feed_object(digest, found)
    except RecursionError as error:
        raise TypeError(
            "cache_dir needs parameters that can be recognised again, got containers "
            "in themselves, or too deep. Take them apart, or fit without cache_dir."
        ) from error
    return digest.hexdigest()


class _Digest:
    """A hash, and the objects that have entered it, which may hold one another.

    An object enters as a number where it is found; its content follows in a
    second step, once. Being kept, no two of them share an address.
    """

    def __init__(self) -> None:
        hashed = hashlib.blake2b(digest_size=16)
        self.update, self.hexdigest = hashed.update, hashed.hexdigest
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.places: dict[int, str] = {}  # for messages only

    def number(self, value: Any) -> int:
        """Return the number of an object, new ones in the order of their coming."""
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return number


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


def _feed_setting(digest: _Digest, value: Any) -> None:
    """Add a parameter as ``sklearn.base.clone`` copies it: not what was fitted."""
    if type(value) in (list, tuple):
        _tag(digest, "sequence", str(len(value)))
        for entry in value:
            _feed_setting(digest, entry)
    elif hasattr(type(value), "get_params") and not _is_net(value):
        # Estimators, and skorch's nets and callbacks.
        _feed(digest, type(value))
        for name, entry in value.get_params(deep=False).items():
            if name not in _SILENT:
                _feed(digest, name)
                _feed_setting(digest, entry)
    else:
        _feed(digest, value)


def _feed(digest: _Digest, value: Any) -> None:
    """Add `value`: plain data at once, each kind under a tag, an object by number."""
    kind = type(value)
    if kind in _PLAIN:
        _tag(digest, kind.__name__, repr(value))
    elif isinstance(value, np.generic):
        # np.float64(0.1) and 0.1 set the same learning rate.
        item = value.item()
        _feed(digest, np.array(value) if isinstance(item, np.generic) else item)
    elif kind in (np.ndarray, np.memmap):
        _feed_array(digest, value)
    elif kind in (list, tuple):
        _tag(digest, "sequence", str(len(value)))
        for entry in value:
            _feed(digest, entry)
    elif kind in (set, frozenset):
        _tag(digest, "set", str(len(value)))
        _feed(digest, sorted(map(fingerprint, value)))
    elif kind in _MAPPINGS:
        # In their order, which code that loops over them follows.
        _tag(digest, "mapping", str(len(value)))
        for name, entry in value.items():
            _feed(digest, [name, entry])
    elif kind is types.CodeType:
        _feed_code(digest, value)
    else:
        _tag(digest, "object", str(digest.number(value)))


def _feed_array(digest: _Digest, value: np.ndarray) -> None:
    if value.dtype.hasobject or value.dtype.kind in "UT":
        # Text is the same at any width, and as objects.
        _tag(digest, "objects", str(value.shape))
        _feed(digest, value.ravel().tolist())
    else:
        _tag(digest, "array", f"{value.dtype!r}{value.shape}")
        digest.update(np.ascontiguousarray(value).view(np.uint8).data)


def _feed_object(digest: _Digest, value: Any) -> None:
    """Add what an object is made of."""
    if _moves_no_number(value):
        return
    _tag(digest, "kind", _name(type(value)))
    for kind, names in _PARTS:
        if isinstance(value, kind):
            parts = [getattr(value, name) for name in names]
            _feed(digest, [type(value), parts, getattr(value, "__dict__", None)])
            return
    if isinstance(value, types.ModuleType):
        _feed_module(digest, value)
    elif isinstance(value, type):
        _feed_class(digest, value)
    elif isinstance(value, types.FunctionType):
        _feed_function(digest, value)
    elif isinstance(value, types.BuiltinFunctionType):
        _feed_origin(digest, value, value.__module__)
        if not isinstance(value.__self__, types.ModuleType):
            _feed(digest, value.__self__)
    elif isinstance(value, _COMPILED):
        _feed(digest, [value.__objclass__, value.__name__])
    elif isinstance(value, weakref.ref):
        _feed(digest, value())
    elif _is_tensor(value):
        _feed_tensor(digest, value)
    elif _is_net(value):
        _feed(digest, [type(value), _ranked_hooks(vars(value))])
    elif hasattr(value, "to_numpy") and hasattr(value, "columns"):
        _feed(digest, [list(map(str, value.columns)), getattr(value, "index", None)])
        _feed(digest, [value[name].to_numpy() for name in value.columns])
    else:
        _feed_state(digest, value)


def _feed_module(digest: _Digest, value: types.ModuleType) -> None:
    """Add a whole file of code: of the user's, all names at its top."""
    _feed_origin(digest, value, value.__name__)
    if is_own(value.__name__):
        names = {k: v for k, v in vars(value).items() if not k.startswith("__")}
        _feed_named(digest, value.__name__, names)


def _feed_class(digest: _Digest, value: type) -> None:
    _feed_origin(digest, value, value.__module__)
    # A class that torch derives for a parametrised module bears torch's name.
    _feed(digest, value.__bases__)
    if is_own(value.__module__):
        _feed(digest, type(value))
        names = {k: v for k, v in vars(value).items() if k not in _NOTES}
        _feed_named(digest, _name(value), names)
    elif not is_versioned(value.__module__):
        _feed(digest, [function.__code__ for function in functions_of(value)])


def _feed_function(digest: _Digest, value: types.FunctionType) -> None:
    # A decorator of a library lends its function the name of what it wraps.
    module = value.__globals__.get("__name__", "")
    _feed_origin(digest, value, module)
    own = is_own(module)
    if own or not is_versioned(module):
        _feed(digest, value.__code__)
    if not own and is_found_by_name(value, module):
        return
    # A function that a library made may hold what the user gave.
    _feed(digest, [value.__defaults__, value.__kwdefaults__, vars(value)])
    _feed(digest, [_contents(cell) for cell in value.__closure__ or ()])
    if own:
        _feed_named(digest, _name(value), used_by(value.__code__, value.__globals__))


def _feed_named(digest: _Digest, owner: str, named: Mapping[str, Any]) -> None:
    for name in sorted(named):
        digest.places.setdefault(id(named[name]), f"{owner}.{name}")
        _feed(digest, [name, named[name]])


def _feed_origin(digest: _Digest, value: Any, module: str | None) -> None:
    """Add the name of code, and the version of its library if it has one."""
    _tag(digest, "code", _name(value))
    if not is_own(module):
        _tag(digest, "version", version_of(package_of(module)))
        return
    file = getattr(sys.modules.get(str(module)), "__file__", None) or ""
    if file.endswith((".so", ".pyd")):
        # Compiled by the user: there is no other way to look into it.
        with open(file, "rb") as compiled:
            digest.update(compiled.read())


def _feed_code(digest: _Digest, code: types.CodeType) -> None:
    """Add compiled code, which knows neither its file nor its lines nor comments.

    The source of a lambda is its whole line, and that of a function is what its
    file holds now, not what was imported.
    """
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    local = (code.co_varnames, code.co_cellvars, code.co_freevars)
    handlers = getattr(code, "co_exceptiontable", b"")
    body = (code.co_code, handlers, code.co_flags, code.co_names, code.co_consts)
    _feed(digest, [*counts, *local, *body])


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _is_net(value: Any) -> bool:
    return hasattr(type(value), "named_modules") and hasattr(value, "state_dict")


def _is_tensor(value: Any) -> bool:
    # A parameter of a lazy layer has no values yet.
    is_lazy = hasattr(value, "materialize")
    return hasattr(value, "detach") and hasattr(value, "cpu") and not is_lazy


def _feed_tensor(digest: _Digest, value: Any) -> None:
    _feed(digest, [type(value), vars(value)])
    layout = f"{value.dtype}{value.layout}{value.requires_grad}"
    try:
        values = value.detach().to_dense()
        _tag(digest, "tensor", f"{layout}{values.stride()}")
        # numpy lacks torch's half-precision types; float32 holds their values.
        half = values.is_floating_point() and values.itemsize < 4
        _feed(digest, (values.float() if half else values).numpy(force=True))
    except Exception as error:
        raise _unrecognisable(digest, value, error) from error


def _feed_state(digest: _Digest, value: Any) -> None:
    """Add an object by its class and what it would be pickled with."""
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        parts = value.__reduce_ex__(4) if reduce is None else reduce(value)
        if isinstance(parts, str):
            # A global name; pickle makes sure that the object is found under it.
            parts = (pickle.dumps(value, 4),)
    except Exception as error:
        raise _unrecognisable(digest, value, error) from error
    _feed(digest, type(value))
    for part in parts:
        # Items of a list or a dict come as iterators.
        _feed(digest, list(part) if isinstance(part, Iterator) else part)


def _ranked_hooks(state: dict[str, Any]) -> dict[str, Any]:
    """Give hooks of a module numbers of their own: torch counts up in a process."""
    hooks = {
        name: entries
        for name, entries in state.items()
        if "_hooks" in name
        and isinstance(entries, dict)
        and all(type(key) is int for key in entries)
    }
    ids = sorted({key for entries in hooks.values() for key in entries})
    ranks = {key: rank for rank, key in enumerate(ids)}
    return state | {
        name: {ranks[key]: entry for key, entry in entries.items()}
        for name, entries in hooks.items()
    }


def _moves_no_number(value: Any) -> bool:
    """Whether an object is a lock, a file, a C pointer, or drawn from by anyone."""
    is_file = isinstance(value, io.IOBase)
    holds_nothing = is_file and not isinstance(value, (io.BytesIO, io.StringIO))
    is_lock = isinstance(value, _LOCKS) or type(value).__name__ == "PyCapsule"
    return holds_nothing or is_lock or any(value is known for known in _GENERATORS)


def _unrecognisable(digest: _Digest, value: Any, error: Exception) -> TypeError:
    place = digest.places.get(id(value))
    return TypeError(
        "cache_dir needs parameters and code that can be recognised again, and "
        f"{value!r:.200}{f', which is {place},' if place else ''} cannot be "
        f"({error}). Make it in a function of yours, or fit without cache_dir."
    )


def _tag(digest: _Digest, kind: str, text: str) -> None:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    digest.update(f"{kind}:{len(text)}:{text};".encode())


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    return f"{getattr(value, '__module__', '')}.{name}"
