r"""
Does the loss of a language model follow the laws?
==================================================

A small transformer learns to predict the next byte of Python's own source code, in a
plain loop of torch with a recorder, on train sizes a factor of two apart. Its loss can
never fall below the entropy of the text, so that the law has an offset to find.

The whole study takes ten minutes on two cores and is run once, with

.. code-block:: shell

    python examples/language_model/plot_1_next_byte.py --full

It keeps each finished run in a small file under ``~/.cache/scalinglaw``, which this
page then reads. Without them, as here if the train sizes below end at 16,000, the page
trains a network of half the width on a tenth of the data: enough to see how it is
done, too little for exponents. The guide has the numbers of the whole study.
"""

# %%
# Text that is on every machine
# -----------------------------
# The source files of the standard library, without duplicates. A fifth of the files is
# for testing, so that no test file was seen in training. A train size is so many bytes
# in blocks of 500, drawn at random from the files that are left: whole files would
# make one small training set hard and the next one easy.
import hashlib
import sys
import sysconfig
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torch import nn

from scalinglaw import (
    ScalingLawEstimator,
    TrajectoryRecorder,
    backtest,
    check_trajectories,
    read_trajectories,
    write_trajectories,
)

CONTEXT, BLOCK = 64, 500
NOT_PLAIN_CODE = {"test", "tests", "site-packages", "idlelib", "lib2to3", "encodings"}


def load_blocks():
    """Return blocks of train and of test files, bytes as integers."""
    library = Path(sysconfig.get_path("stdlib"))
    files = {}
    for path in library.rglob("*.py"):
        if not NOT_PLAIN_CODE.intersection(path.relative_to(library).parts):
            text = path.read_bytes()
            files[hashlib.sha256(text).hexdigest()] = text
    names = sorted(files)  # an order that has nothing to do with what is inside

    def cut(chosen):
        blocks = [
            np.frombuffer(files[name], np.uint8)[start : start + BLOCK]
            for name in chosen
            for start in range(0, len(files[name]) - BLOCK + 1, BLOCK)
        ]
        return torch.tensor(np.array(blocks), dtype=torch.long)

    n_test = len(names) // 5
    test = cut(names[:n_test])
    some = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:64]
    return cut(names[n_test:]), test[some]


# %%
# A transformer in forty lines
# ----------------------------
# Heads prefer near bytes by a bias that falls with the distance (ALiBi). With positions
# that have to be learned the loss stands still at that of pairs of bytes for hundreds
# of steps, on which small training sets overfit: a plateau in the middle of the law.
class Block(nn.Module):
    """Attention and a perceptron, each after a normalisation and beside a shortcut."""

    def __init__(self, width, n_heads=4):
        super().__init__()
        self.n_heads = n_heads
        self.before_attention, self.before_mlp = (
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.query, self.key, self.value, self.out = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        place = torch.arange(CONTEXT)
        distance = (place[:, None] - place).float()
        bias = -(0.25 ** torch.arange(n_heads))[:, None, None] * distance
        self.register_buffer("bias", bias.masked_fill(distance < 0, -torch.inf))

    def forward(self, x):
        """Return the stream after this block."""
        seen = self.before_attention(x)
        query, key, value = (
            layer(seen).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=self.bias
        )
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.before_mlp(x))))


def make_network(width):
    """Return a network that gives 256 logits for the byte after each byte."""
    return nn.Sequential(
        nn.Embedding(256, width),
        Block(width),
        Block(width),
        nn.LayerNorm(width),
        nn.Linear(width, 256),
    )


# %%
# A loop of torch with a recorder
# -------------------------------
# Three lines of the loop are about the laws. Steps grow with the train size, so that
# each run passes its lowest loss. There is no ``n_test``: the bytes of one text are no
# independent samples.
def train(blocks, test, train_size, seed, width):
    """Return the trajectory of one run."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = blocks[torch.randperm(len(blocks))[: train_size // BLOCK]].flatten()
    model = make_network(width)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    inputs = test[:, : 7 * CONTEXT].reshape(-1, CONTEXT)
    targets = test[:, 1 : 7 * CONTEXT + 1].reshape(-1, CONTEXT)

    def evaluate():
        loss, wrong = 0.0, 0
        for x, y in zip(inputs.split(128), targets.split(128), strict=True):
            logits = model(x).flatten(0, 1)
            loss += nn.functional.cross_entropy(logits, y.flatten(), reduction="sum")
            wrong += (logits.argmax(dim=1) != y.flatten()).sum()
        return {
            "test_loss": loss / targets.numel(),
            "test_error": wrong / targets.numel(),
        }

    n_steps, batch_size = 60 + train_size // 60, 16
    recorder = TrajectoryRecorder(
        model,
        n_steps=n_steps,
        train_size=train_size,
        seed=seed,
        n_records=30,
        norms=["spectral_complexity", "frobenius"],
        evaluate=evaluate,
        steps_per_epoch=train_size / (batch_size * CONTEXT),
    )
    for _ in range(n_steps):
        starts = torch.randint(len(data) - CONTEXT, (batch_size, 1))
        text = data[starts + torch.arange(CONTEXT + 1)]
        logits = model(text[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.step()
    return recorder.trajectory_


# %%
# The study
# ---------
# Finished runs are kept: interrupted, the study goes on where it was.
FULL = {"width": 64, "sizes": [2500 * 2**k for k in range(7)], "n_seeds": 3}
SMALL = {"width": 32, "sizes": [500 * 2**k for k in range(6)], "n_seeds": 1}
CACHE = Path.home() / ".cache" / "scalinglaw" / "next_byte"


def file_of(width, train_size, seed):
    """Return the path of a run."""
    return CACHE / f"w{width}_P{train_size}_s{seed}.parquet"


def kept_run(blocks, test, width, train_size, seed):
    """Return a run from its file, or train it and write the file."""
    path = file_of(width, train_size, seed)
    if not path.exists():
        table = train(blocks, test, train_size, seed, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trajectories(table, path)
    return read_trajectories(path)


def runs_of(width, sizes, n_seeds):
    """Return width, train size and seed of all runs, the longest of a seed first."""
    return [(width, size, seed) for seed in range(n_seeds) for size in sizes[::-1]]


is_whole = all(file_of(*run).exists() for run in runs_of(**FULL))
study = FULL if is_whole or "--full" in sys.argv else SMALL
blocks, test = load_blocks()
runs = Parallel(n_jobs=2)(
    delayed(kept_run)(blocks, test, *run) for run in runs_of(**study)
)
table = check_trajectories(pd.concat(runs))
print(len(runs), "runs, train sizes", *np.unique(table["train_size"]), "bytes")

# %%
# The loss along the norm
# -----------------------
# All train sizes fall along one curve of the spectral complexity and leave it one after
# another, the smaller ones first. ``metric="test_loss"`` fits the laws to the loss, and
# ``offset="auto"``, the default, looks for the entropy in it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the summary has all remarks
    by_metric = {
        metric: ScalingLawEstimator(metric=metric).fit(table)
        for metric in ("test_loss", "test_error")
    }

_, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
colors = plt.colormaps["viridis"](np.linspace(0, 0.9, table["train_size"].nunique()))
for ax, metric in zip(axes, by_metric, strict=True):
    for color, (size, runs) in zip(colors, table.groupby("train_size"), strict=True):
        for _, run in runs.groupby("seed"):
            x, y = run["log_spectral_complexity"], run[metric]
            ax.plot(x, y, color=color, lw=1, label=f"{size:,} bytes")
            ax.plot(x[y.idxmin()], y.min(), "o", color=color, ms=4)
    ax.set(yscale="log", xlabel="log spectral complexity")
axes[0].set_ylabel("test loss, nats a byte")
axes[1].set_ylabel("next-byte error")
handles, labels = axes[0].get_legend_handles_labels()
by_size = dict(zip(labels, handles, strict=True))
axes[0].legend(by_size.values(), by_size.keys(), fontsize="small")

# %%
# The laws of the loss
# --------------------
law = by_metric["test_loss"]
print(law.summary())

# %%
# The laws of the next-byte error
# -------------------------------
# The error keeps falling where the loss has long turned: a network that has become too
# sure of itself pays in nats, and not in errors.
print(by_metric["test_error"].summary())

# %%
# What would more text give?
# --------------------------
# The lowest loss against the train size, its forecast, and the same forecast from the
# smaller two thirds of the sizes (``backtest``), with three baselines beside it.
sizes = np.unique(table["train_size"])
ahead = np.geomspace(sizes[0], 4 * sizes[-1], 30)
loss, low, high = law.predict(ahead, return_interval=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    scores = backtest(ScalingLawEstimator(metric="test_loss"), table)

_, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.fill_between(ahead, low, high, color="0.85", label="95 % prediction interval")
ax.plot(ahead, loss, color="black", label="forecast of the law")
ax.plot(law.lowest_errors(table), "o", label="lowest loss")
held = scores[scores["method"] == "law"]
spread = [held["predicted"] - held["ci_low"], held["ci_high"] - held["predicted"]]
ax.errorbar(
    held["train_size"], held["predicted"], spread, fmt="x", label="from smaller sizes"
)
ax.set(xscale="log", xlabel="train size, bytes", ylabel="test loss, nats a byte")
ax.legend()
rms = scores["log_error"].pow(2).groupby(scores["method"]).mean() ** 0.5
print(held.drop(columns="method").round(3).to_string(index=False))
print(rms.sort_values().round(3).to_string())
