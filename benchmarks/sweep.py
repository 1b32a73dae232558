"""What a sweep survives, and what it costs.

kills     SIGKILL at ten random moments of a sweep of real networks, and a rerun
rivals    two processes on one cache folder
stacked   seeds side by side against one by one, in turn; the rule of stack="auto"
backends  n_jobs=1, n_jobs=2 and a Dask cluster of two workers: tables, time, memory
overhead  time per run on a thousand runs that do nothing
stopping  what StopAfterOptimum saves, and whether exponents move

Times are on the clock and, where it says cpu, seconds of processor time, which other
programs on the machine disturb less.

    OMP_NUM_THREADS=1 python benchmarks/sweep.py kills rivals stacked
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
    CNNClassifier,
    LogisticPerceptron,
    ScalingLawEstimator,
    TrajectoryClassifier,
    TrajectorySweep,
    make_teacher_student,
)
from scalinglaw.classifiers.stacked import work_per_layer
from scalinglaw.datasets import load_images
from scalinglaw.sweep import StopAfterOptimum, read_records


def softmax(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), n_classes))


def mlp(input_shape: tuple[int, ...], n_classes: int) -> nn.Module:
    width = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(width, 100), nn.ReLU(), nn.Linear(100, n_classes)
    )


def tiny_sweep(cache_dir: Path | None, stack: bool | str) -> TrajectorySweep:
    model = TrajectoryClassifier(mlp, max_epochs=12, n_records=10, device="cpu")
    return TrajectorySweep(
        model,
        train_sizes=[50, 100, 200, 400],
        n_seeds=8,
        test_size=400,
        random_state=0,
        cache_dir=cache_dir,
        stack=stack,
    ).fit(*load_images("digits"))


def child(folder: Path, stack: str) -> subprocess.Popen:
    """Start this file as another process that runs the tiny sweep."""
    return subprocess.Popen([sys.executable, __file__, "--child", str(folder), stack])


def entries(folder: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_mtime_ns for path in folder.rglob("train_size=*.json")
    }


def kills() -> None:
    rng = np.random.default_rng(0)
    for stack in ("off", "on"):
        whole = tiny_sweep(None, stack == "on").trajectories_
        folder = Path(tempfile.mkdtemp())
        progress = []
        for _ in range(10):
            before = entries(folder)
            if len(before) == 32:
                shutil.rmtree(folder)
                before = {}
            process = child(folder, stack)
            target = len(before) + rng.integers(0, 4)
            while len(entries(folder)) < target and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
            after = entries(folder)
            assert before.items() <= after.items(), "a finished run was retrained"
            progress.append(len(after))
        again = tiny_sweep(folder, stack == "on").trajectories_
        assert after.items() <= entries(folder).items(), "a finished run was retrained"
        pd.testing.assert_frame_equal(again, whole, check_exact=True)
        print(f"stacked {stack}: finished runs of 32 after each kill: {progress}; ")
        print(
            "  the rerun kept all of them; its table is the uninterrupted one, bitwise"
        )
        shutil.rmtree(folder)


def rivals() -> None:
    for stack in ("off", "on"):
        folder = Path(tempfile.mkdtemp())
        both = [child(folder, stack) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0]
        whole = tiny_sweep(None, stack == "on").trajectories_
        table = tiny_sweep(folder, stack == "on").trajectories_
        pd.testing.assert_frame_equal(table, whole, check_exact=True)
        print(
            f"stacked {stack}: two processes, {len(read_records(folder))} entries, ",
            end="",
        )
        print("no broken one; the table is that of one process, bitwise")
        shutil.rmtree(folder)


MODELS = {
    "softmax": TrajectoryClassifier(softmax),
    "mlp 100": TrajectoryClassifier(mlp),
    "cnn 4-8, 32": CNNClassifier(conv_widths=(4, 8), hidden_width=32),
    "cnn 8-16-32, 512 (demo)": CNNClassifier(conv_widths=(8, 16, 32)),
    "cnn 32-64-128, 512 (paper)": CNNClassifier(),
}


def stacked(n_seeds: int, repeats: int) -> None:
    X, y = load_images("digits")
    print(f"{n_seeds} seeds, 400 digits, 60 epochs or a part of them, one process")
    for name, model in MODELS.items():
        # Large networks train for less time, with as many steps from record to record.
        part = 4 if "demo" in name else 15 if "paper" in name else 1
        model.set_params(max_epochs=60 // part, n_records=48 // part, device="cpu")
        work = work_per_layer(model, X[:20], y[:20]) * 128
        seconds: dict[bool, list[float]] = {False: [], True: []}
        cpu: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(repeats):
            for stack in (False, True):
                sweep = TrajectorySweep(
                    model,
                    train_sizes=[400],
                    n_seeds=n_seeds,
                    test_size=600,
                    random_state=0,
                    stack=stack,
                )
                clock, processor = time.perf_counter(), time.process_time()
                sweep.fit(X, y)
                seconds[stack].append(time.perf_counter() - clock)
                cpu[stack].append(time.process_time() - processor)
        ratio = min(seconds[False]) / min(seconds[True])
        cpu_ratio = min(cpu[False]) / min(cpu[True])
        print(
            f"{name:27s} {work:8.2g} multiply-adds per layer and batch: one by one "
            f"{min(cpu[False]):6.2f} s cpu, stacked {min(cpu[True]):6.2f} s cpu; "
            f"ratio {cpu_ratio:.2f} cpu, {ratio:.2f} clock",
            flush=True,
        )


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
        start = time.perf_counter()
        sweep.fit(X, y)
        each = 1e3 * (time.perf_counter() - start) / n_runs
        print(f"{name:26s} {each:6.2f} ms per run", flush=True)

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
                stack="auto",
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
    parts = ["kills", "rivals", "stacked", "backends", "overhead", "stopping"]
    parser.add_argument("parts", nargs="*", default=parts)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "STACK"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.child:
        tiny_sweep(Path(options.child[0]), options.child[1] == "on")
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    for part in options.parts:
        print(f"--- {part}")
        if part == "stacked":
            stacked(options.seeds, options.repeats)
        elif part == "overhead":
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
