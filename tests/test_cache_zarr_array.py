"""Bare rows in a file: what lies there byte for byte, which blocks a reading touches, and damage in each place."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from cache import zarr_array
from cache.zarr_array import Rows, faults_of_array, read_array, row_bytes, write_array

DIMS = ("time", "feature")
BLOCK = 256  # rows of a block


def some(rows: int, width: int = 7, dtype: str = "float16") -> NDArray[Any]:
    return np.random.default_rng(rows).normal(size=(rows, width)).astype(dtype)


def read(folder: Path, rows: Rows, start: int, stop: int) -> NDArray[Any]:
    group = os.open(folder, os.O_RDONLY)
    try:
        return read_array(group, "values", rows, start, stop)
    finally:
        os.close(group)


def crc32c_by_hand(data: bytes) -> int:
    """Bit by bit, as RFC 3720 has it."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """[start, stop) in bytes of every reading."""
    seen: list[tuple[int, int]] = []
    preadv, sendfile = os.preadv, os.sendfile

    def sent(into: int, handle: int, offset: int, most: int) -> int:
        count = sendfile(into, handle, offset, most)
        seen.append((offset, offset + count))
        return count

    monkeypatch.setattr(os, "sendfile", sent)

    def counted(handle: int, buffers: list[memoryview], offset: int) -> int:
        count = preadv(handle, buffers, offset)
        seen.append((offset, offset + count))
        return count

    monkeypatch.setattr(os, "preadv", counted)
    return seen


def test_the_file_is_the_rows_and_one_checksum(tmp_path: Path) -> None:
    array = some(3, 2)
    rows = write_array(tmp_path / "values", array, DIMS)
    assert rows.checksums == (crc32c_by_hand(array.tobytes()),)
    content = (tmp_path / "values" / "c.0.0").read_bytes()
    assert content == array.tobytes() + rows.checksums[0].to_bytes(4, "little")
    assert crc32c_by_hand(b"123456789") == 0xE3069283  # the check value of the polynomial


def test_checksums_are_of_all_bytes_up_to_the_end_of_each_block(tmp_path: Path) -> None:
    array = some(2 * BLOCK + 13)
    rows = write_array(tmp_path / "values", array, DIMS)
    ends = (BLOCK, 2 * BLOCK, len(array))
    assert rows.checksums == tuple(google_crc32c.value(array[:end].tobytes()) for end in ends)
    assert Rows.from_attributes(rows.attributes()) == rows


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_rows_come_back_to_zarr_and_to_us(tmp_path: Path, dtype: str, count: int) -> None:
    array = some(count, dtype=dtype)
    rows = write_array(tmp_path / "values", array, DIMS)
    plain = zarr.open_array(tmp_path / "values", mode="r")
    assert plain.metadata.dimension_names == DIMS
    for back in (np.asarray(plain[:]), read(tmp_path, rows, 0, count)):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
    assert faults_of_array(tmp_path, "values", rows, DIMS) == []


def test_one_dimension_and_other_orders_of_bytes_and_memory(tmp_path: Path) -> None:
    for name, array in {
        "line": np.arange(11),
        "big": some(11).astype(">f2"),
        "columns": np.asfortranarray(some(11)),
        "strided": some(22)[::2],
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        rows = write_array(folder / "values", array, DIMS[: array.ndim])
        np.testing.assert_array_equal(read(folder, rows, 0, 11), array)


@pytest.mark.parametrize("width", [7, 517], ids=["copied", "mapped"])
def test_a_part_reads_its_blocks_and_no_other(tmp_path: Path, reads: list[tuple[int, int]], width: int) -> None:
    array = some(5 * BLOCK + 17, width)
    rows = write_array(tmp_path / "values", array, DIMS)
    row = rows.row_bytes
    for start, stop, first, last in (
        (0, 1, 0, BLOCK),
        (BLOCK, 2 * BLOCK, BLOCK, 2 * BLOCK),
        (2 * BLOCK - 1, 2 * BLOCK + 1, BLOCK, 3 * BLOCK),
        (4 * BLOCK + 3, 4 * BLOCK + 5, 4 * BLOCK, 5 * BLOCK),
    ):
        reads.clear()
        np.testing.assert_array_equal(read(tmp_path, rows, start, stop), array[start:stop])
        assert (min(reads)[0], max(reads)[1]) == (first * row, last * row)
        assert sum(stop - start for start, stop in reads) == (last - first) * row
    reads.clear()
    assert read(tmp_path, rows, 7, 7).shape == (0, width)
    assert read(tmp_path, rows, 9, 3).shape == (0, width)
    assert reads == []


@pytest.mark.parametrize("width", [7, 517], ids=["copied", "mapped"])
def test_every_byte_is_looked_at_once_and_nothing_can_be_changed(
    tmp_path: Path, reads: list[tuple[int, int]], width: int
) -> None:
    array = some(BLOCK + 3, width)
    rows = write_array(tmp_path / "values", array, DIMS)
    back = read(tmp_path, rows, 0, len(array))
    assert sum(stop - start for start, stop in reads) == array.nbytes + 4
    assert not back.flags.writeable
    (tmp_path / "values" / "c.0.0").unlink()  # what is mapped stays, as long as somebody looks at it
    np.testing.assert_array_equal(back, array)


def test_without_room_for_another_mapping_rows_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = some(BLOCK + 3, 512)
    rows = write_array(tmp_path / "values", array, DIMS)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", full)
    back = read(tmp_path, rows, 0, len(array))
    np.testing.assert_array_equal(back, array)
    assert not back.flags.writeable


def test_where_a_file_can_t_be_sent_it_is_read_and_a_failing_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[tuple[int, int]]
) -> None:
    array = some(3 * BLOCK + 3, 517)
    rows = write_array(tmp_path / "values", array, DIMS)

    def fails(number: int) -> Any:
        def sendfile(*_: Any) -> int:
            raise OSError(number, os.strerror(number))

        return sendfile

    monkeypatch.setattr(os, "sendfile", fails(errno.EINVAL))
    np.testing.assert_array_equal(read(tmp_path, rows, 0, len(array)), array)
    assert sum(stop - start for start, stop in reads) == array.nbytes + 4
    monkeypatch.setattr(os, "sendfile", fails(errno.EIO))
    with pytest.raises(OSError, match=r"Input/output error"):
        read(tmp_path, rows, 0, len(array))


def test_short_writes_and_reads_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = some(BLOCK + 3)
    write, preadv = os.write, os.preadv
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:997]))
    monkeypatch.setattr(os, "preadv", lambda handle, into, offset: preadv(handle, [into[0][:499]], offset))
    rows = write_array(tmp_path / "values", array, DIMS)
    np.testing.assert_array_equal(read(tmp_path, rows, 0, len(array)), array)


@pytest.mark.parametrize("width", [7, 517], ids=["copied", "mapped"])
def test_a_flipped_bit_in_any_block_is_named_and_hurts_no_other(tmp_path: Path, width: int) -> None:
    array = some(3 * BLOCK + 5, width)
    rows = write_array(tmp_path / "values", array, DIMS)
    file = tmp_path / "values" / "c.0.0"
    sound = file.read_bytes()
    for block in range(4):
        content = bytearray(sound)
        content[block * BLOCK * rows.row_bytes] ^= 0x10
        file.write_bytes(content)
        for other in range(4):
            start, stop = other * BLOCK, min((other + 1) * BLOCK, len(array))
            if other == block:
                with pytest.raises(ValueError, match=rf"checksum of rows \[{start}, {stop}\) of values is wrong"):
                    read(tmp_path, rows, start, stop)
            else:
                np.testing.assert_array_equal(read(tmp_path, rows, start, stop), array[start:stop])
        with pytest.raises(ValueError, match=r"checksum of rows .* of values is wrong"):
            read(tmp_path, rows, 0, len(array))
        with pytest.raises(ValueError, match="checksum"):
            zarr.open_array(tmp_path / "values", mode="r")[:]
    content = bytearray(sound)
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="checksum at the end of values is wrong"):
        read(tmp_path, rows, 3 * BLOCK, len(array))


def test_a_file_of_another_length_is_refused_before_it_is_read(tmp_path: Path, reads: list[tuple[int, int]]) -> None:
    array = some(BLOCK + 5)
    rows = write_array(tmp_path / "values", array, DIMS)
    file = tmp_path / "values" / "c.0.0"
    sound = file.read_bytes()
    for content in (b"", sound[:-1], sound + b"\0"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"rows of values take {len(content)} bytes, wanted {len(sound)}"):
            read(tmp_path, rows, 0, 1)
    assert reads == []


def test_a_file_that_ends_while_it_is_read_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write_array(tmp_path / "values", some(5), DIMS)
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with pytest.raises(ValueError, match="the file ends at byte 0"):
        read(tmp_path, rows, 0, 5)


def test_another_text_and_foreign_files_are_named(tmp_path: Path) -> None:
    rows = write_array(tmp_path / "values", some(5), DIMS)
    (tmp_path / "values" / "c.1.0").write_bytes(b"")
    assert faults_of_array(tmp_path, "values", rows, DIMS) == ["values/c.1.0 does not belong there"]
    (tmp_path / "values" / "c.1.0").unlink()
    for text, said in (("{", "can't be read"), ("{}", "describes another array")):
        (tmp_path / "values" / "zarr.json").write_text(text, encoding="utf-8")
        (fault,) = faults_of_array(tmp_path, "values", rows, DIMS)
        assert said in fault


def test_rows_that_can_t_be_are_refused() -> None:
    with pytest.raises(ValueError, match="dtype is 'int8'; wanted one of float16"):
        Rows("int8", (3, 2), 5, (1,))
    for shape, block_rows in (((-1, 2), 5), ((), 5), ((3, 2), 0)):
        with pytest.raises(ValueError, match="wanted rows, and blocks of 1 or more"):
            Rows("float16", shape, block_rows, (1,))
    with pytest.raises(ValueError, match="2 checksums for 3 blocks of 5 rows"):
        Rows("float16", (11, 2), 5, (1, 2))


def test_a_row_s_bytes() -> None:
    assert row_bytes(np.dtype("float16"), (13, 7)) == 14
    assert row_bytes(np.dtype("int64"), (13,)) == 8
    assert zarr_array._BLOCK_ROWS == BLOCK
