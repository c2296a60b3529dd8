"""The bundled digits and the reading of CSV and NPZ files."""

import doctest
import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vgcore import data


def write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_npz(folder: Path, **arrays: Any) -> Path:
    path = folder / "table.npz"
    np.savez(path, **arrays)
    return path


# The digits


def test_raw_digits_are_the_published_ones() -> None:
    x, y = data.digits(standardize=False)
    assert x.shape == (1797, 64)
    assert x.dtype == np.float64
    assert y.shape == (1797,)
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert x.sum() == 561718
    assert (
        hashlib.sha256(x.astype(np.uint8).tobytes()).hexdigest()
        == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert np.flatnonzero(np.ptp(x, axis=0) == 0).tolist() == [0, 32, 39]


def test_digits_are_standardized_by_one_mean_and_one_population_deviation() -> None:
    raw, raw_y = data.digits(standardize=False)
    x, y = data.digits()
    np.testing.assert_allclose(x, (raw - 4.884164579855314) / 6.016787548672236, rtol=1e-13)
    np.testing.assert_array_equal(y, raw_y)


def test_the_attribution_ships_beside_the_digits() -> None:
    notice = Path(data.__file__).with_name("digits.NOTICE.txt").read_text(encoding="utf-8")
    assert "10.24432/C50P49" in notice
    assert "CC BY 4.0" in notice


# CSV files that can be read


def test_the_last_column_is_the_target_by_default(tmp_path: Path) -> None:
    x, y = data.read(write(tmp_path, "a,b,label\n1,2,0\n3,4.5,1\n"))
    np.testing.assert_array_equal(x, [[1, 2], [3, 4.5]])
    np.testing.assert_array_equal(y, [0, 1])
    assert x.dtype == np.float64
    assert x.flags.c_contiguous
    assert y.dtype == np.int64


@pytest.mark.parametrize("target", ["b", 1, -2])
def test_the_target_is_a_name_or_an_index(tmp_path: Path, target: str | int) -> None:
    x, y = data.read(write(tmp_path, "a,b,c\n1,2,3\n4,5,6\n"), target=target)
    np.testing.assert_array_equal(x, [[1, 3], [4, 6]])
    np.testing.assert_array_equal(y, [2, 5])


def test_a_first_line_of_numbers_is_data(tmp_path: Path) -> None:
    x, y = data.read(write(tmp_path, "1,2,0\n3,4,1\n"), target=0)
    np.testing.assert_array_equal(x, [[2, 0], [4, 1]])
    np.testing.assert_array_equal(y, [1, 3])


def test_a_header_may_hold_some_numbers(tmp_path: Path) -> None:
    x, y = data.read(write(tmp_path, "0,1,label\n5,6,7\n"))
    np.testing.assert_array_equal(x, [[5, 6]])
    np.testing.assert_array_equal(y, [7])


def test_fractions_make_the_target_a_float_column(tmp_path: Path) -> None:
    _, y = data.read(write(tmp_path, "a,b\n1,2\n3,4.5\n"))
    np.testing.assert_array_equal(y, [[2], [4.5]])
    assert y.dtype == np.float64
    assert y.flags.c_contiguous


def test_whole_numbers_too_large_to_be_exact_stay_floats(tmp_path: Path) -> None:
    _, y = data.read(write(tmp_path, f"a,b\n1,{2**60}\n"))
    np.testing.assert_array_equal(y, [[2.0**60]])
    assert y.dtype == np.float64


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffa,b\n1,2\n",
        "a,b\n1,2\n\n  \n\n",
        "\na,b\n\n1,2",
        "a,b\r\n1,2\r\n",
        '"a","b"\n"1"," 2 "\n',
    ],
    ids=["byte order mark", "blank end", "blank lines", "carriage returns", "quotes"],
)
def test_harmless_variations_read_the_same(tmp_path: Path, content: str) -> None:
    x, y = data.read(write(tmp_path, content), target="b")
    assert x.tolist() == [[1]]
    assert y.tolist() == [2]


def test_paths_may_be_strings_and_extensions_upper_case(tmp_path: Path) -> None:
    x, _ = data.read(str(write(tmp_path, "a,b\n1,2\n", "TABLE.CSV")))
    assert x.tolist() == [[1]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
def test_commas_semicolons_and_tabs_separate_cells(tmp_path: Path, separator: str, *, header: bool) -> None:
    lines = ["a,b,c"] * header + ["1.5,2,0", "3,4,1"]
    x, y = data.read(write(tmp_path, "\n".join(lines).replace(",", separator)))
    assert x.tolist() == [[1.5, 2], [3, 4]]
    assert y.tolist() == [0, 1]


def test_a_separator_within_quotes_separates_nothing(tmp_path: Path) -> None:
    x, y = data.read(write(tmp_path, '"height; cm",label\n1.5,0\n'), target="height; cm")
    assert (x.tolist(), y.tolist()) == ([[0]], [[1.5]])


def test_a_file_for_tabs_has_an_ending_of_its_own(tmp_path: Path) -> None:
    assert data.read(write(tmp_path, "a\tb\n1\t2\n", "table.tsv"))[1].tolist() == [2]


@pytest.mark.parametrize(
    ("target", "content"), [("kind", "a,kind\n1,dog\n2, cat\n3,dog \n"), (0, "dog,1\ncat,2\ndog,3")]
)
def test_names_of_classes_get_ids_in_their_order(tmp_path: Path, target: str | int, content: str) -> None:
    x, y = data.read(write(tmp_path, content), target=target)
    assert x.tolist() == [[1], [2], [3]]
    assert y.tolist() == [1, 0, 1]
    assert y.dtype == np.int64


def test_a_first_line_with_a_class_that_others_have_is_data_and_one_that_none_has_is_a_header(tmp_path: Path) -> None:
    x, y = data.read(write(tmp_path, "5.1,3.5,setosa\n6,3,virginica\n4.9,3,setosa\n"))
    assert x.tolist() == [[5.1, 3.5], [6, 3], [4.9, 3]]
    assert y.tolist() == [0, 1, 0]
    x, y = data.read(write(tmp_path, "0,1,target\n5.1,3.5,setosa\n6,3,virginica\n"))
    assert x.tolist() == [[5.1, 3.5], [6, 3]]
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize("text", [io.StringIO, lambda content: io.TextIOWrapper(io.BytesIO(content.encode()))])
def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch, text: Callable[[str], Any]) -> None:
    monkeypatch.setattr("sys.stdin", text("\ufeffa;kind\n1;cat\n2;dog\n"))
    x, y = data.read("-", target="kind")
    assert (x.tolist(), y.tolist()) == ([[1], [2]], [0, 1])
    monkeypatch.setattr("sys.stdin", text(""))
    with pytest.raises(ValueError, match=r"^standard input is empty$"):
        data.read("-")


# CSV files that cannot


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("\ufeff", "is empty"),
        ("a,b\n", "has a header and no data"),
        ("a|b\n1|2\n", "line 1: one column; features and a target need two or more, separated by commas, semi"),
        ("a;b;c\n1;2\n", "line 2: 2 cells, expected 3 as in line 1"),
        ("a,b\n1,2\n3,red\n", "line 3, column 'b': 'red' is not a finite number"),
        ("1,2\n3,red\n", "line 2, column 1: 'red' is not a finite number"),
        ("a,b\n1,\n", "line 2, column 'b': '' is not a finite number"),
        (
            "a,b\nred,1\n",
            "line 2, column 'a': 'red' is not a finite number; write a column of words as numbers, one-hot",
        ),
        ("a,b\n1,red\n3,2\n", "line 3, column 'b': '2' is no name of a class as 'red' is"),
        ("a,b\n1,red\n3,\n", "line 3, column 'b': '' is no name of a class as 'red' is"),
        ("a;b\n1,5;2\n", "line 2, column 'a': '1,5' has a decimal comma; write a point"),
        ("1,5;0\n2,5;1\n", "line 1, column 0: '1,5' has a decimal comma; write a point"),
        ('a,b\n1,"-2,5e3"\n', "line 2, column 'b': '-2,5e3' has a decimal comma; write a point"),
        ("a;b\n1;1.234,5\n", "line 2, column 'b': '1.234,5' has a decimal comma; write a point"),
        ("a,b\n\nnan,2\n", "line 3, column 'a': 'nan' is not a finite number"),
        ("1,2\n3,-inf\n", "line 2, column 1: '-inf' is not a finite number"),
        ("nan,2\n", "line 1, column 0: 'nan' is not a finite number"),
        ("a,b\n1,1e999\n", "line 2, column 'b': '1e999' is not a finite number"),
        ("a,b,c\n1,2,3\n4,5\n", "line 3: 2 cells, expected 3 as in line 1"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, expected 2 as in line 1"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        (b"a,b\n1,\xe9\n", "is not UTF-8 text: byte 0xe9"),
        ("a,b\n1,2\n".encode("utf-16"), "is not UTF-8 text: byte 0xff"),
    ],
)
def test_a_bad_table_is_refused_and_the_place_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        data.read(path)
    assert str(path) in str(caught.value)


def test_a_long_bad_cell_is_shortened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a finite number") as caught:
        data.read(write(tmp_path, "a,b\n" + 10_000 * "x" + ",1"))
    assert len(str(caught.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (
            "size,label\n1,2\n",
            "lable",
            "has no column 'lable' (did you mean 'label'?); it has: size, label",
        ),
        ("size,label\n1,2\n", "zzz", "has no column 'zzz'; it has: size, label"),
        ("a,a,b\n1,2,3\n", "a", "has 2 columns 'a': give the index of one"),
        ("1,2\n", "label", "has no header, its first line holds numbers only"),
        ("a,b\n1,2\n", 2, "target must be an integer from -2 to 1, got 2"),
        ("a,b\n1,2\n", -3, "target must be an integer from -2 to 1, got -3"),
    ],
)
def test_an_unknown_target_is_refused_and_the_choices_listed(
    tmp_path: Path, content: str, target: str | int, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        data.read(write(tmp_path, content), target=target)


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    header = ",".join(f"pixel{i}" for i in range(64))
    path = write(tmp_path, f"{header}\n{','.join(64 * '0')}\n")
    with pytest.raises(ValueError, match=r"pixel19, \.\.\.$"):
        data.read(path, target="digit")


# NPZ files


def test_an_archive_gives_features_and_classes(tmp_path: Path) -> None:
    path = write_npz(tmp_path, x=np.eye(3, dtype=np.float32), y=np.arange(3, dtype=np.uint8))
    x, y = data.read(path)
    np.testing.assert_array_equal(x, np.eye(3))
    np.testing.assert_array_equal(y, [0, 1, 2])
    assert x.dtype == np.float64
    assert y.dtype == np.int64


def test_column_order_in_the_archive_becomes_row_order(tmp_path: Path) -> None:
    stored = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    x, _ = data.read(write_npz(tmp_path, x=stored, y=np.zeros(2)))
    np.testing.assert_array_equal(x, [[0, 1, 2], [3, 4, 5]])
    assert x.flags.c_contiguous


def test_the_target_names_an_array(tmp_path: Path) -> None:
    path = write_npz(tmp_path, x=np.eye(2), y=np.zeros(2), angle=np.array([0.5, 1]))
    _, y = data.read(path, target="angle")
    np.testing.assert_array_equal(y, [[0.5], [1]])


def test_one_column_is_read_as_a_vector_and_more_stay_a_matrix(tmp_path: Path) -> None:
    _, y = data.read(write_npz(tmp_path, x=np.eye(2), y=np.array([[3], [4]])))
    assert y.tolist() == [3, 4]
    _, y = data.read(write_npz(tmp_path, x=np.eye(2), y=np.array([[3, 4], [5, 6]])))
    assert y.tolist() == [[3, 4], [5, 6]]
    assert y.dtype == np.float64


def test_names_in_an_archive_get_ids_in_their_order(tmp_path: Path) -> None:
    for y in (np.array(["dog", "cat", "dog"]), np.array([[b"dog"], [b"cat"], [b"dog"]])):
        found = data.read(write_npz(tmp_path, x=np.eye(3), y=y))[1]
        assert found.tolist() == [1, 0, 1]
        assert found.dtype == np.int64


def test_the_bundled_archive_can_be_read_as_a_file() -> None:
    x, y = data.read(Path(data.__file__).with_name("digits.npz"))
    raw_x, raw_y = data.digits(standardize=False)
    np.testing.assert_array_equal(x, raw_x)
    np.testing.assert_array_equal(y, raw_y)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.eye(2), "y": np.zeros(2)}, "has no array 'x'; it has: X, y"),
        ({"x": np.eye(2), "labels": np.zeros(2)}, "has no array 'y'; it has: x, labels"),
        ({"x": np.eye(2, dtype=object), "y": np.zeros(2)}, "array 'x': expected real numbers, got object"),
        ({"x": np.array([["a"], ["b"]]), "y": np.zeros(2)}, "array 'x': expected real numbers, got <U1"),
        ({"x": np.eye(2), "y": np.array([["a", "b"]] * 2)}, "y must have one name of a class a row, got (2, 2)"),
        ({"x": np.eye(2), "y": np.array([1j, 2j])}, "array 'y': expected real numbers or names, got complex"),
        ({"x": np.eye(2) * 1j, "y": np.zeros(2)}, "array 'x': expected real numbers, got complex"),
        ({"x": np.zeros(2), "y": np.zeros(2)}, "x must have the shape (n, features) or (n, steps, features), got (2,)"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "x must have the shape (n, features)"),
        ({"x": np.eye(2), "y": np.zeros(3)}, "y must have the shape (2,) or (2, k)"),
        ({"x": np.zeros((1, 2)), "y": np.zeros(())}, "y must have the shape (1,) or (1, k)"),
        ({"x": np.eye(2), "y": np.zeros((2, 0))}, "y must have the shape (2,) or (2, k)"),
        (
            {"x": np.array([[0, 1], [np.nan, 0]]), "y": np.zeros(2)},
            "array 'x', index [1, 0]: nan is not a finite number",
        ),
        (
            {"x": np.eye(2), "y": np.array([0, -np.inf])},
            "array 'y', index [1]: -inf is not a finite number",
        ),
    ],
)
def test_a_bad_archive_is_refused_and_the_place_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    path = write_npz(tmp_path, **arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        data.read(path)
    assert str(path) in str(caught.value)


def test_an_unknown_array_is_refused_with_the_nearest_match(tmp_path: Path) -> None:
    path = write_npz(tmp_path, x=np.eye(2), label=np.zeros(2))
    with pytest.raises(ValueError, match=re.escape("'lable' (did you mean 'label'?)")):
        data.read(path, target="lable")


def test_an_archive_has_no_column_index(tmp_path: Path) -> None:
    path = write_npz(tmp_path, x=np.eye(2), y=np.zeros(2))
    with pytest.raises(ValueError, match="target must be the name of an array, got -1"):
        data.read(path, target=-1)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not a sound \.npz archive"):
        data.read(write(tmp_path, content, "table.npz"))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez_compressed(path, x=np.arange(1000.0).reshape(10, 100), y=np.zeros(10))
    content = bytearray(path.read_bytes())
    content[300:310] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        data.read(path)


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path, x=np.eye(2), y=np.zeros(2))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a sound \.npz archive"):
        data.read(path)


def test_a_member_that_is_no_array_is_not_one(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
    with pytest.raises(ValueError, match="has no array 'x'"):
        data.read(path)


# Both


@pytest.mark.parametrize("name", ["none.csv", "none.npz"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=re.escape(name)):
        data.read(path)


@pytest.mark.parametrize("name", ["table.parquet", "table", "table.csv.gz"])
def test_an_unknown_extension_is_refused_and_the_known_listed(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown extension .*; choose from: \.csv, \.tsv, \.npz"):
        data.read(name)


@pytest.mark.parametrize("function", [data.digits, data.read])
def test_the_docstring_examples_run(function: Any) -> None:
    result = doctest.testmod(sys.modules[function.__module__])
    assert result.attempted > 0
    assert result.failed == 0
