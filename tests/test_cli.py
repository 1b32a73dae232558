"""The command: results on standard output, errors in one line, exit codes."""

import json
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import scalinglaw
from scalinglaw import (
    ScalingLawEstimator,
    compare_exponents,
    concat_trajectories,
    read_trajectories,
    theory,
    write_trajectories,
)
from scalinglaw.cli import main
from scalinglaw.cli._output import in_options, print_table
from scalinglaw.datasets import SCENARIOS, make_trajectories


@pytest.fixture(scope="module")
def table_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "table.parquet"
    write_trajectories(make_trajectories(random_state=0), path)
    return path


def _run(capsys, monkeypatch, *arguments):
    """Return exit status, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["scalinglaw", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return (ended.value.code or 0, *capsys.readouterr())


def test_fit_prints_the_exponents(capsys, monkeypatch, table_file):
    status, out, _ = _run(capsys, monkeypatch, "fit", table_file)
    assert status == 0
    words = " ".join(out.split())
    assert words.index("do not contradict the law") < words.index("gamma_predicted")
    assert "(!)" not in out


def test_fit_as_json_is_what_the_estimator_says(capsys, monkeypatch, table_file):
    status, out, _ = _run(
        capsys,
        monkeypatch,
        "fit",
        table_file,
        "--json",
        "--backtest",
        "--window",
        "0.01,0.3",
    )
    assert status == 0
    found = json.loads(out)
    law = ScalingLawEstimator(window=(0.01, 0.3)).fit(read_trajectories(table_file))
    assert_allclose(
        [found["exponents"][name]["estimate"] for name in law.exponents_.index],
        law.exponents_["estimate"],
        rtol=1e-5,  # the command sorts rows, which moves sums in their last bits
    )
    assert {row["method"] for row in found["backtest"]} == {
        "law",
        "last_value",
        "power",
        "power_offset",
    }


def test_fit_writes_figures(capsys, monkeypatch, table_file, tmp_path):
    status, _, err = _run(
        capsys, monkeypatch, "fit", table_file, "--figures", tmp_path / "figures"
    )
    assert status == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {
        f"{k}.png" for k in ("norm", "optimum", "collapse", "data", "window")
    }
    assert "wrote" in err


def test_what_is_unresolved_is_said_on_standard_error(capsys, monkeypatch, tmp_path):
    path = tmp_path / "few.csv"
    write_trajectories(make_trajectories(train_sizes=[500, 1000], random_state=0), path)
    status, out, err = _run(capsys, monkeypatch, "fit", path, "--json")
    assert status == 0
    assert "warning:" in err
    assert json.loads(out)["exponents"]["gamma2"]["std_err"] is None


def test_compare_prints_adjusted_differences(capsys, monkeypatch, tmp_path):
    tables = {
        "a": make_trajectories(gamma1=0.4, random_state=0),
        "b": make_trajectories(gamma1=0.5, random_state=1),
    }
    path = tmp_path / "both.parquet"
    write_trajectories(concat_trajectories(tables), path)
    status, out, _ = _run(capsys, monkeypatch, "compare", path, "--json")
    assert status == 0
    pair = json.loads(out)["differences"]["a - b"]
    assert pair["difference"] == pytest.approx(-0.1, abs=0.02)
    expected = compare_exponents(concat_trajectories(tables)).differences.iloc[0]
    assert pair["p_adjusted"] == pytest.approx(expected["p_adjusted"], rel=1e-3)
    status, out, _ = _run(capsys, monkeypatch, "compare", path)
    assert "a - b" in out


def test_theory_prints_exact_errors(capsys, monkeypatch):
    status, out, _ = _run(
        capsys, monkeypatch, "theory", "1", "10", "--norm", "2", "--json"
    )
    assert status == 0
    rows = json.loads(out)
    assert_allclose([row["bayes"] for row in rows], theory.bayes_error([1.0, 10.0]))
    assert_allclose(rows[1]["norm 2"], theory.generalization_error(10.0, 2.0))


def test_exponents_that_are_not_resolved_are_marked(capsys, monkeypatch, tmp_path):
    path = tmp_path / "broad.parquet"
    write_trajectories(make_trajectories(**SCENARIOS["broad"], random_state=0), path)
    status, out, _ = _run(capsys, monkeypatch, "fit", path)
    assert status == 0
    assert "gamma1 (!)" in out
    assert "gamma_predicted (!)" in out
    assert "gamma2 (!)" not in out
    assert max(map(len, out.splitlines())) <= 80


def test_each_remark_is_made_once(capsys, monkeypatch, tmp_path):
    path = tmp_path / "short.parquet"
    write_trajectories(make_trajectories(**SCENARIOS["budget"], random_state=0), path)
    remarks = json.loads(_run(capsys, monkeypatch, "fit", path, "--json")[1])["remarks"]
    assert remarks
    _, out, err = _run(capsys, monkeypatch, "fit", path)
    said = " ".join(f"{out}{err}".split())
    for remark in remarks:
        assert said.count(" ".join(in_options(remark).split())) == 1


def test_advice_is_given_in_options(capsys, monkeypatch, tmp_path):
    path = tmp_path / "short.parquet"
    write_trajectories(make_trajectories(**SCENARIOS["budget"], random_state=0), path)
    _, out, err = _run(capsys, monkeypatch, "fit", path, "--landmark", "minimum")
    assert "landmark=" not in f"{out}{err}"
    assert in_options('use landmark="knee".') == "use --landmark knee."
    assert in_options("with offset=True and law.offset=True") == (
        "with --offset and law.offset=True"
    )


def test_tables_of_one_model_are_fitted_together(capsys, monkeypatch, tmp_path):
    table = make_trajectories(random_state=0)
    for seed, part in table.groupby("seed"):
        write_trajectories(part, tmp_path / f"seed{seed}.csv")
    files = sorted(tmp_path.glob("*.csv"))
    status, out, _ = _run(capsys, monkeypatch, "fit", *files, "--json")
    assert status == 0
    expected = ScalingLawEstimator().fit(table).gamma1_.estimate
    assert json.loads(out)["exponents"]["gamma1"]["estimate"] == pytest.approx(expected)


def test_logs_of_other_programs_are_read_as_they_are(capsys, monkeypatch, tmp_path):
    table = make_trajectories(random_state=0)
    for (size, seed), run in table.groupby(["train_size", "seed"]):
        log = pd.DataFrame(
            {
                "epoch": run["epoch"],
                "val_acc": 100 * (1 - run["test_error"]),
                "how_large": run["log_spectral_complexity"] / np.log(10),
            }
        )
        log.to_csv(tmp_path / f"P{size}_s{seed}.csv", index=False)
    naming = ("--pattern", "P{train_size}_s{seed}")
    column = ("--column", "how_large=log10_spectral_complexity")
    files = sorted(tmp_path.glob("*.csv"))
    _, _, err = _run(capsys, monkeypatch, "fit", *files, *column)
    assert """as in --pattern "P{train_size}_s{seed}".""" in err
    assert """as in --column "their name=train_size",""" in err
    status, out, err = _run(
        capsys, monkeypatch, "fit", *files, *naming, *column, "--json"
    )
    assert status == 0
    assert "test_error is 1 - val_acc / 100" in err
    expected = ScalingLawEstimator().fit(table).gamma1_.estimate
    assert json.loads(out)["exponents"]["gamma1"]["estimate"] == pytest.approx(expected)


def test_the_only_norm_of_a_table_need_not_be_named(capsys, monkeypatch, tmp_path):
    table = make_trajectories(random_state=0)
    path = tmp_path / "rms.parquet"
    columns = {"log_spectral_complexity": "log_rms"}
    write_trajectories(table.rename(columns=columns), path)
    status, out, _ = _run(capsys, monkeypatch, "fit", path, "--json")
    assert status == 0
    assert json.loads(out)["parameters"]["norm"] == "rms"


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.svg", b"<?xml"), ("a.pdf", b"%PDF"), ("a.png", b"\x89PNG")],
)
def test_plot_writes_the_format_of_the_suffix(
    capsys, monkeypatch, table_file, tmp_path, name, start
):
    path = tmp_path / "new" / name
    arguments = ("plot", table_file, "--kind", "collapse", "--output", path)
    status, out, err = _run(capsys, monkeypatch, *arguments)
    assert (status, out) == (0, "")
    assert path.read_bytes().startswith(start)
    assert err.splitlines()[-1] == f"wrote {path}"
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_the_version_is_that_of_the_package(capsys, monkeypatch):
    status, out, _ = _run(capsys, monkeypatch, "--version")
    assert (status, out.strip()) == (0, scalinglaw.__version__)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "npy"])
@pytest.mark.parametrize("damage", ["empty", "junk", "truncated"])
def test_a_damaged_file_is_one_line_and_no_traceback(
    capsys, monkeypatch, table_file, tmp_path, suffix, damage
):
    path = tmp_path / f"damaged.{suffix}"
    whole = table_file.read_bytes()
    content = {"empty": b"", "junk": b"\x00\xff\x93NUMPY" * 9, "truncated": whole[:900]}
    path.write_bytes(content[damage])
    status, out, err = _run(capsys, monkeypatch, "fit", path)
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")


@pytest.mark.slow
def test_the_demo_runs_on_a_small_budget(capsys, monkeypatch, tmp_path):
    status, out, err = _run(
        capsys,
        monkeypatch,
        "demo",
        "--output",
        tmp_path,
        "--max-epochs",
        "10",
        "--n-seeds",
        "2",
    )
    assert status == 0
    assert "cnn on digits" in out
    assert "Logistic perceptron on a teacher" in out
    assert "Training was" in out
    for name in ("cnn", "perceptron"):
        assert len(read_trajectories(tmp_path / "trajectories" / f"{name}.parquet")) > 9
        figure = tmp_path / "figures" / f"{name}_norm.png"
        assert figure.stat().st_size > 10_000
    assert err.splitlines()[-1].startswith("done in ")
    assert f"open {tmp_path / 'report.html'}" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fit", "nothing.parquet"], 1, "error: there is no file nothing.parquet."),
        (["run", "nothing.toml"], 1, "error: there is no file nothing.toml."),
        (["plot", "TABLE", "--kind", "all"], 1, "--kind must be one of 'norm'"),
        (["plot", "TABLE", "--output", "a.doc"], 1, "--output must end in .svg, .pdf"),
        (["fit", "TABLE", "--norm", "path"], 1, "lacks the column log_path"),
        (["fit", "TABLE", "--window", "wide"], 2, "must be LOW,HIGH"),
        (["fit", "TABLE", "--method", "best"], 1, "method must be one of"),
        (["fit", "TABLE", "--model", "cnn"], 1, "--model cnn is not in"),
        (["run", "--model", "lstm"], 1, "--model must be one of"),
        (["theory", "0.001"], 1, "alpha must be from 0.1"),
        (["fits"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_with_an_exit_status(
    capsys, monkeypatch, table_file, arguments, status, message
):
    arguments = [table_file if a == "TABLE" else a for a in arguments]
    found, out, err = _run(capsys, monkeypatch, *arguments)
    assert found == status
    assert out == ""
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_help_teaches_and_loads_no_torch():
    code = (
        "import sys; sys.argv = ['scalinglaw', 'fit', '--help']\n"
        "from scalinglaw.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert "scalinglaw fit trajectories.parquet" in done.stdout
    assert done.stderr.strip() == "False"


def test_a_narrow_terminal_breaks_lines_and_cuts_off_no_digits(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    wide = pd.DataFrame({f"column {i}": [123.4 + i] for i in range(8)}, index=["a row"])
    print_table(wide, "Title", "name")
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(f"{123.4 + i:.4g}" in shown for i in range(8))


def test_names_are_shown_as_they_are_with_brackets_and_colons(capsys):
    table = pd.DataFrame({"[bold]": ["x[/red]"]}, index=["cnn[wide]"])
    print_table(table, "on [blue] :smile:", "[model]")
    shown = capsys.readouterr().out
    for name in ("[bold]", "x[/red]", "cnn[wide]", "on [blue] :smile:", "[model]"):
        assert name in shown


def test_models_with_brackets_are_told_apart(capsys, monkeypatch, tmp_path):
    tables = {
        "cnn[wide]": make_trajectories(gamma1=0.4, random_state=0),
        "cnn[deep]": make_trajectories(gamma1=0.5, random_state=1),
    }
    path = tmp_path / "both.parquet"
    write_trajectories(concat_trajectories(tables), path)
    status, out, _ = _run(capsys, monkeypatch, "compare", path)
    assert status == 0
    assert "cnn[deep] - cnn[wide]" in out


def test_an_error_is_one_line_however_narrow_the_terminal(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("COLUMNS", "40")
    path = tmp_path / "a rather long name [red] of a table.parquet"
    status, _, err = _run(capsys, monkeypatch, "fit", path)
    assert status == 1
    assert str(path) in err
    assert len(err.splitlines()) == 1


def test_a_killed_worker_is_one_line_and_no_traceback(capsys, monkeypatch):
    def broken():
        raise BrokenExecutor

    # The package has an attribute of the module's name.
    monkeypatch.setattr(sys.modules["scalinglaw.cli._app"], "app", broken)
    status, _, err = _run(capsys, monkeypatch, "demo")
    assert status == 1
    assert "a worker process was killed, probably for want of memory" in err
    assert len(err.splitlines()) == 1
