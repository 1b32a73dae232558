"""What does a study cost on a GPU, and is it the same twice?

Each section is guarded: if it fails, its error is in the table and the others run.
All of them take at most six minutes on one card; a section that would begin after that
is left out.

steps        milliseconds a step: a plain loop with .item(), one without, and the
             classifier in each precision, captured or not
records      seconds of a fit with 2 and with 50 records
norms        milliseconds of a record's norms, against svdvals layer by layer
determinism  whether two fits of one seed are equal, and what deterministic=True costs
sharing      two runs in two processes at a time, against one after the other
study        a study of each preset against plain loops with svdvals, one by one

    python benchmarks/gpu.py                       # all, on the GPU
    python benchmarks/gpu.py --tiny --device cpu   # does it run?
"""

from __future__ import annotations

import argparse
import platform
import time
import traceback
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from torch import nn

from scalinglaw import (
    CNNClassifier,
    ResNetClassifier,
    TrajectorySweep,
    ViTClassifier,
    record_steps,
)
from scalinglaw.datasets import load_images
from scalinglaw.norms import NormTracker, weight_layers

PRESETS = {"CNN": CNNClassifier, "ResNet": ResNetClassifier, "ViT": ViTClassifier}
BATCH = 128
BUDGET = 360.0


class Bench:
    """Images, sizes and the device of all sections.

    Parameters
    ----------
    device : str
        Where to train.
    tiny : bool
        Whether sizes are those of a trial.
    """

    def __init__(self, device: str, tiny: bool) -> None:
        self.device, self.tiny = device, tiny
        try:
            self.X, y = load_images("fashion-mnist")
            self.source = "Fashion-MNIST"
        except FileNotFoundError:
            rng = np.random.default_rng(0)
            self.X = rng.integers(0, 256, (20_000, 1, 28, 28), dtype=np.uint8)
            y = rng.integers(0, 10, 20_000)
            self.source = "random bytes"
        self.y = np.asarray(y)

    def size(self, whole: int, tiny: int) -> int:
        """Return a size, or that of a trial."""
        return tiny if self.tiny else whole

    def classifier(self, name: str, **changes: Any) -> Any:
        """Return a preset, or a small relative of it."""
        small = {
            "CNN": {"conv_widths": (4, 8), "hidden_width": 16},
            "ResNet": {"widths": (4, 8), "depths": (1, 1)},
            "ViT": {"depth": 1, "width": 16},
        }
        settings = {"device": self.device, "random_state": 0, "verbose": 0} | changes
        if self.tiny:
            settings = small[name] | settings
        return PRESETS[name].from_preset("fashion-mnist", **settings)

    def wait(self) -> None:
        """Wait for the GPU."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any]) -> float:
        """Return how long a call takes, its work on the GPU included."""
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - start


def plain_run(
    bench: Bench,
    name: str,
    n: int,
    epochs: int,
    n_records: int = 0,
    n_test: int = 0,
    item: bool = True,
) -> None:
    """Train as one would by hand; records take every singular value."""
    X, y = (
        torch.as_tensor(part).to(bench.device)
        for part in (bench.X[: n + n_test], bench.y[: n + n_test])
    )
    start = bench.classifier(name, max_epochs=1, n_records=2, norms=("frobenius",))
    start.fit(bench.X[:256], bench.y[:256])
    model, (mean, std) = start.module_, start.normalization
    mean, std = (
        torch.tensor(v, device=bench.device).view(-1, 1, 1) for v in (mean, std)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    n_steps = epochs * -(-n // BATCH)
    due = set(record_steps(n_steps, n_records).tolist()) if n_records else set()
    step = 0

    def prepared(rows: torch.Tensor) -> torch.Tensor:
        return (X[rows].float() / 255 - mean) / std

    def record() -> None:
        model.eval()
        with torch.no_grad():
            for part in torch.arange(n + n_test, device=bench.device).split(1024):
                (model(prepared(part)).argmax(1) != y[part]).sum().item()
            for layer in weight_layers(model):
                torch.linalg.svdvals(layer.blocks()[0].float()).max().item()
        model.train()

    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(n, device=bench.device).split(BATCH):
            if step in due:
                record()
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(prepared(rows)), y[rows])
            loss.backward()
            optimizer.step()
            if item:
                loss.item()
            step += 1
    if due:
        record()


def steps(bench: Bench) -> list[dict[str, Any]]:
    """Measure steps of each preset and precision."""
    n, epochs = BATCH * bench.size(100, 2), bench.size(3, 1)
    rows = []
    for name in PRESETS:
        row: dict[str, Any] = {"preset": name}
        for label, item in (("plain, .item()", True), ("plain", False)):
            plain_run(bench, name, BATCH * 4, 1, item=item)
            taken = bench.seconds(
                lambda name=name, item=item: plain_run(
                    bench, name, n, epochs, item=item
                )
            )
            row[label] = 1e3 * taken / (epochs * n / BATCH)
        for precision in ("float32", "tf32", "bfloat16"):
            fitted: list[Any] = []

            def fit(
                n_epochs: int, name: str = name, precision: str = precision
            ) -> None:
                classifier = bench.classifier(
                    name,
                    precision=precision,
                    max_epochs=n_epochs,
                    n_records=2,
                    norms=("frobenius",),
                )
                fitted.append(classifier.fit(bench.X[:n], bench.y[:n]))  # noqa: B023

            # The difference of two fits leaves out records, warm-up and capture.
            short, long = (bench.seconds(lambda e=e: fit(e)) for e in (1, 1 + epochs))
            row[precision] = 1e3 * (long - short) / (epochs * n / BATCH)
            row[f"{precision} eager"] = fitted[-1].eager_reason_ or "captured"
        rows.append(row)
    return rows


def records(bench: Bench) -> list[dict[str, Any]]:
    """Measure what records cost, with the training error on all and on a subset."""
    n, n_test = bench.size(8_000, 300), bench.size(10_000, 100)
    rows = []
    for name in PRESETS:
        row: dict[str, Any] = {"preset": name}
        for label, n_records, subset in (
            ("2 records", 2, False),
            ("50 records", 50, False),
            ("50, subset", 50, True),
        ):
            classifier = bench.classifier(
                name,
                max_epochs=bench.size(10, 2),
                n_records=n_records,
                subset_train_error=subset,
            )
            held_out = (bench.X[n : n + n_test], bench.y[n : n + n_test])
            row[label] = bench.seconds(
                lambda c=classifier, h=held_out: c.fit(
                    bench.X[:n], bench.y[:n], eval_set=h
                )
            )
        row["share of 40 epochs"] = (row["50 records"] - row["2 records"]) / (
            row["2 records"] * 40 / bench.size(10, 2)
        )
        rows.append(row)
    return rows


def norms(bench: Bench) -> list[dict[str, Any]]:
    """Measure the norms of each preset, and of the ResNet-18 for 3x32x32 images."""
    rows = []
    models = [(name, bench.classifier(name), bench.X[:64]) for name in PRESETS]
    if not bench.tiny:
        colour = ResNetClassifier.from_preset("cifar10", device=bench.device)
        images = np.zeros((64, 3, 32, 32), dtype=np.uint8)
        models.append(("ResNet-18", colour, images))
    for name, classifier, X in models:
        classifier.set_params(max_epochs=1, n_records=2, norms=("frobenius",))
        module = classifier.fit(X, np.arange(64) % 10).module_
        tracker = NormTracker(module)
        first = bench.seconds(tracker.compute)
        later = min(bench.seconds(tracker.compute) for _ in range(5))
        layers = [layer.blocks()[0].float() for layer in weight_layers(module)]

        def plain(layers: list[Any] = layers) -> None:
            for matrix in layers:
                torch.linalg.svdvals(matrix).max().item()

        plain()
        taken = min(bench.seconds(plain) for _ in range(3))
        rows.append(
            {
                "network": name,
                "svdvals ms": 1e3 * taken,
                "first ms": 1e3 * first,
                "later ms": 1e3 * later,
            }
        )
    return rows


def determinism(bench: Bench) -> list[dict[str, Any]]:
    """Compare two fits of one seed, with and without deterministic=True."""
    n, rows = bench.size(4_000, 256), []
    for name in PRESETS:
        row: dict[str, Any] = {"preset": name}
        for chosen in (True, False):
            tables, taken = [], []
            for _ in range(2):
                classifier = bench.classifier(
                    name,
                    deterministic=chosen,
                    max_epochs=bench.size(3, 2),
                    n_records=5,
                )
                taken.append(
                    bench.seconds(lambda c=classifier: c.fit(bench.X[:n], bench.y[:n]))
                )
                tables.append(classifier.trajectory_.to_numpy(float))
            label = "deterministic" if chosen else "free"
            row[f"{label}, largest difference"] = np.abs(tables[0] - tables[1]).max()
            row[f"{label} s"] = min(taken)
        rows.append(row)
    return rows


def sharing(bench: Bench) -> list[dict[str, Any]]:
    """Measure runs in several processes on one device."""
    n = bench.size(4_000, 256)
    rows = []
    for n_jobs in (1, 2, 4):
        sweep = TrajectorySweep(
            bench.classifier("CNN", max_epochs=bench.size(10, 1), n_records=5),
            train_sizes=[n // 2],
            n_seeds=4,
            test_size=n // 4,
            n_jobs=n_jobs,
            random_state=0,
        )
        # Workers start and import torch once.
        clone(sweep).set_params(estimator__max_epochs=1).fit(bench.X[:n], bench.y[:n])
        taken = bench.seconds(lambda s=sweep: s.fit(bench.X[:n], bench.y[:n]))
        rows.append({"n_jobs": n_jobs, "seconds": taken})
    return rows


def study(bench: Bench) -> list[dict[str, Any]]:
    """Compare a study with plain loops, trained one after another."""
    sizes = [500, 1000, 2000, 4000, 8000] if not bench.tiny else [64, 128]
    n_test, epochs = bench.size(10_000, 100), bench.size(20, 1)
    total = max(sizes) + n_test
    rows = []
    for name in PRESETS:
        sweep = TrajectorySweep(
            bench.classifier(name, max_epochs=epochs, n_records=50),
            train_sizes=sizes,
            n_seeds=2,
            test_size=n_test,
            random_state=0,
        )
        ours = bench.seconds(lambda s=sweep: s.fit(bench.X[:total], bench.y[:total]))
        # One seed, and only the largest and the smallest size: the rest is on a line.
        ends = [
            bench.seconds(
                lambda n=n, name=name: plain_run(bench, name, n, epochs, 50, n_test)
            )
            for n in (min(sizes), max(sizes))
        ]
        slope = (ends[1] - ends[0]) / (max(sizes) - min(sizes))
        plain = 2 * sum(ends[0] + slope * (n - min(sizes)) for n in sizes)
        rows.append(
            {"preset": name, "plain s": plain, "study s": ours, "times": plain / ours}
        )
    return rows


SECTIONS = {
    "steps": steps,
    "norms": norms,
    "determinism": determinism,
    "records": records,
    "sharing": sharing,
    "study": study,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a trial of seconds")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds in all")
    args = parser.parse_args()
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"sections are {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        print("This machine has no GPU: nothing is measured. See --tiny --device cpu.")
        return
    bench = Bench(args.device, args.tiny)
    card = torch.cuda.get_device_name() if args.device != "cpu" else "CPU"
    print(
        f"{card}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{joblib.cpu_count()} cores, {bench.source}",
        flush=True,
    )
    begun, failed = time.perf_counter(), 0
    for name in args.sections or SECTIONS:
        if time.perf_counter() - begun > args.budget:
            print(f"\n{name}: left out, the time is up", flush=True)
            continue
        start = time.perf_counter()
        try:
            table = pd.DataFrame(SECTIONS[name](bench))
        except Exception:
            failed += 1
            print(f"\n{name}: failed\n{traceback.format_exc(limit=4)}", flush=True)
            continue
        taken = time.perf_counter() - start
        print(f"\n{name} ({taken:.0f} s)", flush=True)
        print(table.to_string(index=False, float_format="{:.3g}".format), flush=True)
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
