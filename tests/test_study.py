"""Studies: what the file may say, what is trained, what the report holds."""

import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from scalinglaw import (
    CNNClassifier,
    ScalingLawEstimator,
    TrajectorySweep,
    compare_exponents,
    read_trajectories,
)
from scalinglaw.datasets import SCENARIOS, load_images, make_trajectories
from scalinglaw.study import StudyResult, read_study, run_study, write_report
from scalinglaw.study._report import next_steps, render_report
from scalinglaw.study._running import in_keys, rehearse
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
        ('"mlp"', '"lstm"', r"models\.narrow\.classifier must be 'cnn', .* got 'lstm'"),
        ("[8]", "[8, 0]", r"models\.narrow\.hidden_widths\[1\] must be at least 1"),
        ("n_seeds", "seeds", r"sweep\.seeds is not a key.* did you mean n_seeds\?"),
        ("[50, 100, 200]", "[50, 50]", r"sweep\.train_sizes must not repeat"),
        ("[50, 100, 200]", "[50, 0.5]", r"sweep\.train_sizes\[1\] must be an integer"),
        ("test_size = 300", "test_size = 3.5", r"sweep\.test_size must be above 0"),
        ('"digits"', '"letters"', r"data\.name must be 'digits', .*, got 'letters'"),
        ('name = "digits"', "", r"data must have either name"),
        ("[sweep]", "[sweeps]", r"sweep is missing: add a table \[sweep\]"),
        ("[data]", "[law]\nwindow = [2, 1]\n[data]", r"law\.window must have low < hi"),
        ("[data]", "[law]\nnorm = 'frobenius'\n[data]", r"add it to models\.narrow\.n"),
        ("[data]", "[comparison]\nexponents = ['a']\n[data]", r"comparison\.exponents"),
        ("[data]", "output = 3\n[data]", r"output must be a valid string, got 3"),
        ("[models.narrow]", "[models]\nnarrow = 1\n[other]", r"models\.narrow must be"),
        ("title = ", "title: ", r"study\.toml is not valid TOML.*line 2"),
        (
            "max_epochs = 4",
            "preset = true",
            r"models\.narrow\.preset is not a key",
        ),
        ("max_epochs = 4", 'device = "x"', r'models\.narrow\.device must be "auto" or'),
        ("max_epochs = 4", 'verbose = "x"', r"models\.narrow\.verbose must be an inte"),
        ("n_seeds = 2", "n_jobs = 0", r"sweep\.n_jobs must not be 0: take 1 for one"),
        ("n_seeds = 2", "n_seeds = 0", r"sweep\.n_seeds must be at least 1, got 0"),
        ("n_seeds = 2", "stack = true", r"sweep\.stack is not a key of a study"),
        ("[data]", "[law]\nnorms = 'l1'\n[data]", r"law\.norms is not .* mean norm\?"),
        (
            "max_epochs = 4",
            'precision = "x"',
            r"models\.narrow\.precision must be one",
        ),
        (
            "[data]",
            "[comparison]\nmargin = -1\n[data]",
            r"comparison\.margin must be a",
        ),
        ("[data]", "[law]\nmetric = 'a'\n[data]", r"law\.metric = 'a' is not recorded"),
        (
            "[data]",
            "[law]\nmin_train_size = 300\n[data]",
            r"law\.min_train_size=300 le",
        ),
        (
            "[data]",
            "[law]\nmin_train_size = {gamma1 = 60}\n[data]",
            r"law\.min_train_size must be a number, got \{'gamma1': 60\}",
        ),
        (
            "[data]",
            "[law]\nmethod = 'published'\noffset = true\n[data]",
            r"law\.offset is not a key of a study: known are method",
        ),
        (
            "[data]",
            "[comparison]\ncorrection = 'a'\n[data]",
            r"comparison\.correction must be one of 'holm', 'bonferroni'",
        ),
    ],
)
def test_a_message_names_the_file_the_key_and_the_way_out(tmp_path, old, new, message):
    text = SMALL.replace(old, new, 1)
    assert text != SMALL
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        read_study(_write(tmp_path, text))
    assert "study.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ('"cnn"\nconv_widths = [0]', r"m\.conv_widths\[0\] must be at least 1, got 0"),
        ('"cnn"\nconv_widths = "a"', r"m\.conv_widths must be a sequence of integers"),
        ('"cnn"\nhidden_width = 2.5', r"m\.hidden_width must be an integer, got 2\.5"),
        (
            '"cnn"\nhidden_widths = [3]',
            r"m\.hidden_widths .*did you mean hidden_wid",
        ),
        ('"cnn"\naugment = "no"', r"m\.augment must be one of True, False, got 'no'"),
        ('"resnet"\nwidths = [8]', r"m\.widths and depths must have the same length"),
        (
            '"resnet"\nwidths = []\ndepths = []',
            r"m\.widths must have at least one st",
        ),
        ('"vit"\nwidth = 7\nn_heads = 3', r"m\.n_heads must divide width, got 3 and 7"),
        ('"vit"\nmlp_width = 0', r"m\.mlp_width must be at least 1, got 0"),
        ('"perceptron"\ndevice = "x"', r'm\.device must be "auto" or a torch device'),
        ('"perceptron"\nmax_epochs = 3', r"m\.max_epochs is not a key of a study"),
    ],
)
def test_what_a_network_is_built_of_is_checked_before_training(
    tmp_path, described, message
):
    text = f"{SMALL}\n[models.m]\nclassifier = {described}\n"
    with pytest.raises((ValueError, TypeError), match=rf"models\.{message}"):
        read_study(_write(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    ["", " ", "..", "a/b", "../../esc", r"x$\\foo$", "a.", r"a\nb", "con*?", "x" * 201],
)
def test_the_name_of_a_model_can_be_that_of_a_file(tmp_path, name):
    text = SMALL.replace("[models.linear]", f'[models."{name}"]')
    message = re.escape(f'models."{name}" is no name for a model')
    with pytest.raises(ValueError, match=message):
        read_study(_write(tmp_path, text))


@pytest.mark.parametrize("name", ["_x", "a.b", "cnn[wide]", "x$foo_$ $", "日本", "a b"])
def test_all_else_may_be_the_name_of_a_model(tmp_path, name):
    text = SMALL.replace("[models.linear]", f'[models."{name}"]')
    assert list(read_study(_write(tmp_path, text)).models) == ["narrow", name]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def build(:", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_cause(
    tmp_path, code, message
):
    (tmp_path / "broken_net_of_study.py").write_text(code)
    text = SMALL.replace('classifier = "mlp"', 'classifier = "module"', 1)
    text = text.replace("hidden_widths = [8]", 'module = "broken_net_of_study:build"')
    message = rf"models\.narrow\.module = .* cannot be imported: {message}"
    with pytest.raises(ValueError, match=message) as caught:
        read_study(_write(tmp_path, text))
    assert caught.value.__cause__.__cause__ is not None
    nameless = text.replace("broken_net_of_study:", ":")
    with pytest.raises(ValueError, match=r'module must be "file:function", got \':bu'):
        read_study(_write(tmp_path, nameless))


def _npz(save, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "junk"])
def test_a_damaged_data_file_is_named(tmp_path, save, damage):
    X = np.random.default_rng(0).normal(size=(400, 6))
    data = _npz(save, X=X, y=np.sign(X[:, 0]))
    flipped = bytes([*data[:3000], data[3000] ^ 255, *data[3001:]])
    text = SMALL.replace('name = "digits"', 'file = "mine.npz"')
    (tmp_path / "mine.npz").write_bytes(
        {
            "truncated": data[:2000],
            "flipped": flipped,
            "empty": b"",
            "junk": b"PK\x03\x04" + b"x" * 500,
        }[damage]
    )
    with pytest.raises(ValueError, match=r"data\.file = '.*mine\.npz' is damaged, or"):
        run_study(read_study(_write(tmp_path, text)))


def test_a_data_file_that_holds_something_else_is_named(tmp_path):
    study = read_study(
        _write(tmp_path, SMALL.replace('name = "digits"', 'file = "mine.npz"'))
    )
    with pytest.raises(FileNotFoundError, match=r"data\.file = .* is not there"):
        run_study(study)
    file = tmp_path / "mine.npz"
    with open(file, "wb") as opened:
        np.save(opened, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"data\.file = .* it holds a single array"):
        run_study(study)
    np.savez(file, X=np.zeros((4, 2)), y=np.zeros(3))
    with pytest.raises(ValueError, match=r"a label in y for each sample, got .*\(3,\)"):
        run_study(study)


def test_values_beside_the_file_replace_its_own_and_are_part_of_the_text(tmp_path):
    changes = ["sweep.n_seeds = 7", 'models.narrow.norms = ["l1"]', "law.norm = 'l1'"]
    with pytest.raises(ValueError, match=r"add it to models\.linear\.norms"):
        read_study(_write(tmp_path, SMALL), changes)
    study = read_study(_write(tmp_path, SMALL), changes[:2])
    assert study.n_runs == 21
    assert study.sweep["test_size"] == 300
    assert study.models["narrow"].recorded == ("l1",)
    assert study.text.endswith(
        '# changed beside the file: models.narrow.norms = ["l1"]'
    )


def test_a_rehearsal_finds_what_does_not_go_with_the_data(tmp_path):
    plan = rehearse(read_study(_write(tmp_path, SMALL)))
    assert plan["runs"].to_dict() == {"narrow": 6, "linear": 6}
    assert not (tmp_path / "study-results").exists()
    large = SMALL.replace("200]", "5000]")
    with pytest.raises(
        ValueError, match=r"train_sizes asks for 5000 samples, and 1497"
    ):
        rehearse(read_study(_write(tmp_path, large)))
    vit = f'{SMALL}\n[models.vit]\nclassifier = "vit"\npatch_size = 3\n'
    with pytest.raises(
        ValueError, match=r"models\.vit: No run succeeded: .*patch_size"
    ):
        rehearse(read_study(_write(tmp_path, vit)))


def test_a_model_whose_runs_all_failed_is_among_the_results(tmp_path):
    # Pooling leaves nothing of the digits, which only the data can tell.
    deep = '[models.deep]\nclassifier = "cnn"\nconv_widths = [8, 8, 8, 8, 8, 8, 8, 8]\n'
    result = run_study(read_study(_write(tmp_path, f"{SMALL}\n{deep}")))
    assert list(result.trajectories) == ["narrow", "linear"]
    assert len(result.failures["deep"]) == 6
    assert "deep" in result.without_laws()
    assert result.remarks["deep"][0].startswith("No run succeeded: 6 runs of 6 failed")
    alone = SMALL.partition("[models.narrow]")[0]
    message = r"models\.deep: No run succeeded: 6 runs .* with ValueError: .*[^.]\.$"
    with pytest.raises(ValueError, match=message):
        run_study(read_study(_write(tmp_path, f"{alone}\n{deep}")))


def test_sizes_that_the_data_cannot_give_are_named_by_their_key(tmp_path):
    study = read_study(_write(tmp_path, SMALL.replace("200]", "5000]")))
    with pytest.raises(ValueError, match=r"study\.toml: sweep\.train_sizes asks for"):
        run_study(study)


class _Page(HTMLParser):
    """Collects what a page would load, and the text that it shows."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links, self.anchors = [], [], []
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data"):
                self.loaded.append(value)
            elif name in ("href", "id"):
                (self.links if name == "href" else self.anchors).append(value)

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
    assert write_report(result, tmp_path) == tmp_path / "report.html"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = _Page(text)
    assert len(page.loaded) == 10
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"@import|url\(", text)
    for link in page.links:
        is_anchor = link.startswith("#")
        assert link[1:] in page.anchors if is_anchor else (tmp_path / link).exists()
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
    assert " at 0x" not in text
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"narrow_norm.png", "linear_window.png"} < names
    table = read_trajectories(tmp_path / "trajectories" / "linear.parquet")
    assert_frame_equal(table, tables["linear"])
    assert not list(tmp_path.rglob("*.part"))


class _Swept:
    """What the report reads of a sweep."""

    def __init__(self, table, folder):
        self.cache_folder_ = folder
        self.trajectories_ = table


def _failures(table):
    return table.iloc[:1].assign(reason="RuntimeError: out of memory")


def test_the_report_lists_failed_runs_and_models_without_laws(known_result):
    study, tables, _ = known_result
    result = StudyResult(
        study,
        {"narrow": tables["narrow"]},
        sweeps={"narrow": _Swept(tables["narrow"], study.cache)},
        failures={"narrow": _failures(tables["narrow"])},
        remarks={"": [], "narrow": ["The laws could not be fitted: too few"]},
    )
    words = " ".join(_Page(render_report(result)).words)
    assert "No law could be fitted" in words
    assert "RuntimeError: out of memory" in words
    assert "The laws could not be fitted: too few" in words


def test_optima_in_the_report_are_geometric_means_over_seeds(known_result):
    study, tables, laws = known_result
    words = _Page(render_report(StudyResult(study, tables, laws=laws))).words
    first = laws["narrow"].optima_.query("train_size == train_size.min()")
    assert f"{np.exp(np.log(first['error']).mean()):.4g}" in words


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_first_screen_says_what_to_do_next(known_result):
    study, tables, laws = known_result
    result = StudyResult(study, tables, laws=laws)
    assert next_steps(result)[0][1].startswith("Nothing is missing")
    table = make_trajectories(**SCENARIOS["budget"], random_state=0)
    law = ScalingLawEstimator(landmark="minimum").fit(table)
    result.laws = {"narrow": law}
    steps = dict(next_steps(result))
    assert steps["linear"] == "has no exponents; see why."
    assert "Raise models.narrow.max_epochs." in steps["narrow"]
    page = _Page(render_report(result))
    words = " ".join(page.words)
    assert words.index("What to do next") < words.index("Estimate and 95 % interval")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_exponents_without_a_power_law_are_marked(known_result):
    study = known_result[0]
    table = make_trajectories(**SCENARIOS["broad"], random_state=0)
    law = ScalingLawEstimator().fit(table)
    assert not law.resolved_
    result = StudyResult(study, {"narrow": table}, laws={"narrow": law})
    words = " ".join(_Page(render_report(result)).words)
    assert words.count("(unresolved)") == 2
    result.laws = {"narrow": law, "linear": known_result[2]["linear"]}
    result.comparisons = [compare_exponents(result.laws, "gamma_predicted")]
    words = " ".join(_Page(render_report(result)).words)
    assert "Not all are resolved, so that equality is not tested." in words


def test_the_report_has_a_section_for_a_model_without_a_run(known_result):
    study, tables, laws = known_result
    result = StudyResult(
        study,
        {"narrow": tables["narrow"]},
        laws={"narrow": laws["narrow"]},
        sweeps={name: _Swept(tables["narrow"], study.cache) for name in tables},
        failures={name: _failures(tables["narrow"]) for name in tables},
        remarks={"": [], "narrow": [], "linear": ["No run succeeded: out of memory."]},
    )
    page = _Page(render_report(result))
    words = " ".join(page.words)
    assert "runs of 1 model on digits" in words
    assert "No run of linear succeeded; see below." in words
    assert page.words.index("linear") < page.words.index(
        "No run succeeded: out of memory."
    )
    assert page.words.count("Runs that failed.") == 2


def test_the_report_holds_the_settings_of_each_law(known_result):
    study, tables, laws = known_result
    other = ScalingLawEstimator(landmark="minimum").fit(tables["linear"])
    result = StudyResult(study, tables, laws={**laws, "linear": other})
    text = render_report(result)
    whose = text.partition("linear: ScalingLawEstimator")[2]
    assert "landmark = &#39;minimum&#39;" in whose
    assert text.count("landmark = &#39;auto&#39;") == 1


def test_advice_of_the_laws_is_in_the_words_of_the_file():
    assert in_keys('use landmark="knee".') == 'use law.landmark = "knee".'
    assert in_keys("Fit with offset=True.") == "Fit with law.offset = true."
    assert in_keys("pass download=True") == "pass data.download = true"
