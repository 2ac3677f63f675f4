"""A step whose launches on a GPU are recorded once and repeated: where there are many small ones, starting them takes the time."""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch

WARM_UP = 2  # steps before the recording, in which libraries make their plans and take their workspaces

RECORDING = threading.Lock()
"""Held while a step is recorded: of other threads, none may record, nor hand back the memory that PyTorch keeps."""

Outputs = TypeVar("Outputs")


def recorded(step: Callable[[], Outputs], device: torch.device) -> Callable[[], Outputs]:
    """The same step as one CUDA graph.

    Args:
        step: Works on the same tensors in the same way at every call, without waiting for the device. What it changes is changed by
            its :data:`WARM_UP` calls here as well.
        device: A GPU.

    Returns:
        A step that overwrites and returns the same outputs at every call.
    """
    stream = _side_stream(device)
    with RECORDING:
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = step()

    def repeat() -> Outputs:
        graph.replay()
        return outputs

    return repeat


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings: libraries keep 32 MB or more for every stream that they have ever worked on."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
