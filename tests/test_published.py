"""The paper's files are read as numbers, and nothing in them is executed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from scalinglaw.datasets import read_published

PUBLISHED = Path(__file__).parents[2] / "shared" / "published"


class _Harm:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _content(slices=None):
    rng = np.random.default_rng(0)
    grid = np.geomspace(10, 1e4, 20)
    shape = (3, 20) if slices is None else (slices, 3, 20)
    errors = rng.uniform(0.1, 0.9, shape)
    errors[..., :2] = np.nan
    return {
        "P_arr": np.array([100, 200, 400]),
        "seed_arr": np.arange(5),
        "log_x_grid": grid,
        "mean_val_error_arr": errors,
        "l_0_arr": np.full(shape[:-1], 500.0),
        "gamma_1": np.float64(0.5),
    }


def _save(path, content):
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def test_a_plain_file_becomes_one_run_per_train_size(tmp_path):
    content = _content()
    table = read_published(_save(tmp_path / "CNN_X.npy", content))
    assert table.groupby(["train_size", "seed"]).ngroups == 3
    assert len(table) == 3 * 18
    first = table[table["train_size"] == 100]
    assert_allclose(first["test_error"], content["mean_val_error_arr"][0, 2:])
    assert_allclose(first["log_spectral_complexity"], np.log(content["log_x_grid"][2:]))
    assert_allclose(table["log_norm_opt"], np.log(500))
    assert table.attrs["published"] == {"gamma_1": 0.5, "n_seeds": 5}


@pytest.mark.parametrize(
    ("suffix", "names"),
    [
        ("wd", ["weight_decay_0", "weight_decay_1", "weight_decay_2"]),
        ("norms", ["l1", "frobenius", "group_21", "spectral_complexity"]),
    ],
)
def test_slices_become_models(tmp_path, suffix, names):
    content = _content(len(names))
    table = read_published(_save(tmp_path / f"CNN_X_{suffix}.npy", content))
    assert list(table["model"].unique()) == names
    last = table[(table["model"] == names[-1]) & (table["train_size"] == 400)]
    assert_allclose(last["test_error"], content["mean_val_error_arr"][-1, 2, 2:])


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the paper's files are not here")
@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.npy")), ids=lambda p: p.stem)
def test_the_paper_s_own_files_are_read(path):
    table = read_published(path)
    assert table["seed"].eq(0).all()
    assert table["train_size"].nunique() >= 9
    assert table.attrs["published"]["gamma_1"] > 0


@pytest.mark.parametrize("place", ["value", "array", "whole"])
def test_a_hostile_file_is_refused_and_not_executed(tmp_path, place):
    mark = tmp_path / "executed"
    content = _content()
    if place == "value":
        content["gamma_1"] = _Harm(mark)
    elif place == "array":
        content["l_0_arr"] = np.array([_Harm(mark), 1.0, 2.0], dtype=object)
    else:
        content = _Harm(mark)
    path = _save(tmp_path / "hostile.npy", content)
    with pytest.raises(ValueError, match=r"asks for .*\. Nothing in it was executed"):
        read_published(path)
    assert not mark.exists()


def test_a_damaged_file_is_refused(tmp_path):
    path = _save(tmp_path / "whole.npy", _content())
    data = path.read_bytes()
    for length in (0, 5, 60, len(data) // 2):
        (tmp_path / "part.npy").write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a readable data file"):
            read_published(tmp_path / "part.npy")


def test_other_files_are_named_for_what_they_are(tmp_path):
    np.save(tmp_path / "numbers.npy", np.arange(3.0))
    with pytest.raises(ValueError, match=r"array of shape \(3,\)"):
        read_published(tmp_path / "numbers.npy")
    content = _content()
    del content["P_arr"]
    with pytest.raises(ValueError, match=r"lacks P_arr: it is not an aggregated"):
        read_published(_save(tmp_path / "lacking.npy", content))
    content = _content()
    content["P_arr"] = np.array([100, 200])
    with pytest.raises(ValueError, match="shapes that do not fit"):
        read_published(_save(tmp_path / "shapes.npy", content))
    content = _content()
    content["mean_val_error_arr"] = content["mean_val_error_arr"] * 100
    with pytest.raises(ValueError, match="divide percentages by 100"):
        read_published(_save(tmp_path / "percent.npy", content))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps({"P_arr": [1]}))
    with pytest.raises(ValueError, match="not a readable data file"):
        read_published(tmp_path / "pickle.npy")


@pytest.mark.parametrize("name", ["P_arr", "gamma_1", "seed_arr"])
@pytest.mark.parametrize("value", ["text", {"a": 1}, [[1.0]], [2**70], None])
def test_values_that_are_no_numbers_are_named(tmp_path, name, value):
    content = {**_content(), name: value}
    path = _save(tmp_path / "words.npy", content)
    with pytest.raises(
        ValueError, match=rf"words.npy is damaged at {name}: .* not num"
    ):
        read_published(path)


def test_no_byte_of_a_header_is_carried_out(tmp_path):
    # numpy reads a header as Python code, and may crash on one.
    path = tmp_path / "deep.npy"
    for text in (b"-" * 9000 + b"1", b"(" * 9000, b"{'descr': __import__('os')}"):
        header = text + b"\n"
        start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        path.write_bytes(start + header + pickle.dumps({}))
        with pytest.raises(ValueError, match="header is not one that numpy writes"):
            read_published(path)
