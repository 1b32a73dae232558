"""What do the estimator, its records and its options of speed cost?

Every comparison runs its sides in turn, in one process, on the same images, and shows
the shortest of several epochs, on the clock and in seconds of processor time (workers
included), which other programs on the machine disturb less.

loop       a fit against the same training written out on tensors: what skorch costs
loader     the same against a DataLoader with transforms per sample and two workers
recording  what the records of a run cost: the norms, and the errors beside them
options    channels-last and bfloat16, measured and not assumed

    python benchmarks/training.py loop loader recording options --threads 2
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from scalinglaw import CNNClassifier, ResNetClassifier, ViTClassifier, record_steps
from scalinglaw.classifiers._batches import TensorBatches
from scalinglaw.classifiers._networks import convolutional_network
from scalinglaw.classifiers._preparation import PreparedModule
from scalinglaw.classifiers._presets import NORMALIZATION
from scalinglaw.datasets import load_images
from scalinglaw.norms import NormTracker

BATCH = 128
NORMALIZED = NORMALIZATION["fashion-mnist"]
# Small networks that still learn Fashion-MNIST, and the paper's own.
SMALL = {"conv_widths": (8, 16), "hidden_width": 64}
TINY = {"conv_widths": (4, 8), "hidden_width": 32}
HOW = {False: "without", True: "with"}


def images(n_samples: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Return Fashion-MNIST, or noise of its size where it is not installed."""
    try:
        X, y = load_images("fashion-mnist")
        return X[:n_samples], y[:n_samples], "Fashion-MNIST"
    except FileNotFoundError:
        rng = np.random.default_rng(0)
        X = rng.integers(0, 256, (n_samples, 1, 28, 28), dtype=np.uint8)
        return X, rng.integers(0, 10, n_samples), "random bytes"


def plain_loop(
    X: np.ndarray, y: np.ndarray, network: dict[str, Any], n_epochs: int
) -> list[np.ndarray]:
    """Train as one would by hand, and return the seconds of each epoch."""
    model = convolutional_network(X.shape[1:], 10, **network)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in NORMALIZED)
    samples, labels = torch.from_numpy(X), torch.from_numpy(y)
    seconds = []
    for _ in range(n_epochs):
        start = now()
        model.train()
        total = 0.0
        for rows in torch.randperm(len(samples)).split(BATCH):
            batch = (samples[rows].float() / 255 - mean) / std
            optimizer.zero_grad()
            loss = criterion(model(batch), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.item()
        seconds.append(now() - start)
    return seconds


def now() -> np.ndarray:
    """Return seconds on the clock, and of processor time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class ImageDataset(Dataset):
    """Images one by one, as torchvision's data sets give them."""

    def __init__(self, X: np.ndarray, y: np.ndarray, transform: Any) -> None:
        self.X, self.y, self.transform = X, y, transform

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.X[index, 0])), int(self.y[index])


def loader_loop(
    X: np.ndarray,
    y: np.ndarray,
    network: dict[str, Any] | None,
    n_epochs: int,
    augment: bool,
) -> list[np.ndarray]:
    """Train from a DataLoader with two workers; None trains nothing."""
    steps = [transforms.ToTensor(), transforms.Normalize(*NORMALIZED)]
    if augment:
        steps.insert(0, transforms.RandomCrop(28, padding=4))
    loader = DataLoader(
        ImageDataset(X, y, transforms.Compose(steps)),
        batch_size=BATCH,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
    )
    model = convolutional_network(X.shape[1:], 10, **(network or TINY))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    seconds = []
    for _ in range(n_epochs):
        start = now()
        model.train()
        total = 0.0
        for batch, labels in loader:
            if network is None:
                continue
            optimizer.zero_grad()
            loss = criterion(model(batch), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        seconds.append(now() - start)
    # The processor time of workers is known once they have ended.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    del loader
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # The first epoch started the workers.
    return [each + np.array([0.0, workers / n_epochs]) for each in seconds[1:]]


def slices_alone(
    X: np.ndarray, y: np.ndarray, n_epochs: int, augment: bool
) -> list[np.ndarray]:
    """Make the classifiers' batches, and train nothing."""
    data = SimpleNamespace(X=torch.from_numpy(X), y=torch.from_numpy(y))
    batches = TensorBatches(data, BATCH, shuffle=True)
    prepare = PreparedModule(nn.Identity(), *NORMALIZED, augment=augment).train()
    seconds = []
    for _ in range(n_epochs):
        start = now()
        for batch, _ in batches:
            prepare(batch)
        seconds.append(now() - start)
    return seconds


class EpochTimes(Callback):
    """Seconds of each epoch, records included."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._start = now()

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Stop it."""
        self.seconds_.append(now() - self._start)

    def initialize(self) -> EpochTimes:
        """Forget another run."""
        self.seconds_: list[np.ndarray] = []
        return self


def estimator(
    X: np.ndarray, y: np.ndarray, cls: type, n_epochs: int, **parameters: Any
) -> list[np.ndarray]:
    """Fit a classifier, and return the seconds of the epochs without a record.

    Two records are asked for: they fall into the first and the last epoch.
    """
    times = EpochTimes()
    cls(
        normalization=NORMALIZED,
        max_epochs=n_epochs + 2,
        batch_size=BATCH,
        n_records=2,
        norms=("frobenius",),
        callbacks=[times],
        device="cpu",
        random_state=0,
        **parameters,
    ).fit(X, y)
    return times.seconds_[1:-1]


def in_turn(
    sides: dict[str, Callable[[], list[np.ndarray]]], repeats: int
) -> pd.DataFrame:
    """Run the sides one after the other, several times over."""
    seconds: dict[str, list[np.ndarray]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            seconds[name] += run()
    shortest = {name: np.min(values, axis=0) for name, values in seconds.items()}
    table = pd.DataFrame(shortest, index=["clock_s", "processor_s"]).T
    ratios = (table / table.iloc[0]).add_suffix("_ratio")
    return table.join(ratios.rename(columns=lambda name: name.replace("_s_", "_")))


def loop(X: np.ndarray, y: np.ndarray, args: argparse.Namespace) -> None:
    """Compare a fit with a loop on tensors."""
    for label, network in (("small", SMALL), ("tiny", TINY)):
        table = in_turn(
            {
                "plain loop": partial(plain_loop, X, y, network, args.epochs),
                "classifier, channels_last=False": partial(
                    estimator,
                    X,
                    y,
                    CNNClassifier,
                    args.epochs,
                    channels_last=False,
                    **network,
                ),
                "classifier": partial(
                    estimator, X, y, CNNClassifier, args.epochs, **network
                ),
            },
            args.repeats,
        )
        show(f"An epoch of the {label} CNN {network}", table)


def loader(X: np.ndarray, y: np.ndarray, args: argparse.Namespace) -> None:
    """Compare a fit with a DataLoader."""
    for label, network in (("small", SMALL), ("tiny", TINY)):
        for augment in (False, True):
            table = in_turn(
                {
                    "classifier": partial(
                        estimator,
                        X,
                        y,
                        CNNClassifier,
                        args.epochs,
                        augment=augment,
                        **network,
                    ),
                    "DataLoader": partial(
                        loader_loop, X, y, network, args.epochs + 1, augment
                    ),
                },
                args.repeats,
            )
            show(f"An epoch of the {label} CNN, {HOW[augment]} augmentation", table)
    for augment in (False, True):
        table = in_turn(
            {
                "slices": partial(slices_alone, X, y, args.epochs, augment),
                "DataLoader": partial(
                    loader_loop, X, y, None, args.epochs + 1, augment
                ),
            },
            args.repeats,
        )
        show(
            f"An epoch of batches without a network, {HOW[augment]} augmentation", table
        )


class TimedNorms(Callback):
    """Seconds spent on norms at the steps of a run's records."""

    def __init__(self, names: tuple[str, ...], n_records: int, n_steps: int) -> None:
        self.names = names
        self.n_records = n_records
        self.n_steps = n_steps

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Plan the records and take the first."""
        self._due = set(record_steps(self.n_steps, self.n_records).tolist())
        self._tracker = NormTracker(net.module_.core, self.names)
        self.seconds_, self._step = [], 0
        self._record()

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Take a record if one is due."""
        self._step += training
        if training and self._step in self._due:
            self._record()

    def _record(self) -> None:
        start = now()
        self._tracker.compute()
        self.seconds_.append(now() - start)


def recording(X: np.ndarray, y: np.ndarray, args: argparse.Namespace) -> None:
    """Measure what 50 records cost: norms directly, errors by runs with and without."""
    rows = []
    n_records, n_epochs = 50, 100
    for label, cls, network in (
        ("CNN 8-16", CNNClassifier, SMALL),
        ("ResNet 8-16", ResNetClassifier, {"widths": (8, 16), "depths": (1, 1)}),
        ("ViT 32 x 2", ViTClassifier, {"patch_size": 7, "depth": 2, "width": 32}),
    ):
        # As many records as a long run has, within a short one; the norms of a record
        # cost the same whatever the number of samples.
        n_steps = 2 * -(-len(X) // BATCH)
        norms = TimedNorms(("spectral_complexity",), n_records, n_steps)
        epoch = np.min(estimator(X, y, cls, 2, **network), axis=0)
        cls(
            normalization=NORMALIZED,
            max_epochs=2,
            n_records=2,
            norms=("frobenius",),
            callbacks=[norms],
            device="cpu",
            random_state=0,
            **network,
        ).fit(X, y)
        run = epoch * 60_000 / len(X) * n_epochs
        taken = np.sum(norms.seconds_, axis=0)
        rows.append(
            {
                "network": label,
                "norms_clock_s": taken[0],
                "run_clock_s": run[0],
                "share_of_clock": taken[0] / run[0],
                "share_of_processor": taken[1] / run[1],
            }
        )
    show(
        f"Norms of {n_records} records beside {n_epochs} epochs of 60,000 images",
        pd.DataFrame(rows).set_index("network"),
    )

    def fit(n_records: int, norm: str) -> list[np.ndarray]:
        start = now()
        CNNClassifier(
            **SMALL,
            normalization=NORMALIZED,
            max_epochs=10,
            n_records=n_records,
            norms=(norm,),
            device="cpu",
            random_state=0,
        ).fit(X, y, eval_set=(X[: len(X) // 6], y[: len(X) // 6]))
        return [now() - start]

    table = in_turn(
        {
            "2 records": partial(fit, 2, "frobenius"),
            "50 records, frobenius": partial(fit, 50, "frobenius"),
            "50 records, spectral_complexity": partial(fit, 50, "spectral_complexity"),
        },
        args.repeats,
    )
    show("Ten epochs, errors on training and test images at each record", table)


def options(X: np.ndarray, y: np.ndarray, args: argparse.Namespace) -> None:
    """Measure the options of speed on each architecture."""
    for label, cls, network in (
        ("CNN 4-8", CNNClassifier, TINY),
        ("CNN 8-16", CNNClassifier, SMALL),
        ("CNN 16-32", CNNClassifier, {"conv_widths": (16, 32), "hidden_width": 128}),
        ("ResNet 16-32", ResNetClassifier, {"widths": (16, 32), "depths": (1, 1)}),
        ("ViT 64 x 2", ViTClassifier, {"patch_size": 7, "depth": 2, "width": 64}),
    ):
        sides: dict[str, dict[str, Any]] = {
            "neither": {"channels_last": False},
            "channels_last": {"channels_last": True},
            "bfloat16": {"channels_last": False, "precision": "bfloat16"},
            "both": {"channels_last": True, "precision": "bfloat16"},
        }
        table = in_turn(
            {
                name: partial(estimator, X, y, cls, args.epochs, **network, **chosen)
                for name, chosen in sides.items()
            },
            args.repeats,
        )
        show(f"Options on a {label}", table)


def show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string(float_format='{:.4f}'.format)}", flush=True)


def main() -> None:
    sections = {
        "loop": loop,
        "loader": loader,
        "recording": recording,
        "options": options,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", help=", ".join(sections))
    parser.add_argument("--samples", type=int, default=6_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    unknown = set(args.sections) - set(sections)
    if unknown:
        parser.error(f"sections are {', '.join(sections)}, got {', '.join(unknown)}")
    torch.set_num_threads(args.threads)
    X, y, source = images(args.samples)
    print(f"{len(X)} images of {source}, {args.threads} threads, torch", end=" ")
    print(torch.__version__)
    for name in args.sections or sections:
        sections[name](X, y, args)


if __name__ == "__main__":
    main()
