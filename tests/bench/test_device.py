import pytest
import torch

from untrained_recon.bench.device import device_name, matmul_peak, peak_memory

CPU = torch.device("cpu")


def test_measuring_the_peak_leaves_the_precision_of_matrix_products_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("untrained_recon.bench.device.MATMUL_SIZE", {"cpu": 16})
    before = torch.get_float32_matmul_precision()
    assert matmul_peak(CPU, "tf32") > 0
    assert torch.get_float32_matmul_precision() == before


def test_peak_memory_sees_what_was_freed_again() -> None:
    pytest.importorskip("psutil")
    with peak_memory(CPU) as peak:
        before = peak()
        numbers = torch.ones(1 << 25)
        for _ in range(20):
            numbers.add_(1)
        del numbers
    assert before is not None
    assert (peak() or 0) - before > 0.9 * 4 * (1 << 25)
    assert device_name(CPU) == "cpu"
