"""CSVs as people and programs write them, and decimal times that stay what the text says."""

from __future__ import annotations

import csv
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.clock import Clock
from extract.exact import NoTime, exact_ticks
from extract.table import chosen_names, read_names, read_table


def table(folder: Path, text: str) -> Path:
    file = folder / "t.csv"
    file.write_bytes(text.encode())
    return file


@pytest.mark.parametrize(
    "text",
    [
        "time,a b,v\n0,1.5,-2\n1,,3e1\n",
        "\ufefftime, a b, v\r\n0, 1.5, -2\r\n1, , 3e1\r\n",  # OpenFace 2.0 puts a space after each comma
        "time;a b;v\r0;1.5;-2\r1;NaN;30\r",
        '"time"\t"a b"\t"v"\n"0"\t"1.5"\t"-2"\n"1"\t"nan"\t"30"\n\n\n',
        'time|a b|v\n 0 |"1.5"| -2 \n 1 | -nan(ind) | 30.0 ',  # as Microsoft's C library writes NaN
    ],
)
def test_one_table_in_the_forms_that_people_have(tmp_path: Path, text: str) -> None:
    file = table(tmp_path, text)
    found = read_table(file)
    assert (found.names, len(found)) == (("time", "a b", "v"), 2)
    assert found.texts("time") == ["0", "1"]
    np.testing.assert_array_equal(found.values(["v", "a b"]), [(-2, 1.5), (30, np.nan)])
    assert read_names(file) == found.names
    assert found.at(1) == f"{file}:3"


def test_a_large_table_is_read_as_python_reads_it(tmp_path: Path) -> None:
    numbers = np.random.default_rng(5).normal(size=(31, 7)) * 10.0 ** np.arange(-3, 4)
    rows = [[repr(float(value)) for value in row] for row in numbers]
    file = table(tmp_path, "\n".join([",".join("abcdefg"), *(", ".join(row) for row in rows)]))
    found = read_table(file).values(list("gacb"))
    with file.open(newline="") as handle:
        wanted = [[float(row[name]) for name in "gacb"] for row in csv.DictReader(handle)]
    np.testing.assert_array_equal(found, wanted)
    file.write_text(file.read_text().replace(rows[17][2], ""))  # the same, cell by cell
    wanted[17][2] = np.nan
    np.testing.assert_array_equal(read_table(file).values(list("gacb")), wanted)


def test_a_delimiter_is_found_outside_quotes_or_given(tmp_path: Path) -> None:
    file = table(tmp_path, '"x;y;z",b\n1,2\n')
    assert read_table(file).names == ("x;y;z", "b")
    file = table(tmp_path, "a;b,c\n1;2\n")
    assert read_table(file, ";").names == ("a", "b,c")
    assert read_names(file, ",") == ("a;b", "c")


def test_a_table_without_rows_has_none(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "time,a\n"))
    assert found.values(["a"]).shape == (0, 1)
    assert found.clock("time", "s") == Clock.explicit([], Fraction(1))


def test_names_are_found_in_any_case_unless_two_differ_by_case_alone(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "x_0,X_0,Valence\n1,2,3\n"))  # OpenFace has both: pixels and millimetres
    assert [found.index(name) for name in ("x_0", "X_0", "valence")] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"t\.csv:1 has no column 'valenc'; it has .* did you mean Valence\?"):
        found.index("valenc")
    with pytest.raises(ValueError, match=r"t\.csv:1 has 2 columns 'a'"):
        read_table(table(tmp_path, "a,a\n1,2\n")).index("a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv:1 is ''; wanted the names"),
        ("1,2\n3,4\n", r"t\.csv:1 holds numbers, 1, 2; wanted a first line with the names"),
        ("a,b\n1,2\n3\n", r"t\.csv:3 has 1 cells; line 1 has 2, by ','"),
        ('a,b\n"1,2"\n', r"t\.csv:2 has 1 cells; line 1 has 2"),
        ("a,b\n1,2\n\n3,4\n", r"t\.csv:3 is blank; wanted 2 cells"),
        ("a,b\n1,2\n1,low\n", r"t\.csv:3: b is 'low'; wanted a number, or nothing$"),
        ("a;b\n1;0,5\n", r"t\.csv:2: b is '0,5'; wanted a number, or nothing; write decimals with a point"),
    ],
)
def test_what_is_no_table_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = table(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        read_table(file).values(["b"])


def test_what_is_no_text_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes("a,ü\n1,2\n".encode("latin-1"))
    for read in (read_table, read_names):
        with pytest.raises(ValueError, match=r"t\.csv is no text in UTF-8 .* at byte 2\); save it as such"):
            read(file)


def test_blank_lines_between_rows_may_be_for_the_eye(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "a,b\n1,2\n\n3,4\n"), blank_lines=True)
    assert [found.at(row).rpartition(":")[2] for row in range(2)] == ["2", "4"]


def test_patterns_choose_columns_in_the_file_s_order(tmp_path: Path) -> None:
    names = ("frame", "AU12_r", "AU01_r", "AU01_c", "pose_Rx")
    file = tmp_path / "t.csv"
    assert chosen_names(file, names, None, ()) == names
    assert chosen_names(file, names, ("pose_Rx", "AU*_r"), ()) == ("AU12_r", "AU01_r", "pose_Rx")
    assert chosen_names(file, names, None, ("frame", "*_c")) == ("AU12_r", "AU01_r", "pose_Rx")
    with pytest.raises(ValueError, match=r"no column 'pose_Rz', which `columns` names; .* did you mean pose_Rx\?"):
        chosen_names(file, names, ("AU*_r", "pose_Rz"), ())
    with pytest.raises(ValueError, match=r"no column 'face_id', which `ignore` names"):
        chosen_names(file, names, None, ("face_id",))
    with pytest.raises(ValueError, match="no column left of frame"):
        chosen_names(file, names, ("AU*",), ("AU*",))


# ------------------------------------------------------------------------------------------------ times


@given(
    st.lists(
        st.decimals(-(10**6), 10**6, allow_nan=False, allow_infinity=False, places=7),
        min_size=1,
        max_size=23,
        unique=True,
    ),
    st.sampled_from(["s", "ms", "us"]),
)
def test_decimal_times_are_what_the_text_says(numbers: list[object], unit: str) -> None:
    texts = [str(number) for number in numbers]
    ticks, tick = exact_ticks(texts, unit)  # type: ignore[arg-type]
    scale = {"s": 1, "ms": 1000, "us": 10**6}[unit]
    assert [at * tick for at in ticks] == [Fraction(text) / scale for text in texts]


def test_times_in_the_forms_that_programs_write() -> None:
    ticks, tick = exact_ticks(["0 days 00:00:00", "0 days 00:00:00.020000", "1 days 01:02:03.5", "2:00:00"], "hms")
    assert [at * tick for at in ticks] == [0, Fraction(1, 50), Fraction(180247, 2), 7200]
    ticks, tick = exact_ticks(["1e-2", "3.30E1", "-0"], "ms")
    assert [at * tick for at in ticks] == [Fraction(1, 10**5), Fraction(33, 1000), 0]
    assert exact_ticks([], "s") == ([], Fraction(1))


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("", "s", "is ''; wanted a number of s"),
        ("nan", "s", "is 'nan'; wanted a number of s"),
        ("inf", "ms", "is 'inf'; wanted a number of ms"),
        ("1e999999", "s", "wanted a number of s of at most 18 digits"),
        ("1e-30", "s", "wanted a number of s of at most 18 digits"),
        ("0,04", "s", "write decimals with a point"),
        ("00:01", "s", "such times have the unit hms"),
        ("3.5", "hms", "wanted hours:minutes:seconds"),
        ("-1 days 23:00:00", "hms", "wanted hours:minutes:seconds"),
    ],
)
def test_what_is_no_time_says_which(text: str, unit: str, message: str) -> None:
    with pytest.raises(NoTime, match=re.escape(message)) as caught:
        exact_ticks(["0:00:00" if unit == "hms" else "0", text], unit)  # type: ignore[arg-type]
    assert caught.value.row == 1


def test_even_times_make_a_regular_clock_and_others_an_explicit_one(tmp_path: Path) -> None:
    even = read_table(table(tmp_path, "t,a\n" + "".join(f"{0.8 + i / 25:.2f},0\n" for i in range(1013)))).clock(
        "t", "s"
    )
    assert even.ticks is None
    assert even == Clock.regular(Fraction(1, 25), 1013, Fraction(4, 5))
    frames = [
        f"{i * 1001 / 30000:.3f}" for i in range(7)
    ]  # OpenFace rounds to the millisecond: its text is what counts
    uneven = read_table(table(tmp_path, "t,a\n" + "".join(f"{text},0\n" for text in frames))).clock("t", "s")
    assert uneven == Clock.explicit([0, 33, 67, 100, 133, 167, 200], Fraction(1, 1000))


def test_with_an_end_a_row_happens_in_the_middle(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "start,end\n0,0.025\n0.010,0.035\n0.02,0.1\n"))
    assert found.clock("start", "s", "end") == Clock.explicit([125, 225, 600], Fraction(1, 10**4))


def test_times_that_do_not_rise_are_named_with_their_lines(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "t,a\n0,0\n0.04,0\n0.04,1\n0.08,0\nx,0\n"))
    with pytest.raises(ValueError, match=r"t\.csv:4: t is 0\.04 s, in line 3 0\.04 s; times must rise"):
        found.clock("t", "s", rows=np.array([0, 1, 2]))
    assert len(found.clock("t", "s", rows=np.array([0, 2, 3]))) == 3
    with pytest.raises(ValueError, match=r"t\.csv:6: t is 'x'; wanted a number of s"):
        found.clock("t", "s", rows=np.array([0, 1, 4]))
    with pytest.raises(ValueError, match="too long or too fine for one clock"):
        read_table(table(tmp_path, "t,a\n0.000000000001,0\n99999999,0\n")).clock("t", "s")
