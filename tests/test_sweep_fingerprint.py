"""What belongs to the key of a run: code as imported, modules and objects whole."""

import copy
import importlib
import os
import subprocess
import sys
import textwrap
import types

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from scalinglaw import LogisticPerceptron, TrajectoryClassifier, TrajectorySweep
from scalinglaw.sweep.fingerprint import fingerprint


def _code(text, name="build"):
    """Return what `name` is after running the text, as a notebook would have it."""
    space = {"__name__": "notebook"}
    exec(textwrap.dedent(text), space)
    return space[name]


def _key(text, name="build"):
    return fingerprint(_code(text, name))


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

    def __init__(self, scale=1.0, sizes=(1,), buffer=1.0):
        super().__init__()
        self.scale = scale
        self.sizes = list(sizes)
        self.linear = nn.Linear(3, 4)
        nn.init.ones_(self.linear.weight)
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


def _layer(kind, *args, **kwargs):
    torch.manual_seed(0)
    return kind(*args, **kwargs)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scaled(), Scaled(20.0)),
        (Scaled(), Scaled(sizes=(1, 2))),
        (Scaled(), Scaled(buffer=2.0)),
        (Scaled(), Scaled().double()),
        (Scaled(), Scaled().eval()),
        (Scaled(), _frozen()),
        (Scaled(), _hooked(2.0)),
        (_hooked(2.0), _hooked(3.0)),
        (nn.Sequential(Scaled()), nn.Sequential(Scaled(2.0))),
        (nn.ReLU(), nn.Tanh()),
        (
            _layer(nn.MultiheadAttention, 8, 2),
            _layer(nn.MultiheadAttention, 8, 4),
        ),
        (
            _layer(nn.TransformerEncoderLayer, 8, 2, 16, activation="relu"),
            _layer(nn.TransformerEncoderLayer, 8, 2, 16, activation="gelu"),
        ),
    ],
    ids=[
        *("attribute", "list", "buffer", "dtype", "mode", "frozen", "hook", "closure"),
        *("child", "class", "heads", "activation"),
    ],
)
def test_a_module_counts_by_more_than_its_weights(one, other):
    assert fingerprint(one) == fingerprint(copy.deepcopy(one))
    assert fingerprint(one) != fingerprint(other)


def test_a_sweep_does_not_take_the_table_of_a_module_with_other_attributes(tmp_path):
    X, y = make_blobs(100, n_features=3, centers=4, random_state=0)

    def fit(scale, cache_dir):
        mlp = TrajectoryClassifier(Scaled(scale), max_epochs=2, n_records=3)
        sizes = {"train_sizes": [20], "n_seeds": 1, "random_state": 0}
        return TrajectorySweep(mlp, cache_dir=cache_dir, **sizes).fit(X, y)

    first, second = fit(1.0, tmp_path), fit(20.0, tmp_path)
    alone = fit(20.0, None).trajectories_
    assert_array_equal(second.trajectories_["test_loss"], alone["test_loss"])
    assert fit(1.0, tmp_path).cache_folder_ == first.cache_folder_
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


def test_hooks_count_by_what_they_do_and_not_by_when_they_came():
    before = fingerprint(_hooked(2.0))
    for _ in range(20):  # torch numbers them through the process
        nn.Linear(2, 2).register_forward_hook(print)
    assert fingerprint(_hooked(2.0)) == before


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
def test_modules_of_every_make_can_be_recognised(module):
    assert fingerprint(module) == fingerprint(module)


def test_a_parametrised_module_keeps_the_code_of_its_class():
    # torch derives a class and gives it a name in its own file.
    text = """
        from torch import nn
        class Net(nn.Linear):
            def forward(self, x): return {} * x
        net = nn.utils.parametrizations.weight_norm(Net(2, 2))
        nn.init.ones_(net.parametrizations.weight.original1)
        nn.init.ones_(net.bias)
    """
    one, two = (_code(text.format(factor), "net") for factor in (1, 2))
    two.load_state_dict(one.state_dict())
    assert fingerprint(one) != fingerprint(two)


@pytest.mark.parametrize(
    "text",
    [
        "WIDTH = {}\nclass build:\n  def __init__(self, i, n, width=WIDTH): ...",
        "WIDTH = {}\nclass build:\n  def __init__(self, i, n, *, width=WIDTH): ...",
        "WIDTH = {}\nclass build:\n  width = WIDTH",
        "WIDTH = {}\nclass Base:\n  width = WIDTH\nclass build(Base): ...",
        "class build:\n  @property\n  def width(self): return {}",
        "class build:\n  @staticmethod\n  def width(): return {}",
        "WIDTHS = [{}]\ndef build(i, n): return WIDTHS[0]",
        "WIDTHS = dict(a={})\ndef build(i, n): return WIDTHS['a']",
        "from torch import nn\nACT = nn.LeakyReLU({})\ndef build(i, n): return ACT",
        "from functools import partial\nPOW = partial(pow, {})\n"
        "def build(i, n): return POW(n)",
        "from functools import cache\n@cache\ndef build(i, n): return {}",
        "from functools import cache\n@cache\ndef half(i): return {}\n"
        "def build(i, n): return half(i)",
        "from contextlib import contextmanager\n"
        "@contextmanager\ndef build(i, n): yield {}",
        "def build(i, n):\n  def inner(): return {}\n  return inner()",
        "def build(i, n):\n  try: return n\n  except KeyError: return {}",
        "class Act:\n  def __call__(self, x): return x * {}\n"
        "ACT = Act()\ndef build(i, n): return ACT",
    ],
)
def test_what_code_takes_from_around_it_counts(text):
    assert _key(text.format(4)) == _key(text.format(4))
    assert _key(text.format(4)) != _key(text.format(64))


def test_two_functions_of_one_line_differ(imported):
    text = "pair = [lambda i, n: [n] * 4, lambda i, n: [n] * 64]"
    one, other = imported(net=text).pair
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(imported(net=text).pair[0])


def test_neither_comments_nor_lines_nor_files_count(imported):
    one = imported(net="def build(i, n):\n    return n * 2\n").build
    other = imported(
        net="# new\n\n\ndef build(i, n):\n    return n * 2  # twice\n"
    ).build
    assert one.__code__.co_firstlineno != other.__code__.co_firstlineno
    assert fingerprint(one) == fingerprint(other)


def test_code_counts_as_it_was_imported_and_not_as_its_file_is_now(imported, tmp_path):
    build = imported(net="def build(i, n):\n    return n * 2\n").build
    before = fingerprint(build)
    (tmp_path / "net.py").write_text("def build(i, n):\n    return n * 3\n")
    assert fingerprint(build) == before
    # What a new process would find.
    again = imported(net="def build(i, n):\n    return n * 3\n").build
    assert fingerprint(again) != before


@pytest.mark.parametrize(
    "body",
    [
        "import helpers\ndef build(i, n): return helpers.make(n)",
        "import helpers as h\ndef build(i, n): return h.make(n)",
        "import helpers\ndef build(i, n): return getattr(helpers, 'make')(n)",
        "from helpers import make\ndef build(i, n): return make(n)",
        "def build(i, n):\n  import helpers\n  return helpers.make(n)",
        "def build(i, n):\n  from helpers import make\n  return make(n)",
        "from middle import helpers\ndef build(i, n): return helpers.make(n)",
        "import middle\ndef build(i, n): return middle.helpers.make(n)",
    ],
)
def test_other_files_of_the_user_count(imported, body):
    def key(width):
        helpers = f"def make(n): return [n] * {width}"
        return fingerprint(
            imported(net=body, middle="import helpers", helpers=helpers).build
        )

    assert key(4) == key(4)
    assert key(4) != key(64)


def test_what_code_does_not_take_from_a_file_does_not_count(imported):
    def key(rest):
        helpers = f"def make(n): return n\ndef rest(n): return {rest}"
        body = "import helpers\ndef build(i, n): return helpers.make(n)"
        return fingerprint(imported(net=body, helpers=helpers).build)

    assert key(1) == key(2)


def test_a_script_named_like_a_part_of_python_is_the_users(imported):
    def key(width):
        return fingerprint(
            imported(antigravity=f"WIDTH = {width}\ndef build(): return WIDTH").build
        )

    assert key(4) != key(64)


def test_the_key_is_the_same_in_another_process(imported, tmp_path):
    text = """
        import enum, logging, re, sys, threading
        from random import choice
        import numpy as np
        from skorch.callbacks import Callback
        LOG, LOCK, PATTERN = logging.getLogger("x"), threading.Lock(), re.compile("a")
        NAMES = {"one", "two", "three"}
        class Kind(enum.Enum):
            A = 1
        class Early(Callback):
            def on_epoch_end(self, net, file=sys.stdout, **kwargs):
                with LOCK:
                    LOG.info(PATTERN, Kind.A, choice(NAMES), np.random.rand())
                return net in {"one", "two", "three"}
    """
    here = fingerprint(imported(net=text).Early())
    script = "import net; from scalinglaw.sweep.fingerprint import fingerprint as f"
    there = subprocess.run(
        [sys.executable, "-c", f"{script}; print(f(net.Early()))"],
        env=os.environ | {"PYTHONHASHSEED": "5", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


def test_a_fitted_estimator_counts_unfitted_where_it_is_cloned_and_only_there():
    X = np.arange(6.0).reshape(3, 2)
    new, fitted = (make_pipeline(StandardScaler()) for _ in range(2))
    fitted.fit(X)
    assert fingerprint(new) == fingerprint(fitted)
    text = "def build(i, n): return SCALER.transform(i)"
    builds = [
        types.FunctionType(_code(text).__code__, {"SCALER": s, "__name__": "notebook"})
        for s in (new, fitted, fitted.fit(X), copy.deepcopy(fitted).fit(2 * X))
    ]
    prints = [fingerprint(build) for build in builds]
    assert prints[1] == prints[2]
    assert len(set(prints)) == 3


def test_silent_parameters_do_not_count_and_others_do():
    one = fingerprint(LogisticPerceptron())
    assert fingerprint(LogisticPerceptron(max_norm=10.0)) != one
    assert fingerprint(TrajectoryClassifier(verbose=1)) == fingerprint(
        TrajectoryClassifier(verbose=0)
    )


def test_labels_are_the_same_at_any_width_and_as_objects():
    names = ["cat", "dog"]
    assert (
        len({fingerprint(np.array(names, kind)) for kind in ("U3", "U9", object)}) == 1
    )


def test_numbers_of_numpy_are_numbers():
    assert fingerprint(np.float64(0.1)) == fingerprint(0.1)
    assert fingerprint(np.int64(3)) == fingerprint(3)
    assert fingerprint(np.longdouble(1)) != fingerprint(np.longdouble(2))


def test_what_only_looks_alike_differs():
    pairs = [
        ([1, "2"], ["1", 2]),
        ([[1], 2], [1, [2]]),
        (1, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, sorted(map(fingerprint, {1, 2}))),
        (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0])),
        (np.array("2020", "M8[D]"), np.array("2021", "M8[D]")),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}, index=[5, 6])),
    ]
    for one, other in pairs:
        assert fingerprint(one) != fingerprint(other)


def test_what_cannot_be_recognised_is_refused_by_name():
    text = "SIZES = (n for n in (4, 8))\ndef build(i, n): return next(SIZES)"
    with pytest.raises(TypeError, match=r"which is notebook\.build\.SIZES, cannot be"):
        _key(text)
    with pytest.raises(TypeError, match="cannot be"):
        fingerprint(np.frompyfunc(lambda x: x, 1, 1))
    endless = []
    endless.append(endless)
    with pytest.raises(TypeError, match="containers in themselves"):
        fingerprint(endless)
