"""The cache of a sweep under kills, rivals, full disks and interrupts."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback

from scalinglaw import TrajectoryClassifier, TrajectorySweep
from scalinglaw.exceptions import RunFailedWarning, TrajectoryWarning
from scalinglaw.sweep import read_cache, read_records

from .test_sweep import Toy

# A process that others can be forked from at once: importing takes far longer than
# the sweep. Each run writes a line when it starts, and lasts at least 15 ms.
PRELUDE = """
    import os, signal, sys, time
    import numpy as np
    import pandas as pd
    from sklearn.base import BaseEstimator, ClassifierMixin
    from scalinglaw import TrajectorySweep

    folder = sys.argv[1]

    class Slow(ClassifierMixin, BaseEstimator):
        def __init__(self, random_state=None):
            self.random_state = random_state

        def fit(self, X, y, eval_set=None):
            with open(folder + "/started", "a") as log:
                log.write(f"{self.random_state}\\n")
            time.sleep(0.015)
            rng = np.random.default_rng(self.random_state)
            self.trajectory_ = pd.DataFrame({
                "train_size": len(X), "seed": 0, "epoch": np.arange(4.0),
                "test_error": rng.random(4), "log_toy": rng.normal(size=4),
            })
            return self

    def sweep(cache_dir):
        X = np.arange(300.0)[:, None]
        return TrajectorySweep(
            Slow(), train_sizes=range(20, 220, 20), n_seeds=8, random_state=0,
            cache_dir=cache_dir,
        ).fit(X, np.arange(300) % 3)

    def child():
        pid = os.fork()
        if pid == 0:
            sweep(folder + "/cache")
            os._exit(0)
        return pid

    def started():
        with open(folder + "/started") as log:
            return pd.Series(log.read().split())

    def finished():
        return {
            entry.path: entry.stat().st_mtime_ns
            for sub in os.scandir(folder + "/cache") if sub.is_dir()
            for entry in os.scandir(sub.path)
            if entry.name.startswith("train_size=") and entry.name.endswith(".json")
        }
"""


def _run(body, folder):
    # In a file: the key of a cache holds the text of code, which -c has none of.
    script = folder / "script.py"
    script.write_text(textwrap.dedent(PRELUDE) + textwrap.dedent(body))
    subprocess.run([sys.executable, script, folder], check=True, timeout=120)


def _calls(file):
    """Count calls on disk: a counter that code holds would belong to its key."""
    with file.open("ab") as log:
        log.write(b".")
    return file.stat().st_size


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(200, n_features=3, centers=4, random_state=0)


def _sweep(**changes):
    settings = {"train_sizes": [20, 80], "n_seeds": 3, "random_state": 0}
    return TrajectorySweep(Toy(), **{**settings, **changes})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to save ten imports")
def test_ten_kills_cost_no_finished_run_and_change_no_bit(tmp_path):
    # Each process dies at a random moment soon after it has finished 4 more runs, or
    # before it could: 40 of 80 at most, so that none reaches the end.
    _run(
        """
        os.makedirs(folder + "/cache")
        rng = np.random.default_rng(0)
        for wanted, delay in zip(rng.permutation(10) % 5, rng.uniform(0, 0.01, 10)):
            before = finished()
            pid = child()
            while len(finished()) < len(before) + wanted:
                time.sleep(0.001)
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            assert os.WTERMSIG(status) == signal.SIGKILL
            after = finished()
            assert before.items() <= after.items()
        assert 0 < len(after) < 80
        again = len(started())
        table = sweep(folder + "/cache").trajectories_
        assert after.items() <= finished().items()
        assert len(started()) - again == 80 - len(after)
        # Each kill cost the run that it hit, and no other.
        assert len(started()) <= 80 + 10
        table.to_parquet(folder + "/killed.parquet")
        sweep(None).trajectories_.to_parquet(folder + "/whole.parquet")
        """,
        tmp_path,
    )
    killed = pd.read_parquet(tmp_path / "killed.parquet")
    assert killed.groupby(["train_size", "seed"]).ngroups == 80
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    assert_frame_equal(killed, whole, check_exact=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to save two imports")
def test_two_processes_on_one_cache_break_no_entry(tmp_path):
    _run(
        """
        both = child(), child()
        for pid in both:
            assert os.waitpid(pid, 0)[1] == 0
        counts = started().value_counts()
        assert len(counts) == 80
        assert counts.max() <= 2
        sweep(folder + "/cache").trajectories_.to_parquet(folder + "/both.parquet")
        assert started().value_counts().equals(counts)
        sweep(None).trajectories_.to_parquet(folder + "/whole.parquet")
        """,
        tmp_path,
    )
    both = pd.read_parquet(tmp_path / "both.parquet")
    whole = pd.read_parquet(tmp_path / "whole.parquet")
    assert_frame_equal(both, whole, check_exact=True)
    assert_frame_equal(read_cache(tmp_path / "cache"), whole, check_exact=True)


def test_an_interrupted_sweep_keeps_what_is_done(blobs, tmp_path):
    log = tmp_path / "fits"

    class Interrupted(Toy):
        def fit(self, X, y, eval_set=None):
            if _calls(log) == 4:
                raise KeyboardInterrupt
            return super().fit(X, y, eval_set=eval_set)

    sweep = _sweep(cache_dir=tmp_path).set_params(estimator=Interrupted())
    with pytest.warns(RunFailedWarning, match="interrupted. trajectories_ holds the"):
        sweep.fit(*blobs)
    assert sweep.trajectories_.groupby(["train_size", "seed"]).ngroups == 3
    assert isinstance(sweep.interrupted_, KeyboardInterrupt)
    sweep.fit(*blobs)
    assert sweep.interrupted_ is None
    assert _calls(log) == 4 + 3 + 1  # the interrupted run and the two others
    whole = _sweep().fit(*blobs).trajectories_
    assert_frame_equal(sweep.trajectories_, whole, check_exact=True)


def test_an_interrupt_before_the_first_run_is_raised(blobs):
    class Interrupted(Toy):
        def fit(self, X, y, eval_set=None):
            raise KeyboardInterrupt

    sweep = _sweep().set_params(estimator=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        sweep.fit(*blobs)
    assert not hasattr(sweep, "interrupted_")


def test_a_run_that_skorch_cut_short_at_ctrl_c_is_not_finished(blobs, tmp_path):
    # skorch swallows KeyboardInterrupt and returns the net as it is.
    log = tmp_path / "epochs"

    class Interrupting(Callback):
        def on_epoch_end(self, net, **kwargs):
            if _calls(log) == 14:
                signal.raise_signal(signal.SIGINT)

    mlp = TrajectoryClassifier(max_epochs=5, n_records=4, callbacks=[Interrupting()])
    sweep = _sweep(cache_dir=tmp_path).set_params(estimator=mlp)
    with pytest.warns(RunFailedWarning, match="interrupted"):
        sweep.fit(*blobs)
    assert sweep.interrupted_
    # The third run was in its fourth epoch.
    assert sweep.trajectories_.groupby(["train_size", "seed"]).ngroups == 2
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    sweep.fit(*blobs)
    assert not sweep.interrupted_
    last = sweep.trajectories_.groupby(["train_size", "seed"])["epoch"].max()
    assert (last == 5).all()
    assert len(last) == 6
    assert len(list(tmp_path.rglob("*.parquet"))) == 6


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_a_process_with_what_is_done(tmp_path):
    _run(
        """
        import warnings
        warnings.simplefilter("ignore")
        os.makedirs(folder + "/cache")
        pid = os.fork()
        if pid == 0:
            table = sweep(folder + "/cache").trajectories_
            table.to_parquet(folder + "/part.parquet")
            os._exit(0)
        while len(finished()) < 5:
            time.sleep(0.001)
        os.kill(pid, signal.SIGINT)
        assert os.waitpid(pid, 0)[1] == 0
        """,
        tmp_path,
    )
    part = pd.read_parquet(tmp_path / "part.parquet")
    assert 0 < part.groupby(["train_size", "seed"]).ngroups < 80
    kept = read_cache(tmp_path / "cache")
    runs = kept.groupby(["train_size", "seed"])
    assert runs.ngroups - part.groupby(["train_size", "seed"]).ngroups in (0, 1)
    # The signal may come between the end of a run and its way into the table.
    named = part[["train_size", "seed"]].drop_duplicates()
    assert_frame_equal(kept.merge(named), part, check_exact=True)


def test_a_folder_that_cannot_be_made_is_an_error_before_the_first_run(blobs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cache_dir cannot be written.*No run was start"):
        _sweep(cache_dir=tmp_path / "file" / "cache").fit(*blobs)


def test_a_read_only_folder_leaves_finished_runs_readable(blobs, tmp_path, monkeypatch):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs).trajectories_

    # chmod does not stop root, who may run this test.
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="choose another cache_dir"):
        _sweep(cache_dir=tmp_path, n_seeds=4).fit(*blobs)
    assert_frame_equal(read_cache(tmp_path), whole, check_exact=True)


def test_damaged_entries_are_left_out_of_a_folder_and_counted(blobs, tmp_path):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs).trajectories_
    table = next(tmp_path.rglob("train_size=20,seed=1.parquet"))
    table.write_bytes(b"")
    with pytest.warns(UserWarning, match="1 damaged run left out"):
        rest = read_cache(tmp_path)
    hit = (whole["train_size"] == 20) & (whole["seed"] == 1)
    assert_frame_equal(rest, whole[~hit].reset_index(drop=True), check_exact=True)


@pytest.mark.parametrize("source", ["train_size=80,seed=0", "train_size=20,seed=1"])
def test_the_files_of_another_run_are_damage(blobs, tmp_path, source):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs)
    folder = whole.cache_folder_
    for suffix in (".json", ".parquet"):
        shutil.copy(
            folder / f"{source}{suffix}", folder / f"train_size=20,seed=0{suffix}"
        )
    assert len(read_records(tmp_path)) == 5
    with pytest.warns(TrajectoryWarning, match="1 damaged run left out"):
        assert read_cache(tmp_path).groupby(["train_size", "seed"]).ngroups == 5
    with pytest.warns(
        TrajectoryWarning, match=rf"the record of another run \({source}"
    ):
        again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)
    assert_frame_equal(read_cache(tmp_path), whole.trajectories_, check_exact=True)


def test_a_run_of_another_random_state_is_damage(blobs, tmp_path):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs)
    record = whole.cache_folder_ / "train_size=20,seed=0.json"
    record.write_text(
        record.read_text().replace('"random_state": ', '"random_state": 1')
    )
    with pytest.warns(TrajectoryWarning, match="has another random_state"):
        again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)


def _forge(folder, stem, change):
    """Change the table of a run, and its record as whoever wrote it would have."""
    table, record = folder / f"{stem}.parquet", folder / f"{stem}.json"
    change(pd.read_parquet(table)).to_parquet(table, index=False)
    known = json.loads(record.read_text())
    known["sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    record.write_text(json.dumps(known))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(seed=1), "holds another seed"),
        (lambda table: table.assign(train_size=21), "holds another train_size"),
        (lambda table: table.iloc[:3], "other rows or columns"),
        (lambda table: table.drop(columns="test_error"), "other rows or columns"),
        (lambda table: table.assign(test_error=2.0), "test_error must lie in"),
        (lambda table: table.drop(columns="epoch"), "epoch"),
    ],
)
def test_an_entry_whose_table_is_not_that_of_its_run_is_damage(
    blobs, tmp_path, change, message
):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs)
    _forge(whole.cache_folder_, "train_size=20,seed=0", change)
    with pytest.warns(TrajectoryWarning, match="1 damaged run left out"):
        assert read_cache(tmp_path).groupby(["train_size", "seed"]).ngroups == 5
    with pytest.warns(TrajectoryWarning, match=message):
        again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)
    assert_frame_equal(read_cache(tmp_path), whole.trajectories_, check_exact=True)


def test_an_entry_of_another_sweep_is_damage(blobs, tmp_path):
    whole = _sweep(cache_dir=tmp_path / "one").fit(*blobs)
    other = _sweep(cache_dir=tmp_path / "two").set_params(estimator=Toy(2.0))
    source = other.fit(*blobs).cache_folder_
    for suffix in (".json", ".parquet"):
        name = f"train_size=20,seed=0{suffix}"
        shutil.copy(source / name, whole.cache_folder_ / name)
    with pytest.warns(TrajectoryWarning, match="1 damaged run left out"):
        read_cache(tmp_path / "one")
    with pytest.warns(TrajectoryWarning, match="belongs to another sweep"):
        again = _sweep(cache_dir=tmp_path / "one").fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_link_in_place_of_an_entry_is_damage_and_its_target_left_alone(
    blobs, tmp_path, suffix
):
    whole = _sweep(cache_dir=tmp_path / "cache").fit(*blobs)
    entry = whole.cache_folder_ / f"train_size=20,seed=0{suffix}"
    target = tmp_path / "target"
    entry.rename(target)
    content = target.read_bytes()
    entry.symlink_to(target)
    with pytest.warns(TrajectoryWarning, match="1 damaged run left out"):
        read_cache(tmp_path / "cache")
    with pytest.warns(TrajectoryWarning, match="is a link, or no file"):
        again = _sweep(cache_dir=tmp_path / "cache").fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)
    assert not entry.is_symlink()
    assert target.read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_in_place_of_an_entry_does_not_block(blobs, tmp_path):
    folder = _sweep(cache_dir=tmp_path).fit(*blobs).cache_folder_
    (folder / "train_size=20,seed=0.json").unlink()
    os.mkfifo(folder / "train_size=20,seed=0.json")
    with pytest.warns(TrajectoryWarning, match="is a link, or no file"):
        _sweep(cache_dir=tmp_path).fit(*blobs)
    assert read_cache(tmp_path).groupby(["train_size", "seed"]).ngroups == 6


def test_a_clock_that_is_off_removes_no_file_of_a_running_process(blobs, tmp_path):
    folder = _sweep(cache_dir=tmp_path).fit(*blobs).cache_folder_
    live = folder / "train_size=20,seed=9.json.0123.part"
    live.write_text("half")
    for seconds in (0, 2**32):
        os.utime(live, (seconds, seconds))
        _sweep(cache_dir=tmp_path).fit(*blobs)
        assert live.read_text() == "half"


def test_names_that_a_file_system_may_take_for_one_do_not_meet(blobs, tmp_path):
    names = ["Net", "NET", "Ne\u0301t", "N\u00e9t", "../Net", "N" * 300]
    folders = []
    for name in names:
        kind = type(name, (Toy,), {"__module__": __name__})
        sweep = _sweep(cache_dir=tmp_path).set_params(estimator=kind())
        folders.append(sweep.fit(*blobs).cache_folder_)
    assert all(folder.parent == tmp_path for folder in folders)
    assert len({folder.name.lower() for folder in folders}) == len(names)
    assert all(folder.name.isascii() for folder in folders)
    assert len(read_records(tmp_path)) == 6 * len(names)


def test_a_record_nested_beyond_reading_is_damage(blobs, tmp_path):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs)
    (whole.cache_folder_ / "train_size=20,seed=0.json").write_text("[" * 100_000)
    assert len(read_records(tmp_path)) == 5
    with pytest.warns(TrajectoryWarning, match="damaged and was trained again"):
        again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)


@pytest.mark.skipif(os.name == "nt", reason="errors of POSIX")
@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_folder_in_place_of_an_entry_is_named(blobs, tmp_path, suffix):
    folder = _sweep(cache_dir=tmp_path).fit(*blobs).cache_folder_
    path = folder / f"train_size=20,seed=0{suffix}"
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=rf"{path.name}. Remove it, or choose"):
        _sweep(cache_dir=tmp_path).fit(*blobs)
    with pytest.warns(TrajectoryWarning, match="1 damaged run left out"):
        read_cache(tmp_path)


def test_an_entry_that_may_not_be_read_is_trained_again(blobs, tmp_path, monkeypatch):
    whole = _sweep(cache_dir=tmp_path).fit(*blobs)
    closed = whole.cache_folder_ / "train_size=20,seed=0.parquet"
    inode, read_bytes = closed.stat().st_ino, Path.read_bytes

    # chmod does not stop root, who may run this test.
    def read(path):
        if path == closed and path.stat().st_ino == inode:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(PermissionError, match=r"seed=0\.parquet"):
        read_cache(tmp_path)
    with pytest.warns(TrajectoryWarning, match=r"trained again: .*Permission denied"):
        again = _sweep(cache_dir=tmp_path).fit(*blobs)
    assert_frame_equal(again.trajectories_, whole.trajectories_, check_exact=True)
    assert_frame_equal(read_cache(tmp_path), whole.trajectories_, check_exact=True)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_whoever_may_read_new_files_may_read_a_cache(blobs, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        folder = _sweep(cache_dir=tmp_path).fit(*blobs).cache_folder_
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {mode}


class Renamed(Toy):
    """A toy with other columns."""

    def __init__(self, names=(), random_state=None):
        super().__init__(random_state=random_state)
        self.names = names

    def fit(self, X, y, eval_set=None):
        super().fit(X, y, eval_set)
        table = self.trajectory_.drop(columns="sum_X")
        added = dict.fromkeys(self.names, table["log_toy"])
        self.trajectory_ = table.drop(columns="log_toy").assign(**added)
        return self


def test_a_folder_of_sweeps_with_other_norms_has_what_they_share(blobs, tmp_path):
    for names in [("log_a", "log_b", "test_loss"), ("log_a", "log_c")]:
        _sweep(cache_dir=tmp_path).set_params(estimator=Renamed(names)).fit(*blobs)
    with pytest.warns(TrajectoryWarning, match="log_b, log_c, test_loss left out"):
        table = read_cache(tmp_path)
    assert table["model"].nunique() == 2
    shared = {"model", "train_size", "seed", "epoch", "test_error", "n_test", "log_a"}
    assert set(table.columns) == shared
    one = read_cache(next(tmp_path.glob("*/sweep.json")).parent)
    assert "test_loss" in one or "log_c" in one


def test_a_folder_of_sweeps_without_a_common_norm_is_an_error(blobs, tmp_path):
    for names in [("log_a",), ("log_b",)]:
        _sweep(cache_dir=tmp_path).set_params(estimator=Renamed(names)).fit(*blobs)
    with pytest.raises(
        ValueError, match=r"no norm in common .*Renamed-.*: log_.*subfol"
    ):
        read_cache(tmp_path)


def test_error_score_raise_keeps_the_runs_before_the_failure(blobs, tmp_path):
    failing = _sweep(cache_dir=tmp_path, error_score="raise")
    failing.set_params(estimator=Toy(fail_at=20))
    with pytest.raises(RuntimeError, match="out of memory"):
        failing.fit(*blobs)
    # The longest runs come first.
    assert read_cache(tmp_path)["train_size"].unique().tolist() == [80]
