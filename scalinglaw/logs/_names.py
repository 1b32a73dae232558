"""Their names of columns, and which of ours each of them stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .._rows import KNOWN_NORMS

__all__ = ["Found", "find_columns"]

#: Columns of ours, beside errors and norms, with the names that others have for them;
#: the first is the best.
_NAMES = {
    "train_size": (
        "train_size",
        "n_train",
        "num_train",
        "n_train_samples",
        "num_train_samples",
        "train_samples",
        "max_train_samples",
        "train_set_size",
        "trainset_size",
        "training_size",
        "training_set_size",
        # What a history of skorch tells, if nothing else does.
        "samples_in_the_batches_of_an_epoch",
    ),
    "seed": ("seed", "random_seed", "random_state", "manual_seed", "rng_seed"),
    "model": ("model", "model_name", "architecture", "arch"),
    "run": (
        "run",
        "run_id",
        "run_name",
        "name",
        "id",
        "experiment",
        "trial",
        "run_path",
    ),
    "epoch": ("epoch", "epochs", "current_epoch", "epoch_num"),
    "step": (
        "global_step",
        "step",
        "steps",
        "iteration",
        "iterations",
        "iter",
        "n_iter",
        "update",
        "num_updates",
        "optimizer_step",
        "wandb_step",
    ),
    "batch_size": ("batch_size", "train_batch_size"),
    "n_test": ("n_test", "num_test", "n_test_samples", "num_test_samples"),
    "log_norm_opt": ("log_norm_opt",),
    "relative_test_error": ("relative_test_error",),
}
_TRAIN, _VALIDATION, _TEST = "train", "validation", "test"
_SPLITS = {
    "train": _TRAIN,
    "training": _TRAIN,
    "val": _VALIDATION,
    "valid": _VALIDATION,
    "validation": _VALIDATION,
    "eval": _VALIDATION,
    "evaluation": _VALIDATION,
    "dev": _VALIDATION,
    "test": _TEST,
    "testing": _TEST,
}
_QUANTITIES = {
    "accuracy": (
        *("accuracy", "acc", "accuracy_score", "acc1", "top1", "top1_acc"),
        *("top1_accuracy", "acc_top1", "accuracy_top1", "accuracy_top_1"),
        *("top_1_accuracy", "multiclass_accuracy", "binary_accuracy"),
        *("categorical_accuracy", "sparse_categorical_accuracy"),
    ),
    "error": (
        *("error", "err", "error_rate", "err_rate", "top1_error", "top1_err", "err1"),
        *("error_top1", "classification_error", "misclassification"),
        "misclassification_rate",
    ),
    "loss": (
        *("loss", "cross_entropy", "crossentropy", "ce", "ce_loss"),
        *("cross_entropy_loss", "nll", "nll_loss", "xent", "log_loss"),
    ),
}
_QUANTITY_OF = {name: kind for kind, names in _QUANTITIES.items() for name in names}
_PERCENT = {"percent", "pct", "percentage"}
# Words that say where or how a number was logged, and not what it is.
_NOISE = {"epoch", "mean", "avg", "average", "metrics", "metric", "trainer", "config"}
_NOISE |= {"params", "hparams", "summary", "trial", "norm", "norms", "model", *_PERCENT}
_SHORT_NORMS = ("path", "l1", "rms")


@dataclass(frozen=True)
class Found:
    """A column of theirs and what it is taken for.

    Parameters
    ----------
    theirs, ours : str
        Name in the log, and in the table; ``test_accuracy`` and ``train_accuracy`` are
        shares of right answers, and norms may come as ``<norm>`` and ``log10_<norm>``.
    rank : int
        Which of several candidates is meant: the lowest.
    sure : bool
        Whether it is the table's own name, or one that the user has given.
    """

    theirs: str
    ours: str
    rank: int = 0
    sure: bool = False


def find_columns(
    names: Iterable[str], given: Mapping[str, str], norm: str | None
) -> list[Found]:
    """Return which columns of a log are known for what.

    Parameters
    ----------
    names : iterable of str
        Columns of all logs.
    given : dict of str to str
        What the user says, their name to ours.
    norm : str or None
        A norm that is looked for beside those that the package knows.

    Returns
    -------
    list of Found
        In the order of `names`; columns that mean nothing here are not among them.
    """
    names = list(names)
    norms = sorted({*KNOWN_NORMS, *([norm] if norm else [])}, key=len, reverse=True)
    split_too = {  # quantities that come with the name of a set, as val_loss does
        quantity for name in names for quantity, split in [_quantity(name)] if split
    }
    found = []
    for name in names:
        if name in given:
            found.append(Found(name, given[name], sure=True))
            continue
        guess = _known_name(name) or _norm(name, norms) or _measure(name, split_too)
        # What the user has given is not looked for anywhere else.
        if guess is not None and guess.ours not in given.values():
            found.append(guess)
    return found


def words(name: str) -> str:
    """Return a name in lower case, with one underscore between its words."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).replace("%", "_percent")
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _known_name(name: str) -> Found | None:
    plain = "wandb_step" if name == "_step" else words(name)
    # Weights & Biases numbers its own calls; what the program calls a step is better.
    short = re.sub(
        r"^(config|params|hparams|trainer|train|data|args|metadata)_", "", plain
    )
    for ours, theirs in _NAMES.items():
        for rank, known in enumerate(theirs):
            if plain == known:
                return Found(name, ours, 2 * rank, sure=name == ours)
        for rank, known in enumerate(theirs):
            if short == known and ours != "run":
                return Found(name, ours, 2 * rank + 1)
    return None


def _norm(name: str, norms: list[str]) -> Found | None:
    plain = words(name)
    for norm in norms:
        # The optional parts are lazy: "log_" is a logarithm before it is a word.
        match = re.fullmatch(
            rf"(?:(.+?)_)??(?:(log10|log|ln)_)?{re.escape(norm)}(?:_norm)?", plain
        )
        if match is None:
            continue
        before, log = match.groups()
        # "path" is a file more often than a norm, and "grad_rms" none of the weights.
        known = {*_NOISE, *_SPLITS, "weights", "weight"}
        before_known = before is None or set(before.split("_")) <= known
        if not before_known or (before and norm in _SHORT_NORMS and not log):
            return None
        prefix = {None: "", "ln": "log_", "log": "log_", "log10": "log10_"}[log]
        return Found(name, prefix + norm, 0 if log else 1, sure=name == f"log_{norm}")
    if re.fullmatch(r"log_\w+", name) and name not in ("log_loss", "log_norm_opt"):
        return Found(name, name, sure=True)
    return None


def _quantity(name: str) -> tuple[str | None, str | None]:
    """Return whether a name is of an accuracy, error or loss, and of which set."""
    parts = words(name).split("_")
    splits = [_SPLITS[part] for part in parts if part in _SPLITS]
    rest = [part for part in parts if part not in _SPLITS and part not in _NOISE]
    batch = bool(rest) and rest[-1] == "step"
    kind = _QUANTITY_OF.get("_".join(rest[:-1] if batch else rest))
    return kind, (splits[-1] if splits else None)


def _measure(name: str, split_too: set[str | None]) -> Found | None:
    quantity, split = _quantity(name)
    if quantity is None:
        return None
    if split is None:
        # Beside val_loss a plain loss is that of training; alone it may be any.
        split = _TRAIN if quantity in split_too else None
        if split is None:
            return Found(name, f"unknown_{quantity}")
    ours = f"{'train' if split == _TRAIN else 'test'}_{quantity}"
    # The mean over an epoch is better than the last batch, the test set than another.
    rank = 4 * (split == _VALIDATION) + 2 * words(name).endswith("_step")
    return Found(name, ours, rank, sure=name == ours and quantity != "accuracy")
