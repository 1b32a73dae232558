"""Studies: what the file may say, what is trained, what the report holds."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal

from scalinglaw import (
    CNNClassifier,
    ScalingLawEstimator,
    TrajectorySweep,
    compare_exponents,
)
from scalinglaw.datasets import load_images, make_trajectories
from scalinglaw.study import StudyResult, read_study, run_study, write_report
from scalinglaw.study.report import render_report
from scalinglaw.sweep import read_cache, read_records

SMALL = """
title = "Two models & <digits>"

[data]
name = "digits"

[sweep]
train_sizes = [50, 100, 200]
n_seeds = 2
test_size = 300
random_state = 3

[models.narrow]
classifier = "mlp"
hidden_widths = [8]
max_epochs = 4
n_records = 8

[models.linear]
classifier = "mlp"
hidden_widths = []
max_epochs = 4
n_records = 8
norms = ["frobenius", "spectral_complexity"]
"""


def _write(folder, text):
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_study_is_the_sweeps_that_it_describes(tmp_path):
    study = read_study(_write(tmp_path, SMALL))
    assert study.output == tmp_path / "study-results"
    assert study.cache == tmp_path / "study-results" / "cache"
    result = run_study(study)
    assert list(result.trajectories) == ["narrow", "linear"]
    alone = TrajectorySweep(
        study.models["linear"].classifier,
        train_sizes=[50, 100, 200],
        n_seeds=2,
        test_size=300,
        random_state=3,
    ).fit(*load_images("digits"))
    table = result.trajectories["linear"]
    assert_frame_equal(table, alone.trajectories_, check_exact=True)
    assert "log_frobenius" in table
    assert "log_frobenius" not in result.trajectories["narrow"]
    assert_frame_equal(
        read_cache(study.cache / "linear"), alone.trajectories_, check_exact=True
    )


def test_a_second_run_of_a_study_trains_nothing(tmp_path):
    study = read_study(_write(tmp_path, SMALL))
    first = run_study(study).trajectories
    made = read_records(study.cache / "narrow")
    for name, table in run_study(study).trajectories.items():
        assert_frame_equal(table, first[name], check_exact=True)
    assert_frame_equal(read_records(study.cache / "narrow"), made)
    assert made[["train_size", "seed"]].to_numpy().tolist() == [
        [size, seed] for size in (50, 100, 200) for seed in range(2)
    ]
    assert (made["seconds"] > 0).all()


def test_data_may_be_a_file_of_arrays(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 6))
    np.savez(tmp_path / "mine.npz", X=X, y=np.sign(X[:, 0]).astype(int))
    text = SMALL.replace('name = "digits"', 'file = "mine.npz"').replace("300", "100")
    result = run_study(read_study(_write(tmp_path, text)))
    assert result.n_samples == 400
    assert result.trajectories["linear"]["n_test"].unique().tolist() == [100]
    np.savez(tmp_path / "mine.npz", X=X, labels=X)
    with pytest.raises(ValueError, match=r"data.file lacks the array y; it has X, lab"):
        run_study(read_study(_write(tmp_path, text)))


def test_pickles_in_a_data_file_are_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", X=np.array([{}], dtype=object), y=np.zeros(1))
    text = SMALL.replace('name = "digits"', 'file = "mine.npz"')
    with pytest.raises(ValueError, match="allow_pickle=False"):
        run_study(read_study(_write(tmp_path, text)))


def test_a_module_of_ones_own_is_found_beside_the_study(tmp_path):
    (tmp_path / "my_nets_of_study.py").write_text(
        "from torch import nn\n"
        "def build(input_shape, n_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))\n"
    )
    text = SMALL.replace('classifier = "mlp"', 'classifier = "module"', 1)
    text = text.replace("hidden_widths = [8]", 'module = "my_nets_of_study:build"')
    study = read_study(_write(tmp_path, text))
    assert study.models["narrow"].classifier.module.__name__ == "build"
    broken = text.replace(":build", ":missing")
    with pytest.raises(
        ValueError, match=r"models\.narrow\.module = .*cannot be import"
    ):
        read_study(_write(tmp_path, broken))


def test_a_preset_takes_the_papers_settings_for_the_data(tmp_path):
    text = SMALL.replace('"digits"', '"mnist"') + (
        '\n[models.cnn]\nclassifier = "cnn"\npreset = true\nmax_epochs = 7\n'
    )
    cnn = read_study(_write(tmp_path, text)).models["cnn"].classifier
    expected = CNNClassifier.from_preset("mnist", max_epochs=7)
    assert cnn.get_params() == expected.get_params()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_epochs = 4", "max_epoch = 4", r"models\.narrow\.max_epoch is not a key"),
        ("max_epochs = 4", "max_epoch = 4", r"did you mean max_epochs\?"),
        ("max_epochs = 4", "max_epochs = 0", r"models\.narrow\.max_epochs must be at"),
        ("max_epochs = 4", 'lr = "fast"', r"models\.narrow\.lr must be a number"),
        ("max_epochs = 4", "random_state = 1", r"models\.narrow\.random_state is not"),
        ('"mlp"', '"lstm"', r"models\.narrow\.classifier must be one of 'cnn'"),
        ("[8]", "[8, 0]", r"models\.narrow\.hidden_widths\[1\] must be at least 1"),
        ("n_seeds", "seeds", r"sweep\.seeds is not a key.* did you mean n_seeds\?"),
        ("[50, 100, 200]", "[50, 50]", r"sweep\.train_sizes must not repeat"),
        ("[50, 100, 200]", "[50, 0.5]", r"sweep\.train_sizes\[1\] must be an integer"),
        ("test_size = 300", "test_size = 3.5", r"sweep\.test_size must be above 0"),
        ('"digits"', '"letters"', r"data\.name must be one of 'digits'"),
        ('name = "digits"', "", r"data must have either name"),
        ("[sweep]", "[sweeps]", r"sweep is missing: add a table \[sweep\]"),
        ("[data]", "[law]\nwindow = [2, 1]\n[data]", r"law\.window must have low < hi"),
        ("[data]", "[law]\nnorm = 'frobenius'\n[data]", r"add it to models\.narrow\.n"),
        ("[data]", "[comparison]\nexponents = ['a']\n[data]", r"comparison\.exponents"),
        ("[data]", "output = 3\n[data]", r"output must be a text in quotes, got 3"),
        ("[models.narrow]", "[models]\nnarrow = 1\n[other]", r"models\.narrow must be"),
        ("title = ", "title: ", r"study\.toml is not valid TOML.*line 2"),
    ],
)
def test_a_message_names_the_file_the_key_and_the_way_out(tmp_path, old, new, message):
    text = SMALL.replace(old, new, 1)
    assert text != SMALL
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        read_study(_write(tmp_path, text))
    assert "study.toml" in str(caught.value)


def test_sizes_that_the_data_cannot_give_are_named_by_their_key(tmp_path):
    study = read_study(_write(tmp_path, SMALL.replace("200]", "5000]")))
    with pytest.raises(ValueError, match=r"study\.toml: sweep\.train_sizes asks for"):
        run_study(study)


class _Page(HTMLParser):
    """Collects what a page would load, and the text that it shows."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.tags, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        names = ("src", "href", "srcset", "data")
        self.loaded += [value for name, value in attrs if name in names]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def known_result(tmp_path_factory):
    """A study's result whose trajectories come from a simulator with known laws."""
    study = read_study(_write(tmp_path_factory.mktemp("study"), SMALL))
    tables = {
        name: make_trajectories(gamma1=gamma1, random_state=0)
        for name, gamma1 in {"narrow": 0.4, "linear": 0.5}.items()
    }
    laws = {name: ScalingLawEstimator().fit(table) for name, table in tables.items()}
    return study, tables, laws


def test_the_report_loads_nothing_and_holds_every_number(known_result, tmp_path):
    study, tables, laws = known_result
    sweeps = {name: _Swept(table, tmp_path) for name, table in tables.items()}
    result = StudyResult(
        study,
        tables,
        laws=laws,
        comparisons=[compare_exponents(laws, "gamma_measured")],
        sweeps=sweeps,
        remarks={"": [], "narrow": ["beware of <b>"], "linear": []},
    )
    write_report(result, tmp_path / "report.html", tmp_path / "figures")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert page.loaded
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"@import|url\(", text)
    words = " ".join(page.words)
    assert "Two models & <digits>" in words
    assert "beware of <b>" in words
    for law in laws.values():
        row = law.exponents_.loc["gamma1"]
        assert (
            f"{row['estimate']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
            in words
        )
        assert f"{law.consistency_['p_value']:.4g}" in words
    difference = result.comparisons[0].differences["difference"].iloc[0]
    assert f"{difference:.4g}" in words
    assert "hidden_widths = [8]" in words
    assert "scikit-learn" in words
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"overview.png", "narrow_norm.png", "linear_window.png"} <= names
    assert not list(tmp_path.glob("*.part"))


class _Swept:
    """What the report reads of a sweep."""

    def __init__(self, table, folder):
        self.cache_folder_ = folder
        self.trajectories_ = table
        self.failures_ = table.iloc[:1].assign(reason="RuntimeError: out of memory")


def test_the_report_lists_failed_runs_and_models_without_laws(known_result):
    study, tables, _ = known_result
    result = StudyResult(
        study,
        {"narrow": tables["narrow"]},
        sweeps={"narrow": _Swept(tables["narrow"], study.cache)},
        remarks={"": [], "narrow": ["The laws could not be fitted: too few"]},
    )
    words = " ".join(_Page(render_report(result)).words)
    assert "No law could be fitted" in words
    assert "RuntimeError: out of memory" in words
    assert "The laws could not be fitted: too few" in words


def test_optima_in_the_report_are_geometric_means_over_seeds(known_result):
    from scalinglaw.study.report import _optima

    law = known_result[2]["narrow"]
    rows = _optima(law)
    first = law.optima_[law.optima_["train_size"] == law.optima_["train_size"].min()]
    assert_allclose(rows[0]["error"], np.exp(np.log(first["error"]).mean()))
    assert rows[0]["runs"] == len(first)
