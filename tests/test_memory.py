from pathlib import Path

import pytest

from untrained_recon import memory
from untrained_recon.memory import free_memory, gib, usable_memory

GIB = 1 << 30


def test_what_is_free_is_part_of_what_is_usable() -> None:
    assert 0 < free_memory() <= usable_memory() < 1 << 50
    assert gib(3 << 29) == "1.50 GiB"


@pytest.mark.parametrize(
    ("limit", "taken", "files", "free"),
    [("2147483648", "1610612736", 0, GIB // 2), ("2147483648", "1610612736", GIB, 3 * GIB // 2), ("1048576", "9999999999", 0, 0)],
)
def test_a_control_group_bounds_both_and_files_that_can_be_dropped_are_free(
    limit: str, taken: str, files: int, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text(taken)
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {files}\nactive_file 0\n")
    monkeypatch.setattr(memory, "_places", lambda: [(tmp_path, "memory.max", "memory.current")])
    assert usable_memory() == int(limit)
    assert free_memory() == free
    (tmp_path / "memory.max").write_text("max")
    assert usable_memory() > GIB
