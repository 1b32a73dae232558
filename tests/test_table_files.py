"""Files of tables keep every bit, and say so when they have lost one."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from scalinglaw import (
    check_trajectories,
    concat_trajectories,
    read_trajectories,
    write_trajectories,
)

from .test_trajectories import make_table


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_gives_back_every_bit(tmp_path, ending):
    rng = np.random.default_rng(0)
    table = make_table(model="007", note="a,b\nc")
    table["log_frobenius"] = rng.normal(size=len(table)) * 1e-7
    table.loc[0, "log_frobenius"] = -np.inf
    table["test_error"] = rng.uniform(size=len(table)) / 3
    write_trajectories(table, tmp_path / f"table.{ending}")
    assert_frame_equal(
        read_trajectories(tmp_path / f"table.{ending}"),
        check_trajectories(table),
        check_exact=True,
        check_dtype=True,
    )


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_gives_back_every_name_of_a_model(tmp_path, ending):
    names = ["NA", "None", "nan", "null", "007", " 1.50 ", "a\r\nb", '"', "N/A"]
    table = concat_trajectories({name: make_table() for name in names})
    table["log_norm_opt"] = np.where(table["train_size"] == 100, 5.0, np.nan)
    write_trajectories(table, tmp_path / f"table.{ending}")
    read = read_trajectories(tmp_path / f"table.{ending}")
    assert_frame_equal(read, table, check_exact=True)


def test_csv_has_no_empty_names(tmp_path):
    table = make_table(model="")
    write_trajectories(table, tmp_path / "table.parquet")
    assert (read_trajectories(tmp_path / "table.parquet")["model"] == "").all()
    with pytest.raises(ValueError, match="model must not be empty in a CSV file"):
        write_trajectories(table, tmp_path / "table.csv")
    table.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueError, match="a missing value in row 0"):
        read_trajectories(tmp_path / "own.csv")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_file_has_the_mode_that_open_gives(tmp_path, ending):
    def mode(path):
        return path.stat().st_mode & 0o777

    path, plain = tmp_path / f"table.{ending}", tmp_path / "plain"
    before = os.umask(0o027)
    try:
        write_trajectories(make_table(), path)
        plain.open("w").close()
        assert mode(path) == mode(plain) == 0o640
        # Neither does open() take away what an old file allows.
        path.chmod(0o664)
        write_trajectories(make_table(), path)
        assert mode(path) == 0o664
    finally:
        os.umask(before)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_trajectories(make_table(), path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_trajectories(make_table(seeds=(3,)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_an_invalid_table_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="must lie in"):
        write_trajectories(make_table(test_error=50.0), tmp_path / "table.csv")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_tables_are_named(tmp_path):
    for name in ("broken.parquet", "broken.csv"):
        (tmp_path / name).write_bytes(b'PAR1"\x00\xff not a table')
        with pytest.raises(ValueError, match=f"{name} is not a readable"):
            read_trajectories(tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in .parquet or .csv, got 't.pkl'"):
        read_trajectories(tmp_path / "t.pkl")
    with pytest.raises(FileNotFoundError):
        read_trajectories(tmp_path / "missing.csv")


BROKEN_CSV = {
    "names there twice": (
        lambda rows: ["test_error," + rows[0], *("0.5," + row for row in rows[1:])],
        "two columns named 'test_error'",
    ),
    "the index of a DataFrame": (
        lambda rows: ["," + rows[0], *(f"{i},{row}" for i, row in enumerate(rows[1:]))],
        "column 1 has no name.*index=False",
    ),
    "a comma at the end of each row": (
        lambda rows: [rows[0], *(row + "," for row in rows[1:])],
        r"row 2 \(line 2\) has 10 cells under 9 names",
    ),
    "a row that was cut": (
        lambda rows: [*rows[:7], rows[7][:20], *rows[8:]],
        r"row 8 \(line 8\) has 5 cells under 9 names",
    ),
    "a header without end": (
        lambda rows: [",".join(map(str, range(20_000)))],
        "20000 columns, of 10000 at most",
    ),
    "nothing": (lambda rows: [], "is empty"),
    "a quote without end": (lambda rows: [*rows, '"' + "x" * 200_000], "field limit"),
}


@pytest.mark.parametrize("rule", BROKEN_CSV)
def test_a_csv_is_refused_by_row_and_not_repaired(tmp_path, rule):
    spoil, message = BROKEN_CSV[rule]
    rows = make_table().to_csv(index=False).splitlines()
    path = tmp_path / "table.csv"
    path.write_text("\n".join(spoil(rows)))
    with pytest.raises(
        ValueError, match=rf"(?s)table.csv is not a readable.*{message}"
    ):
        read_trajectories(path)


def test_a_csv_of_a_spreadsheet_has_a_mark_and_empty_lines(tmp_path):
    path = tmp_path / "table.csv"
    text = make_table().to_csv(index=False, lineterminator="\r\n\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert_frame_equal(read_trajectories(path), make_table())


def test_any_flipped_bit_of_a_parquet_file_is_noticed(tmp_path):
    path = tmp_path / "table.parquet"
    table = make_table(note="mine", model="cnn")
    write_trajectories(table, path)
    good = path.read_bytes()
    for k in [*range(0, len(good), 23), *range(len(good) - 9, len(good))]:
        path.write_bytes(good[:k] + bytes([good[k] ^ (1 << k % 8)]) + good[k + 1 :])
        try:
            read = read_trajectories(path)
        except ValueError as error:
            assert "table.parquet is not a readable .parquet table" in str(error)  # noqa: PT017
        else:
            assert_frame_equal(read, table[read.columns])
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="is not a readable"):
        read_trajectories(path)


def test_a_flipped_bit_of_another_writers_pages_is_noticed_by_its_checksums(tmp_path):
    path = tmp_path / "table.parquet"
    table = make_table(note=np.arange(20) / 7)
    table.to_parquet(path, index=False, write_page_checksum=True, compression=None)
    good = path.read_bytes()
    place = good.index(np.float64(3 / 7).tobytes())
    path.write_bytes(good[:place] + b"\x55" + good[place + 1 :])
    with pytest.raises(ValueError, match=r"not a readable.*[Cc][Rr][Cc]"):
        read_trajectories(path)
    path.write_bytes(good)
    assert_frame_equal(read_trajectories(path), table)


@pytest.mark.parametrize("name", ["note", "log_rms"])
def test_a_small_file_does_not_fill_memory(tmp_path, name):
    value = "x" * 100_000 if name == "note" else 1.0
    n_rows = 20_000 if name == "note" else 150_000_000
    column = pa.chunked_array([pa.repeat(value, n_rows // 100)] * 100)
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({name: column}), path)
    assert path.stat().st_size < 2_000_000
    with pytest.raises(ValueError, match="it was made to fill memory"):
        read_trajectories(path)


def test_attributes_of_a_table_are_kept_in_parquet(tmp_path):
    table = check_trajectories(make_table())
    table.attrs = {"source": "mine"}
    write_trajectories(table, tmp_path / "table.parquet")
    assert read_trajectories(tmp_path / "table.parquet").attrs == table.attrs
