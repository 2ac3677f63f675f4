"""Many things to be done, by whoever is free: what is done comes back as it is done, what others have in work comes last."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from untrained_recon.errors import WorkerError

T = TypeVar("T")

Do = Callable[[Any, str], Any]
"""Does something for an item, on a device; an empty name leaves the device to the function. None where another process, of this
command or another one, has the item in work. Items are pickled, and ``str`` says what they are."""

Submit = Callable[[Do, Any], "Future[Any]"]
"""Has it done by a worker."""

Engine = Callable[[], AbstractContextManager[Submit]]
"""Starts workers, see :func:`untrained_recon.workers.local.on_devices`; called only where there is something to do."""

POLL_S = 0.5


def share_out(engine: Engine, do: Do, items: Iterable[T], is_free: Callable[[T], bool]) -> Iterator[tuple[T, Any]]:
    """Have something done for each item.

    Args:
        engine: Who does it.
        do: What; a function that workers find by its name.
        items: For what.
        is_free: Whether nobody has an item in work, asked now and then of those that somebody had.

    Yields:
        Each item with what came of it, an exception where its workers died or could not keep what they made.

    Raises:
        WorkerError: The workers are gone.
    """
    with engine() as submit:
        running = {submit(do, item): item for item in items}
        elsewhere: list[T] = []
        while running or elsewhere:
            for future in _finished(running, POLL_S if elsewhere else None):
                item = running.pop(future)
                result = _result(future)
                if result is None:
                    elsewhere.append(item)
                else:
                    yield item, result
            free = [item for item in elsewhere if is_free(item)]
            elsewhere = [item for item in elsewhere if item not in free]
            running |= {submit(do, item): item for item in free}


def one_by_one(do: Callable[[T], Any], items: Iterable[T], is_free: Callable[[T], bool]) -> Iterator[tuple[T, Any]]:
    """As :func:`share_out`, in this process; an item is taken when the one before is done, and errors are raised."""
    elsewhere = []
    for item in items:
        if (result := do(item)) is None:
            elsewhere.append(item)
        else:
            yield item, result
    while elsewhere:
        if not is_free(elsewhere[0]):
            time.sleep(POLL_S)
        elif (result := do(item := elsewhere.pop(0))) is None:
            elsewhere.append(item)
        else:
            yield item, result


def _finished(running: "Iterable[Future[Any]]", seconds: float | None) -> "set[Future[Any]]":
    if not running:
        time.sleep(POLL_S)
        return set()
    return wait(running, seconds, return_when=FIRST_COMPLETED).done


def _result(future: "Future[Any]") -> Any:
    try:
        return future.result()
    except CancelledError as error:
        raise WorkerError("the workers are gone; what was finished is kept, run it again for the rest") from error
    except Exception as error:
        return error
