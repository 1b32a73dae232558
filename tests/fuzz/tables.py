"""Trajectory tables of every kind, into the check and into the laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scalinglaw import ScalingLawEstimator, check_trajectories
from scalinglaw.datasets import make_trajectories

from .harness import Finding
from .values import odd, one

_EXPONENTS = ("gamma1", "gamma2", "gamma_predicted", "gamma_measured")


def case(rng: np.random.Generator) -> None:
    """Check a table, then fit laws to it; look at both."""
    table = _mutated(rng, _study(rng) if rng.random() < 0.7 else _small(rng))
    if table is None:
        return
    checked = check_trajectories(table)
    _look_at_table(checked)
    norms = [name for name in checked.columns if str(name).startswith("log_")]
    norms = [name for name in norms if name != "log_norm_opt"] or ["log_l1"]
    metrics = ["test_error", "train_error", "relative_test_error", "test_loss"]
    law = ScalingLawEstimator(
        one(rng, norms).removeprefix("log_"),
        metric=metrics[int(rng.random() ** 6 * 4)],
        window=one(rng, ("auto", "auto", "auto", (0.01, 0.5), (None, 1.0), (5.0, 1e3))),
        landmark=one(rng, ("auto", "auto", "knee", "minimum")),
        min_train_size=one(rng, (None, None, None, 300, 1e9)),
    )
    law.fit(table)
    _look_at_law(law, checked)


def _look_at_table(table: pd.DataFrame) -> None:
    for name in ("train_size", "seed"):
        if table[name].dtype != np.int64 or (table[name] < 0).any():
            raise Finding(f"{name} came out as {table[name].dtype}")
    for name in ("test_error", "train_error"):
        if name in table and not table[name].dropna().between(0, 1).all():
            raise Finding(f"{name} came out beyond 0 and 1")
    again = check_trajectories(table)
    if not again.equals(table):
        raise Finding("a checked table comes out of the check as another one")


def _look_at_law(law: Any, table: pd.DataFrame) -> None:
    exponents = law.exponents_
    for name in _EXPONENTS:
        row = exponents.loc[name].astype(float)
        if np.isinf(row[["estimate", "std_err"]]).any() or (row["std_err"] < 0):
            raise Finding(f"{name} is {row.to_dict()}")
        if np.isfinite(row["ci_low"]) and not (
            row["ci_low"] <= row["estimate"] <= row["ci_high"]
        ):
            raise Finding(f"{name} lies outside its interval: {row.to_dict()}")
    text = str(law.summary())
    if not text.strip():
        raise Finding("an empty summary")
    if exponents["estimate"].isna().any() and not getattr(law, "conclusion_", "?"):
        raise Finding("NaN without a word")
    law._repr_html_()
    try:
        ahead = np.asarray(law.predict([float(table["train_size"].max())]), dtype=float)
    except ValueError:
        return  # It says why there is no forecast.
    if np.isinf(ahead).any() or (ahead < 0).any():
        raise Finding(f"predicts {ahead}")


def _study(rng: np.random.Generator) -> pd.DataFrame:
    """Return a simulated study of a few sizes, seeds and records."""
    n_sizes = int(rng.integers(1, 7))
    return make_trajectories(
        gamma1=float(rng.choice([0.1, 0.5, 1.0])),
        gamma2=float(rng.choice([0.3, 1.0])),
        train_sizes=tuple(int(100 * 2**k) for k in range(n_sizes)),
        n_seeds=int(rng.integers(1, 4)),
        n_records=int(rng.choice([8, 15, 40])),
        n_test=one(rng, (None, 100, 10_000)),
        run_sd=one(rng, (0.0, 0.02, 0.5)),
        ar_sd=one(rng, (0.0, 0.02, 0.3)),
        random_state=rng,
    )


def _small(rng: np.random.Generator) -> pd.DataFrame:
    """Return a table of few rows, whose values may be constant, tiny or huge."""
    n_runs, n_rows = int(rng.integers(0, 6)), int(rng.integers(1, 20))
    rows = []
    for run in range(n_runs):
        norm = np.linspace(0, one(rng, (0.0, 1e-12, 1.0, 10.0, 1e4)), n_rows)
        error = one(
            rng,
            (
                np.full(n_rows, one(rng, (0.0, 0.1, 1.0, 1e-300))),
                np.clip(np.exp(-0.5 * norm), 0, 1),
                rng.random(n_rows),
                np.geomspace(1, 1e-300, n_rows),
            ),
        )
        part = pd.DataFrame({"epoch": np.arange(n_rows, dtype=float)})
        part["train_size"] = one(rng, (run + 1, 100 * 2**run, 2**62))
        part["seed"], part["log_spectral_complexity"] = run, norm
        rows.append(part.assign(test_error=error))
    columns = ["epoch", "train_size", "seed", "log_spectral_complexity", "test_error"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def _mutated(rng: np.random.Generator, table: pd.DataFrame) -> Any:
    """Return the table with up to three things wrong, or nearly so."""
    for _ in range(one(rng, (0, 0, 0, 1, 1, 2, 3))):
        table = one(rng, _WAYS)(rng, table)
    return table


def _cells(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return table
    table = table.copy()
    name = one(rng, list(table.columns))
    column = table[name].astype(object)
    for row in rng.integers(0, len(table), int(rng.integers(1, 4))):
        column.iloc[int(row)] = odd(rng)
    table[name] = column if rng.random() < 0.5 else column.infer_objects()
    return table


def _numbers(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    name = one(rng, ["test_error", "log_spectral_complexity", "epoch"])
    if name not in table or not pd.api.types.is_numeric_dtype(table[name]):
        return table
    scale = one(rng, (0.0, -1.0, 1e-300, 1e-8, 100.0, 1e3, 1e300))
    shift = one(rng, (0.0, 0.0, 1e-12, -5.0, 1e4))
    with np.errstate(over="ignore", invalid="ignore"):
        return table.assign(**{name: table[name] * scale + shift})


def _kind(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    name = one(rng, list(table.columns))
    kinds = ("str", "object", "float32", "category", "Int64", "Float64", "int8", "bool",
             "complex128", "string", "datetime64[ns]", "float16", "uint64")  # fmt: skip
    try:
        with np.errstate(all="ignore"):
            return table.astype({name: one(rng, kinds)})
    except (TypeError, ValueError, ArithmeticError):
        return table


def _columns(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    names = list(table.columns)
    way = int(rng.integers(5))
    if way == 0:
        return table.drop(columns=one(rng, names))
    if way == 1:
        other = one(rng, ("model", "log_l1", "n_test", "step", "log_norm_opt", 3, "",
                          "error", "log_norm", "log_error", "in_window", "l1", "run",
                          "log10_l1", ("a", "b"), None))  # fmt: skip
        return table.assign(new=odd_column(rng, len(table))).rename(
            columns={"new": other}
        )
    if way == 2:
        return table.rename(columns={one(rng, names): one(rng, names)})
    if way == 3:
        return table[[*rng.permutation(names)]]
    return pd.concat([table, table[[one(rng, names)]]], axis=1)


def odd_column(rng: np.random.Generator, n_rows: int) -> Any:
    """Return a column of one odd value, of several, or of numbers."""
    if rng.random() < 0.4:
        return rng.normal(size=n_rows)
    if rng.random() < 0.5:
        return pd.Series([odd(rng)] * n_rows, dtype=object).to_numpy()
    column = np.empty(n_rows, dtype=object)
    column[:] = [odd(rng) for _ in range(n_rows)]
    return column


def _rows(rng: np.random.Generator, table: pd.DataFrame) -> pd.DataFrame:
    way = int(rng.integers(5))
    if way == 0:
        return table.sample(frac=1.0, random_state=int(rng.integers(2**31)))
    if way == 1:
        return pd.concat([table, table.iloc[: int(rng.integers(1, 5))]])
    if way == 2:
        return table.iloc[: int(rng.integers(0, 20))]
    if way == 3:
        return table.set_axis(rng.permutation(len(table)).astype(str))
    return table[rng.random(len(table)) < 0.3]


_WAYS = (_cells, _numbers, _kind, _columns, _rows)
