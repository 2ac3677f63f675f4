"""What happens to workers of a cluster."""

import os
import signal
from typing import Any


def kill_a_busy_worker(cluster: Any) -> int:
    """End the process of a worker of a ``distributed.LocalCluster`` that has something in work, as a lack of memory does.

    Returns:
        The process that was.
    """
    from distributed import Client

    with Client(cluster) as client:
        busy = next(address for address, keys in client.processing().items() if keys)
    pid: int = next(worker.pid for worker in cluster.workers.values() if worker.worker_address == busy)
    os.kill(pid, signal.SIGKILL)
    return pid
