"""``scalinglaw compare``: are the exponents of several tables the same?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from .output import print_json, print_table, read_any, spoken_warnings

__all__ = ["compare"]


def compare(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Tables, one per model; or one with a model column."),
    ],
    exponent: Annotated[
        str, typer.Option(help="gamma1, gamma2, gamma_predicted or gamma_measured.")
    ] = "gamma_predicted",
    norm: Annotated[
        str, typer.Option(help="Norm: the column log_<norm>.")
    ] = "spectral_complexity",
    metric: Annotated[str, typer.Option(help="Column of the error.")] = "test_error",
    correction: Annotated[
        str, typer.Option(help="Multiplicity: holm, none ...")
    ] = "holm",
    margin: Annotated[
        float | None, typer.Option(help="Also test equivalence within this margin.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object.")
    ] = False,
) -> None:
    """Compare one exponent between models, with adjusted p-values.

    Examples
    --------
        scalinglaw compare cnn.parquet vit.parquet

        scalinglaw compare study.parquet --exponent gamma_measured --margin 0.05
    """
    from ..laws import ScalingLawEstimator, compare_exponents

    laws = {}
    with spoken_warnings():
        for name, table in _models(tables).items():
            laws[name] = ScalingLawEstimator(norm, metric=metric).fit(table)
        found = compare_exponents(laws, exponent, correction=correction, margin=margin)
    pairs = found.differences.copy()
    pairs.index = [f"{first} - {second}" for first, second in pairs.index]
    if json:
        print_json(
            {
                "exponent": exponent,
                "exponents": found.exponents.T.to_dict(),
                "differences": pairs.T.to_dict(),
                "homogeneity": found.homogeneity,
                "correction": correction,
            }
        )
        return
    print_table(found.exponents, exponent, "model")
    print_table(pairs, f"Differences ({correction} adjusted)", "pair")
    test = found.homogeneity
    Console().print(
        f"All equal: F({test['df_num']:.0f}, {test['df_denom']:.1f}) = "
        f"{test['statistic']:.2f}, p = {test['p_value']:.3g}"
    )


def _models(paths: list[Path]) -> dict[str, pd.DataFrame]:
    """Return one table per model, named by its column or its file."""
    models: dict[str, pd.DataFrame] = {}
    for path in paths:
        table = read_any(path)
        if "model" in table:
            parts = {
                str(name): part for name, part in table.groupby("model", sort=False)
            }
        else:
            parts = {path.stem: table}
        for name, part in parts.items():
            if name in models:
                raise ValueError(
                    f"two tables are named {name!r}: rename one of the files."
                )
            models[name] = part
    return models
