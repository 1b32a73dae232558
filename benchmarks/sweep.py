"""What a sweep survives, and what it costs.

kills     SIGKILL at ten random moments of a sweep of real networks, and a rerun
rivals    two processes on one cache folder
backends  n_jobs=1, n_jobs=2 and a Dask cluster of two workers: tables, time, memory
overhead  time per run on a thousand runs that do nothing
stopping  what StopAfterOptimum saves, and whether exponents move

Times are on the clock and, where it says cpu, processor time of the process that calls
the sweep, which other programs on the machine disturb less.

    OMP_NUM_THREADS=1 python benchmarks/sweep.py kills rivals overhead
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn

from scalinglaw import (
    LogisticPerceptron,
    ScalingLawEstimator,
    TrajectoryClassifier,
    TrajectorySweep,
    make_teacher_student,
)
from scalinglaw.datasets import load_images
from scalinglaw.sweep import StopAfterOptimum, read_records


def softmax(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), n_classes))


def mlp(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    width = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 100), nn.ReLU(), nn.Linear(100, n_classes)
    )


def tiny_sweep(cache_dir: Path | None) -> TrajectorySweep:
    model = TrajectoryClassifier(mlp, max_epochs=12, n_records=10, device="cpu")
    return TrajectorySweep(
        model,
        train_sizes=[50, 100, 200, 400],
        n_seeds=8,
        test_size=400,
        random_state=0,
        cache_dir=cache_dir,
    ).fit(*load_images("digits"))


def child(folder: Path) -> subprocess.Popen:
    """Start this file as another process that runs the tiny sweep."""
    return subprocess.Popen([sys.executable, __file__, "--child", str(folder)])


def entries(folder: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("train_size=*.json")
    }


def kills() -> None:
    rng = np.random.default_rng(0)
    whole = tiny_sweep(None).trajectories_
    folder = Path(tempfile.mkdtemp())
    progress = []
    for _ in range(10):
        before = entries(folder)
        if len(before) == 32:
            shutil.rmtree(folder)
            before = {}
        process = child(folder)
        target = len(before) + rng.integers(0, 4)
        while len(entries(folder)) < target and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        after = entries(folder)
        assert before.items() <= after.items(), "a finished run was retrained"
        progress.append(len(after))
    again = tiny_sweep(folder).trajectories_
    assert after.items() <= entries(folder).items(), "a finished run was retrained"
    pd.testing.assert_frame_equal(again, whole, check_exact=True)
    print(f"finished runs of 32 after each kill: {progress}; the rerun kept all of")
    print("  them; its table is the uninterrupted one, bitwise")
    shutil.rmtree(folder)


def rivals() -> None:
    folder = Path(tempfile.mkdtemp())
    both = [child(folder) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    whole = tiny_sweep(None).trajectories_
    table = tiny_sweep(folder).trajectories_
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    print(f"two processes, {len(read_records(folder))} entries, no broken one; the")
    print("  table is that of one process, bitwise")
    shutil.rmtree(folder)


def memory_mb() -> float:
    """Return the peak memory of this process and of its largest finished child."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def backends() -> None:
    X, y, teacher = make_teacher_student(3000, 100, random_state=0)

    def fit(n_jobs: int | None) -> pd.DataFrame:
        sweep = TrajectorySweep(
            LogisticPerceptron(max_norm=100.0, n_records=30),
            train_sizes=[300, 600, 1200],
            n_seeds=6,
            random_state=0,
            n_jobs=n_jobs,
        )
        return sweep.fit(X, y, teacher=teacher).trajectories_

    def timed(name: str, n_jobs: int | None) -> pd.DataFrame:
        start = time.perf_counter()
        table = fit(n_jobs)
        seconds = time.perf_counter() - start
        print(f"{name:16s} {seconds:6.2f} s, peak {memory_mb():.0f} MB", flush=True)
        return table

    one = timed("n_jobs=1", 1)
    timed("n_jobs=2, first", 2)
    two = timed("n_jobs=2, warm", 2)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    with dask_cluster() as client, joblib.parallel_config("dask"):
        assert len(client.scheduler_info()["workers"]) == 2
        timed("dask, first", None)
        remote = timed("dask, warm", None)
    pd.testing.assert_frame_equal(one, remote, check_exact=True)
    print("the three tables are equal to the last bit")


class dask_cluster:
    """Two worker processes of Dask, and a client of theirs."""

    def __enter__(self):
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = Client(self.cluster)
        return self.client

    def __exit__(self, *details: object) -> None:
        self.client.close()
        self.cluster.close()


class Idle(ClassifierMixin, BaseEstimator):
    """Does nothing, and says so."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y, eval_set=None):
        """Record two rows."""
        self.trajectory_ = pd.DataFrame(
            {"train_size": len(X), "seed": 0, "epoch": [0.0, 1.0], "log_idle": 0.0}
        )
        return self


def overhead(n_runs: int, megabytes: int) -> None:
    X = np.random.default_rng(0).random((2000, megabytes * 1000 // 16))
    y = np.arange(2000) % 2

    def fit(name: str, n_jobs: int | None, cache_dir: Path | None = None) -> None:
        sweep = TrajectorySweep(
            Idle(),
            train_sizes=[10, 20],
            n_seeds=n_runs // 2,
            test_size=20,
            random_state=0,
            n_jobs=n_jobs,
            cache_dir=cache_dir,
        )
        clock, processor = time.perf_counter(), time.process_time()
        sweep.fit(X, y)
        each = 1e3 * (time.perf_counter() - clock) / n_runs
        cpu = 1e3 * (time.process_time() - processor) / n_runs
        print(f"{name:26s} {each:6.2f} ms per run, {cpu:6.2f} ms cpu here", flush=True)

    print(f"{n_runs} runs on {X.nbytes / 1e6:.0f} MB of samples")
    fit("n_jobs=1", 1)
    folder = Path(tempfile.mkdtemp())
    fit("n_jobs=1, cache", 1, folder)
    fit("n_jobs=1, all in the cache", 1, folder)
    shutil.rmtree(folder)
    fit("n_jobs=2, first", 2)
    fit("n_jobs=2, warm", 2)
    with dask_cluster(), joblib.parallel_config("dask"):
        fit("dask, first", None)
        fit("dask, warm", None)


def stopping() -> None:
    X, y = load_images("digits")
    X = (X.reshape(len(X), -1) / 255).astype(np.float32)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(y)) < 0.15, rng.integers(0, 10, len(y)), y)
    for name, labels in (("15 % random labels", noisy), ("clean labels", y)):
        laws, steps = {}, {}
        for rule in (None, [StopAfterOptimum()]):
            model = TrajectoryClassifier(
                max_epochs=200, lr=0.01, n_records=60, callbacks=rule, device="cpu"
            )
            sweep = TrajectorySweep(
                model,
                train_sizes=[50, 100, 200, 400, 800],
                n_seeds=4,
                test_size=800,
                random_state=0,
            )
            table = sweep.fit_transform(X, labels)
            key = "whole" if rule is None else "stopped"
            laws[key] = ScalingLawEstimator().fit(table)
            steps[key] = table.groupby(["train_size", "seed"])["step"].max().sum()
        print(f"{name}: {1 - steps['stopped'] / steps['whole']:.0%} of the steps saved")
        for key, law in laws.items():
            found = law.exponents_
            shown = ", ".join(
                f"{exponent} {row['estimate']:.3f} +- {row['std_err']:.3f}"
                for exponent, row in found.iterrows()
            )
            print(f"  {key:8s} {shown}; {law.optima_['censored'].sum()} censored")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = ["kills", "rivals", "backends", "overhead", "stopping"]
    parser.add_argument("parts", nargs="*", default=parts)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--child", metavar="FOLDER")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.child:
        tiny_sweep(Path(options.child))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    for part in options.parts:
        print(f"--- {part}")
        if part == "overhead":
            overhead(options.runs, options.megabytes)
        else:
            {
                "kills": kills,
                "rivals": rivals,
                "backends": backends,
                "stopping": stopping,
            }[part]()


if __name__ == "__main__":
    main()
