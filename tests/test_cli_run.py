"""``scalinglaw run`` with a study: what it writes, says, refuses, and resumes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from pandas.testing import assert_frame_equal

from scalinglaw import read_trajectories
from scalinglaw.cli import main
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
        (["STUDY", "--lr", "0.1"], 2, "--lr does not go with a study"),
        (["STUDY", "--model", "cnn"], 2, "--model does not go with a study"),
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
