"""What belongs to the key of a run: data, parameters, versions, the text of code."""

import copy
import functools
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from scalinglaw import TrajectoryClassifier, TrajectorySweep

X, Y = np.arange(24.0).reshape(12, 2), np.arange(12) % 2


class Holder(ClassifierMixin, BaseEstimator):
    """Takes any parameter, and does nothing with it."""

    def __init__(self, value=None, verbose=0, random_state=None):
        self.value = value
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X, y, eval_set=None):
        self.trajectory_ = pd.DataFrame({"epoch": [0.0, 1.0], "log_none": [0.0, 1.0]})
        return self


@pytest.fixture
def key(tmp_path):
    """Return the key of a sweep whose estimator has a parameter."""

    def key_of(value=None, X=X, y=Y, cache_key=None, **params):
        sweep = TrajectorySweep(
            Holder(value, **params),
            train_sizes=[4],
            n_seeds=1,
            random_state=0,
            cache_dir=tmp_path / "cache",
            cache_key=cache_key,
        )
        return sweep.fit(X, y).cache_folder_.name

    return key_of


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Write files and import the first anew, as a new process would."""
    monkeypatch.syspath_prepend(tmp_path)
    # An edit within the second would pass for the file that was compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        return importlib.import_module(next(iter(files)))

    return load


class Scaled(nn.Module):
    """Two of one weight differ in what is no parameter."""

    def __init__(self, scale=1.0, sizes=(1,), buffer=1.0, weight=1.0):
        super().__init__()
        self.scale = scale
        self.sizes = list(sizes)
        self.linear = nn.Linear(2, 2)
        nn.init.constant_(self.linear.weight, weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mask", torch.tensor(buffer), persistent=False)

    def forward(self, x):
        return self.linear(x * self.scale * self.mask)


def _frozen():
    module = Scaled()
    module.linear.weight.requires_grad_(False)
    return module


def _hooked(factor):
    module = Scaled()
    module.linear.register_forward_hook(lambda module, args, output: factor * output)
    return module


def _pair(tied):
    pair = nn.Sequential(Scaled(), Scaled())
    if tied:
        pair[1].linear.weight = pair[0].linear.weight
    return pair


def _layer(kind, *args, **kwargs):
    torch.manual_seed(0)
    return kind(*args, **kwargs)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scaled(), Scaled(weight=2.0)),
        (Scaled(), Scaled(20.0)),
        (Scaled(), Scaled(sizes=(1, 2))),
        (Scaled(), Scaled(buffer=2.0)),
        (Scaled(), Scaled().double()),
        (Scaled(), Scaled().eval()),
        (Scaled(), _frozen()),
        (_hooked(2.0), _hooked(3.0)),
        (_pair(tied=False), _pair(tied=True)),
        (nn.Sequential(Scaled()), nn.Sequential(Scaled(2.0))),
        (nn.ReLU(), nn.Tanh()),
        (_layer(nn.MultiheadAttention, 8, 2), _layer(nn.MultiheadAttention, 8, 4)),
        (
            _layer(nn.TransformerEncoderLayer, 8, 2, 16, activation="relu"),
            _layer(nn.TransformerEncoderLayer, 8, 2, 16, activation="gelu"),
        ),
    ],
    ids=[
        *("weights", "attribute", "list", "buffer", "dtype", "mode", "frozen", "hook"),
        *("tied", "child", "class", "heads", "activation"),
    ],
)
def test_a_module_counts_by_its_weights_and_by_more(key, one, other):
    assert key(one) == key(copy.deepcopy(one))
    assert key(one) != key(other)


def test_a_sweep_does_not_take_the_table_of_a_module_with_other_attributes(tmp_path):
    X, y = make_blobs(60, n_features=2, centers=2, random_state=0)

    def fit(scale, cache_dir):
        mlp = TrajectoryClassifier(Scaled(scale), max_epochs=2, n_records=3)
        sizes = {"train_sizes": [20], "n_seeds": 1, "random_state": 0}
        return TrajectorySweep(mlp, cache_dir=cache_dir, **sizes).fit(X, y)

    first, second = fit(1.0, tmp_path), fit(20.0, tmp_path)
    alone = fit(20.0, None).trajectories_
    assert_array_equal(second.trajectories_["test_loss"], alone["test_loss"])
    assert fit(1.0, tmp_path).cache_folder_ == first.cache_folder_
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


def test_hooks_count_by_what_they_do_and_not_by_when_they_came(key):
    before = key(_hooked(2.0))
    for _ in range(20):  # torch numbers them through the process
        nn.Linear(2, 2).register_forward_hook(print)
    assert key(_hooked(2.0)) == before


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 4),
        nn.LazyLinear(3),
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
        nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)),
        nn.Linear(3, 3).to(torch.bfloat16),
    ],
    ids=["recurrent", "lazy", "weight norm", "spectral norm", "bfloat16"],
)
def test_modules_of_every_make_can_be_recognised(key, module):
    assert key(module) == key(module)


@pytest.mark.parametrize(
    "changes",
    [
        {"X": np.where(X == 3.0, 3.0 + 1e-9, X)},
        {"X": X.astype(np.float32)},
        {"X": pd.DataFrame(X, columns=["a", "b"])},
        {"y": 1 - Y},
        {"y": Y.astype(str)},
        {"value": 1.0},
        {"cache_key": "the second version of my data file"},
    ],
)
def test_data_parameters_and_what_the_user_says_count(key, changes):
    assert key(**changes) == key(**changes)
    assert key(**changes) != key()


def test_the_version_of_a_library_counts(key, monkeypatch):
    before, version = key(), importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "0.0.1" if name == "scikit-learn" else version(name),
    )
    assert key() != before


def test_silent_parameters_and_what_was_learned_do_not_count(key):
    assert key(verbose=3) == key()
    new, fitted = make_pipeline(StandardScaler()), make_pipeline(StandardScaler())
    assert key(new) == key(fitted.fit(X))
    assert key(make_pipeline(StandardScaler(with_mean=False))) != key(new)


def test_what_only_looks_alike_differs(key):
    pairs = [
        ([1, "2"], ["1", 2]),
        ([[1], 2], [1, [2]]),
        ((1,), [1]),
        (1, True),
        (1, 1.0),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, frozenset({1, 2})),
        (np.array("2020", "M8[D]"), np.array("2021", "M8[D]")),
        (functools.partial(pow, 2), functools.partial(pow, 3)),
        (np.random.default_rng(0), np.random.default_rng(1)),
        (np.exp, np.log),
    ]
    for one, other in pairs:
        assert key(one) == key(copy.deepcopy(one))
        assert key(one) != key(other)


def test_an_object_that_holds_itself_has_a_key(key):
    one, other = Endless(1), Endless(2)
    assert key(one) == key(copy.deepcopy(one))
    assert key(one) != key(other)


class Endless:
    """Holds itself."""

    def __init__(self, number):
        self.itself = self
        self.number = number


@pytest.mark.parametrize(
    "text",
    [
        "def build(i, n): return {}",
        "WIDTH = {}\ndef build(i, n): return WIDTH",
        "class build:\n  width = {}",
        "class Base:\n  width = {}\nclass build(Base): ...",
        "from functools import cache\n@cache\ndef build(i, n): return {}",
        "from functools import partial\ndef made(i, n): return {}\n"
        "build = partial(made, 1)",
        "build = lambda i, n: {}",
        "class Act:\n  def __call__(self, x): return x * {}\nbuild = Act()",
        "from skorch.callbacks import Callback\nclass Early(Callback):\n"
        "  def on_epoch_end(self, net, **kwargs): print({})\nbuild = Early()",
        "from torch import nn\nclass Net(nn.Linear):\n"
        "  def forward(self, x): return {} * x\n"
        "build = nn.utils.parametrizations.weight_norm(Net(2, 2))\n"
        "for p in build.parameters(): nn.init.ones_(p)",
    ],
    ids=[
        *("function", "constant", "class", "base", "cached", "partial", "lambda"),
        *("object", "callback", "module"),
    ],
)
def test_the_text_of_the_file_that_defines_a_parameter_counts(key, imported, text):
    first = key(imported(net=text.format(4)).build)
    assert key(imported(net=text.format(4)).build) == first
    assert key(imported(net=text.format(64)).build) != first


@pytest.mark.parametrize(
    "body",
    [
        "import helpers\ndef build(i, n): return helpers.make(n)",
        "from helpers import make\ndef build(i, n): return make(n)",
        "from middle import helpers\ndef build(i, n): return helpers.make(n)",
        "from middle import make\ndef build(i, n): return make(n)",
    ],
)
def test_files_of_the_user_that_it_imports_count(key, imported, body):
    def key_of(width):
        helpers = f"def make(n): return [n] * {width}"
        middle = "import helpers\nfrom helpers import make"
        return key(imported(net=body, middle=middle, helpers=helpers).build)

    assert key_of(4) == key_of(4)
    assert key_of(4) != key_of(64)


def test_two_functions_of_one_file_differ(key, imported):
    text = """
        def make(width):
            def build(i, n): return [n] * width
            return build
        pair = [lambda i, n: [n] * 4, lambda i, n: [n] * 64]
        made = [make(4), make(64), make(4)]
        class Act:
            def one(self): ...
            def other(self): ...
    """
    net = imported(net=text)
    assert key(net.pair[0]) != key(net.pair[1])
    assert key(net.made[0]) != key(net.made[1])
    assert key(net.made[0]) == key(net.made[2])
    assert key(net.Act().one) != key(net.Act().other)
    one, other = net.pair
    assert key([one, other, one]) != key([one, other, other])


def test_installed_code_counts_by_its_version_and_not_by_its_text(key, imported):
    one = imported(net="# one\nfrom torch.nn import Linear as build").build
    other = imported(net="# other\nfrom torch.nn import Linear as build").build
    assert key(one) == key(other)


def test_where_a_file_stands_does_not_count(imported, key, tmp_path, monkeypatch):
    text = "def build(i, n): return 4"
    first = key(imported(net=text).build)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "net.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.delitem(sys.modules, "net")
    assert key(importlib.import_module("net").build) == first


def test_what_cannot_be_recognised_needs_the_users_word(key):
    space = {"__name__": "notebook"}
    exec("def build(i, n): return n", space)
    for value in (threading.Lock(), (n for n in ()), space["build"]):
        if isinstance(value, type(space["build"])):
            with pytest.raises(TypeError, match="got code of notebook without its tex"):
                key(value)
            assert key(value, cache_key="one") != key(value, cache_key="two")
        else:
            with pytest.raises(TypeError, match=r"got (lock|generator) \(cannot pick"):
                key([Uncopied(value)])
            assert key([Uncopied(value)], cache_key="one")


class Uncopied:
    """Survives being cloned with what it holds, which may not be copied."""

    def __init__(self, held):
        self.held = held

    def __deepcopy__(self, memo):
        return Uncopied(self.held)


def test_the_key_is_the_same_in_another_process(imported, tmp_path):
    text = """
        import enum, re, sys
        from torch import nn
        import torch
        from skorch.callbacks import Callback
        from scalinglaw import TrajectoryClassifier
        class Kind(enum.Enum):
            A = 1
        class Early(Callback):
            def __init__(
                self, names={"one", "two", "three"}, kind=Kind.A, made=re.compile("a")
            ):
                self.names, self.kind, self.made = names, kind, made
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
                self.layer.register_forward_hook(lambda m, a, o: o)
            def forward(self, x):
                return self.layer(x)
        def key(cache_dir):
            from scalinglaw.sweep import TrajectorySweep
            import numpy as np
            torch.manual_seed(0)
            net = TrajectoryClassifier(
                Net(), callbacks=[Early()], max_epochs=1, n_records=2, device="cpu"
            )
            X = np.random.default_rng(0).normal(size=(12, 2))
            sweep = TrajectorySweep(
                net, train_sizes=[4], n_seeds=1, random_state=0,
                cache_dir=cache_dir,
            )
            return sweep.fit(X, np.arange(12) % 2).cache_folder_.name
    """
    here = imported(net=text).key(tmp_path / "here")
    there = subprocess.run(
        [sys.executable, "-c", "import net, sys; print(net.key(sys.argv[1]))", "there"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_a_sweep_is_described_in_its_folder_without_addresses(tmp_path):
    sweep = TrajectorySweep(
        Holder(functools.partial(sorted, [2, 1], reverse=True)),
        train_sizes=[4],
        n_seeds=1,
        random_state=0,
        cache_dir=tmp_path,
        cache_key="the first",
    ).fit(X, Y)
    text = (sweep.cache_folder_ / "sweep.json").read_text()
    described = json.loads(text)
    assert described["parameters"]["value"].endswith("[2, 1], reverse=True)")
    assert described["cache_key"] == "the first"
    assert " at 0x" not in text
