"""``scalinglaw compare``: are the exponents of several tables the same?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from ._output import (
    comparison_to_dict,
    in_options,
    print_json,
    print_summary,
    spoken_warnings,
)
from ._tables import (
    BatchSize,
    Columns,
    Json,
    Metric,
    Norm,
    Pattern,
    Tables,
    make_law,
    read_table,
)

__all__ = ["compare"]


def compare(
    tables: Tables,
    exponent: Annotated[
        str, typer.Option(help="gamma1, gamma2, gamma_predicted or gamma_measured.")
    ] = "gamma_predicted",
    norm: Norm = None,
    metric: Metric = "test_error",
    correction: Annotated[
        str, typer.Option(help="Multiplicity: holm, none ...")
    ] = "holm",
    margin: Annotated[
        float | None, typer.Option(help="Also test equivalence within this margin.")
    ] = None,
    include_unresolved: Annotated[
        bool, typer.Option(help="Also test exponents that are not resolved.")
    ] = False,
    pattern: Pattern = None,
    columns: Columns = None,
    batch_size: BatchSize = None,
    json: Json = False,
) -> None:
    """Compare one exponent between models, with adjusted p-values.

    TABLES are one per model, or one with a model column.

    Examples
    --------
        scalinglaw compare cnn.parquet vit.parquet

        scalinglaw compare study.parquet --exponent gamma_measured --margin 0.05
    """
    from ..laws import compare_exponents

    with spoken_warnings():
        models = _models(
            tables, pattern=pattern, columns=columns, batch_size=batch_size
        )
        laws = {
            name: make_law(table, norm=norm, metric=metric).fit(table)
            for name, table in models.items()
        }
        found = compare_exponents(
            laws,
            exponent,
            correction=correction,
            margin=margin,
            include_unresolved=include_unresolved,
        )
    if json:
        print_json(comparison_to_dict(found))
        return
    print_summary("", found.summary(), in_options)


def _models(paths: list[Path], **reading: Any) -> dict[str, pd.DataFrame]:
    """Return one table per model, named by its column or its file."""
    models: dict[str, pd.DataFrame] = {}
    for path in paths:
        table = read_table([path], **reading)
        if "model" in table:
            parts = {str(n): part for n, part in table.groupby("model", sort=False)}
        else:
            parts = {path.stem: table}
        for name, part in parts.items():
            if name in models:
                raise ValueError(
                    f"two tables are named {name!r}: rename one of the files."
                )
            models[name] = part
    return models
