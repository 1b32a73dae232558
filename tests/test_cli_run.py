"""``scalinglaw run`` with a study: what it writes, says, refuses, and resumes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from pandas.testing import assert_frame_equal

from scalinglaw import TrajectorySweep, read_trajectories
from scalinglaw.cli import main
from scalinglaw.study import read_study
from scalinglaw.sweep import read_records

STUDY = """
[data]
name = "digits"

[sweep]
train_sizes = [50, 100, 200, 400]
n_seeds = 2
test_size = 300

[models.mlp]
classifier = "mlp"
hidden_widths = [8]
max_epochs = {epochs}
lr = 0.01
n_records = 10

[models.linear]
classifier = "mlp"
hidden_widths = []
max_epochs = {epochs}
lr = 0.01
n_records = 10
"""


def _run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["scalinglaw", "run", *map(str, arguments)])
    status = 0
    try:
        main()
    except SystemExit as ended:
        status = ended.code or 0
    return (status, *capsys.readouterr())


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(epochs=4))
    return path


@pytest.mark.slow
def test_a_study_writes_table_report_and_figures(capsys, monkeypatch, study):
    status, out, err = _run(capsys, monkeypatch, study, "--json")
    assert status == 0
    found = json.loads(out)
    assert list(found["models"]) == ["mlp", "linear"]
    assert "gamma1" in found["models"]["mlp"]["exponents"]
    folder = study.parent / "study-results"
    table = read_trajectories(folder / "trajectories" / "mlp.parquet")
    assert table.groupby(["train_size", "seed"]).ngroups == 8
    assert "<title>study</title>" in (folder / "report.html").read_text()
    assert (folder / "figures" / "mlp_collapse.png").exists()
    assert "mlp: 8 runs on digits" in err
    assert "Traceback" not in err
    before = read_records(folder / "cache" / "mlp")
    status, out, _ = _run(capsys, monkeypatch, study, "--n-jobs", 2)
    assert status == 0
    assert "gamma_measured" in out
    assert_frame_equal(read_records(folder / "cache" / "mlp"), before)
    again = read_trajectories(folder / "trajectories" / "mlp.parquet")
    assert_frame_equal(again, table, check_exact=True)


def test_folders_on_the_command_line_win_over_the_file(
    capsys, monkeypatch, study, tmp_path
):
    one = study.read_text().partition("[models.mlp]")[0]
    linear = study.read_text().partition("[models.linear]")[2]
    study.write_text(f"{one}[models.linear]{linear}")
    status, _, _ = _run(
        capsys,
        monkeypatch,
        study,
        "--output",
        tmp_path / "o",
        "--cache-dir",
        tmp_path / "c",
    )
    assert status == 0
    assert (tmp_path / "o" / "report.html").exists()
    assert len(read_records(tmp_path / "c" / "linear")) == 8
    assert not (study.parent / "study-results").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["STUDY", "--data", "digits"], 2, "--data does not go with a study"),
        (["STUDY", "--set", "n_seeds"], 2, "--set must be KEY=VALUE, such as sweep."),
        (["STUDY", "--set", "sweep.seeds=1"], 1, "sweep.seeds is not a key of a study"),
        (["STUDY", "--model", "cnn"], 2, "--model does not go with a study"),
        (["STUDY", "--n-jobs", "0"], 1, "sweep.n_jobs must not be 0"),
        (["missing.toml"], 1, "missing.toml"),
    ],
)
def test_what_a_study_cannot_be_told_is_refused(
    capsys, monkeypatch, study, arguments, status, message
):
    arguments = [study if a == "STUDY" else a for a in arguments]
    found, out, err = _run(capsys, monkeypatch, *arguments)
    assert (found, out) == (status, "")
    assert message in " ".join(err.replace("│", " ").split())


def test_a_wrong_key_is_one_line_with_its_path(capsys, monkeypatch, study):
    study.write_text(STUDY.format(epochs=0))
    status, out, err = _run(capsys, monkeypatch, study)
    assert (status, out) == (1, "")
    assert "models.mlp.max_epochs must be at least 1, got 0" in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.slow
def test_an_interrupted_study_says_how_to_go_on_and_does(capsys, monkeypatch, study):
    study.write_text(STUDY.format(epochs=20))
    code = "from scalinglaw.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", str(study)],
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = study.parent / "study-results" / "cache" / "mlp"
    while not len(read_records(folder)):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on with them" in err
    assert not (study.parent / "study-results" / "report.html").exists()
    before = read_records(folder)
    assert 0 < len(before) < 8
    status, _, _ = _run(capsys, monkeypatch, study)
    assert status == 0
    after = read_records(folder)
    assert len(after) == 8
    kept = after.merge(before)
    assert_frame_equal(kept, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--set sweep.train_sizes=50", "sweep.train_sizes must be a sequence of int"),
        ("--set sweep.train_sizes=[50,0]", "train_sizes[1] must be at least 1, got 0"),
        ("--set models.cnn.conv_widths=a", "models.cnn.conv_widths must be a sequence"),
        ("--data foo", "--data must be one of 'digits'"),
        ("--n-jobs 0", "sweep.n_jobs must not be 0: take 1 for one run"),
        ("--set models.cnn.max_epochs=0", "max_epochs must be at least 1, got 0"),
        ("--model vit --set models.vit.width=30", "n_heads must divide width, got 4"),
        (
            "--model perceptron --set models.perceptron.max_epochs=1",
            "max_epochs is not a key",
        ),
    ],
)
def test_options_are_checked_by_their_names_before_anything_is_trained(
    capsys, monkeypatch, tmp_path, arguments, message
):
    output = tmp_path / "results"
    found, out, err = _run(capsys, monkeypatch, *arguments.split(), "--output", output)
    assert (found, out) == (1, "")
    assert message in " ".join(err.split())
    assert not output.exists()


_QUICK = (
    *("--set", "sweep.train_sizes=[50, 100]", "--set", "sweep.n_seeds=1"),
    *("--set", "models.cnn.max_epochs=1", "--set", "models.cnn.conv_widths=[2]"),
)


def test_one_model_by_options_is_a_study_whose_file_is_kept(
    capsys, monkeypatch, tmp_path
):
    arguments = [*_QUICK, "--set", "law.landmark=minimum", "--output", tmp_path]
    _run(capsys, monkeypatch, "--model", "cnn", "--data", "digits", *arguments)
    study = read_study(tmp_path / "study.toml")
    assert study.output.resolve() == tmp_path
    assert study.law == {"landmark": "minimum"}
    assert study.sweep["train_sizes"] == [50, 100]
    assert study.models["cnn"].classifier.conv_widths == (2,)
    kept = read_records(study.cache / "cnn")
    assert len(kept) == 2
    assert len(read_trajectories(tmp_path / "trajectories" / "cnn.parquet"))
    report = (tmp_path / "report.html").read_text()
    assert "data.name = &#34;digits&#34;" in report
    _run(capsys, monkeypatch, tmp_path / "study.toml")
    assert_frame_equal(read_records(study.cache / "cnn"), kept)


def test_a_dry_run_checks_everything_and_writes_nothing(capsys, monkeypatch, study):
    status, out, _ = _run(capsys, monkeypatch, study, "--dry-run", "--json")
    assert status == 0
    plan = json.loads(out)["models"]
    assert {name: row["runs"] for name, row in plan.items()} == {"mlp": 8, "linear": 8}
    large = "sweep.train_sizes=[50, 5000]"
    status, out, err = _run(capsys, monkeypatch, study, "--dry-run", "--set", large)
    assert (status, out) == (1, "")
    assert "sweep.train_sizes asks for 5000 samples" in err
    assert [path.name for path in study.parent.iterdir()] == ["study.toml"]


def test_images_that_are_not_there_are_asked_for_in_words_of_the_command(
    capsys, monkeypatch, tmp_path
):
    arguments = ["--data", "mnist", "--set", f"data.root={tmp_path}", "--dry-run"]
    status, _, err = _run(capsys, monkeypatch, *arguments)
    assert status == 1
    assert "--download" in err
    assert "download=True" not in err


@pytest.mark.parametrize("kind", ["one model", "study"])
def test_a_file_where_results_should_go_is_told_before_training(
    capsys, monkeypatch, study, tmp_path, kind
):
    output = tmp_path / "taken"
    output.write_text("what was here before")
    arguments = [study] if kind == "study" else _QUICK
    status, out, err = _run(capsys, monkeypatch, *arguments, "--output", output)
    assert (status, out) == (1, "")
    assert f"the folder {output} for results cannot be made: File exists" in err
    assert "sweep:" not in err


def test_what_stands_in_the_way_of_tables_is_told_before_training(
    capsys, monkeypatch, study, tmp_path
):
    (tmp_path / "trajectories").write_text("what was here before")
    status, _, err = _run(capsys, monkeypatch, study, "--output", tmp_path)
    assert status == 1
    assert "sweep:" not in err


# Pooling leaves nothing of the digits, which only the data can tell.
_TOO_DEEP = "[8, 8, 8, 8, 8, 8, 8, 8]"


def test_where_all_runs_fail_the_first_reason_is_given_and_no_option_of_python(
    capsys, monkeypatch, tmp_path
):
    too_deep = f"models.cnn.conv_widths={_TOO_DEEP}"
    status, out, err = _run(
        capsys, monkeypatch, *_QUICK, "--set", too_deep, "--output", tmp_path
    )
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert "2 runs of 2 failed; the first, (train_size=50, seed=0), with Val" in last
    assert "error_score" not in last
    assert ".." not in last


def test_a_model_without_a_run_is_in_the_report_and_in_the_status(
    capsys, monkeypatch, study
):
    study.write_text(
        f'{study.read_text()}\n[models.deep]\nclassifier = "cnn"\n'
        f"conv_widths = {_TOO_DEEP}\n"
    )
    status, out, err = _run(capsys, monkeypatch, study, "--json")
    assert status == 1
    assert err.splitlines()[-1].startswith("error: there are no exponents of deep: ")
    assert list(json.loads(out)["models"]) == ["mlp", "linear"]
    report = (study.parent / "study-results" / "report.html").read_text()
    assert "16 runs of 2 models on digits" in report
    assert "No run of deep succeeded" in report
    section = report.partition('<h2 id="model-3">deep</h2>')[2]
    assert "No run succeeded: 8 runs of 8 failed" in section
    assert "Runs that failed." in section


def test_ctrl_c_in_one_model_says_where_its_runs_are(capsys, monkeypatch, tmp_path):
    def interrupted(sweep, X, y):
        raise KeyboardInterrupt if len(X) else ValueError

    monkeypatch.setattr(TrajectorySweep, "fit", interrupted)
    status, _, err = _run(capsys, monkeypatch, *_QUICK, "--output", tmp_path)
    assert status == 130
    assert f"finished runs are in {tmp_path / 'cache'}: the same command" in err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_worker_is_told_from_ctrl_c(capsys, monkeypatch, study):
    (study.parent / "net_that_is_killed.py").write_text(
        "import os, signal\n"
        "def build(input_shape, n_classes):\n"
        f"    if os.getpid() != {os.getpid()}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    settings = study.read_text().partition("[models.mlp]")[0]
    study.write_text(
        f"{settings}\n[models.mine]\nclassifier = 'module'\n"
        "module = 'net_that_is_killed:build'\n"
    )
    status, out, err = _run(capsys, monkeypatch, study, "--n-jobs", 2)
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: a worker process was killed, probably for want of")
    assert last.endswith("cache: the same command goes on with them.")
    assert "Traceback" not in err
