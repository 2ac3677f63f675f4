"""The workers of a Dask scheduler: one that runs, or one that this process starts for jobs of SLURM."""

import logging
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from untrained_recon.errors import UnreachableError
from untrained_recon.extras import require_modules
from untrained_recon.workers.share import Do, Submit

logger = logging.getLogger(__name__)

CLUSTER = ("distributed", "dask_jobqueue")  # modules of the extra `cluster`
CONNECT_S = 10.0
OURS = ("#SBATCH -t", "#SBATCH --mem", "#SBATCH --cpus-per-task", "#SBATCH -n")
"""What dask-jobqueue would ask SLURM for; the options that are given do."""


@contextmanager
def on_dask(address: str) -> Iterator[Submit]:
    """The workers of a scheduler that runs, ``tcp://HOST:PORT``.

    Each has one thing at a time for each of its threads, on the device that it sees. What a worker that dies had goes to another
    one; after ``distributed.scheduler.allowed-failures`` deaths (Dask's setting, 3) it has failed. Leaving the context takes back
    what no worker has begun; what has begun is finished, and kept.

    Raises:
        MissingExtraError: The extra ``cluster`` is not installed.
        UnreachableError: No scheduler answers.
    """
    require_modules(CLUSTER, "cluster", "--dask")
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise UnreachableError(f"{address}: no Dask scheduler answers ({error})") from error
    with client:
        yield from _submitting(client)


@contextmanager
def on_slurm(options: str, jobs: int, logs: Path) -> Iterator[Submit]:
    """Workers that are jobs of SLURM, one each; a job that ends too soon is replaced. Leaving the context ends them.

    Args:
        options: Of ``sbatch``, for each job: ``--partition=gpu --gres=gpu:1 --mem=32G --time=4:00:00``.
        jobs: How many.
        logs: Folder of what the jobs print.

    Raises:
        MissingExtraError: The extra ``cluster`` is not installed.
        UnreachableError: SLURM takes no jobs.
    """
    require_modules(CLUSTER, "cluster", "--slurm")
    from dask_jobqueue import SLURMCluster
    from distributed import Client

    _require_slurm(options)
    cluster = SLURMCluster(
        cores=1,
        processes=1,
        memory="0 B",  # no limit of Dask's: SLURM has its own
        job_mem="0",  # left out again; dask-jobqueue cannot work it out of none
        job_name="untrained-recon",
        job_extra_directives=[options] if options else [],
        job_directives_skip=OURS,
        log_directory=str(logs),
        scheduler_options={"dashboard": False},
    )
    with cluster:
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
        with Client(cluster) as client:
            yield from _submitting(client)


def _require_slurm(options: str) -> None:
    """Have SLURM look at the options before jobs are handed in one by one, whose refusal nobody would see."""
    try:
        command = ["sbatch", "--test-only", *shlex.split(options), "--wrap", "true"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UnreachableError(f"--slurm: no job can be handed in ({error})") from error
    if asked.returncode:
        raise UnreachableError(f"--slurm {options!r}: SLURM takes no such job: {' '.join(asked.stderr.split())}")


def _submitting(client: Any) -> Iterator[Submit]:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    logger.info("%d workers at %s", len(workers), client.scheduler.address)
    if crowded := [worker for worker in workers.values() if worker["nthreads"] > 1]:
        logger.warning("%d workers do several things at a time; start them with --nthreads 1", len(crowded))
    executor = client.get_executor(pure=False)
    try:
        yield lambda do, item: executor.submit(_on_worker, do, item)
    finally:
        executor.shutdown(wait=False)


def _on_worker(do: Do, item: Any) -> Any:
    """In a worker process, whose log has only warnings by itself."""
    logging.getLogger("untrained_recon").setLevel(logging.INFO)
    return do(item, "")
