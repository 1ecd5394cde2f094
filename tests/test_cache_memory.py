"""What is remembered of files: found again under the same stamp only, whoever else writes into the memory."""

from __future__ import annotations

from pathlib import Path

from cache.memory import FileMemory


def test_two_memories_of_other_answers_share_a_file_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "memory.jsonl"
    a, b = FileMemory(path, "a"), FileMemory(path, "b")
    a.keep("/x", [1, 2, 3], "one")
    b.keep("/x", [1, 2, 3], {"two": 2})
    with path.open("ab") as file:
        file.write(b'\n{"path": "/x", "stat": [1, 2, 3], "a": "tor')
    assert FileMemory(path, "a").recall("/x", [1, 2, 3]) == "one"
    assert FileMemory(path, "b").recall("/x", [1, 2, 3]) == {"two": 2}
    assert FileMemory(path, "b").recall("/x", [1, 2, 4]) is None
    assert FileMemory(path, "b").recall("/y", [1, 2, 3]) is None
