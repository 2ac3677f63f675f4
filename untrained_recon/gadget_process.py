"""A gadget in a process of its own, started and watched as Gadgetron would."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from untrained_recon.errors import ReplayError
from untrained_recon.host import Item, Returned, exchange

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 30.0
# as ``python -m gadgets``, but not even that is looked for in the current folder
START = "import sys; sys.path = [p for p in sys.path if p]; from gadgets.launch import main; sys.exit(main())"


class GadgetProcess:
    """A gadget in a process of its own, connected over a local socket as Gadgetron connects it.

    Args:
        module: Module of the gadget.
        target: Function in it.
        on_log: Takes every line that the gadget writes to its log.

    Raises:
        ReplayError: The gadget did not connect back.
    """

    def __init__(self, module: str, target: str, on_log: Callable[[str], None]) -> None:
        with socket.create_server(("localhost", 0)) as server:
            port = server.getsockname()[1]
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, str(port), module, target],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            self._log_reader = threading.Thread(target=self._read_log, args=(on_log,), daemon=True)
            self._log_reader.start()
            try:
                self._socket = self._accept(server)
            except ReplayError:
                self._end()
                raise

    def __enter__(self) -> "GadgetProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._socket.close()
        self._end()

    def exchange(self, config: bytes, header: bytes, items: Iterable[Item]) -> Iterator[Returned]:
        """See :func:`exchange`; the exit status of the process counts too. Raises ReplayError when it is not 0."""
        failure = None
        try:
            yield from exchange(self._socket, config, header, items)
        except ReplayError as error:
            failure = error
        status = self._wait()
        if failure is not None:
            killed = f" (the gadget was killed by {signal.Signals(-status).name})" if status < 0 else ""
            raise ReplayError(f"{failure}{killed}") from failure
        if status != 0:
            raise ReplayError(f"the gadget ended with exit status {status} without saying why; see its log")

    def _accept(self, server: socket.socket) -> socket.socket:
        server.settimeout(0.2)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return server.accept()[0]
            if self._process.poll() is not None:
                raise ReplayError(f"the gadget ended with exit status {self._process.returncode} before it connected back")
        raise ReplayError(f"the gadget did not connect back within {START_TIMEOUT_S:.0f} s")

    def _wait(self) -> int:
        try:
            return self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ReplayError(f"the gadget did not end within {EXIT_TIMEOUT_S:.0f} s after CLOSE") from error

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log_reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read_log(self, on_log: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._show(line.rstrip("\n"), on_log)

    def _show(self, line: str, on_log: Callable[[str], None]) -> None:
        try:
            on_log(line)
        except Exception:  # the log must be read on, or the gadget would wait for it
            logger.exception("a line of the gadget's log could not be shown: %r", line)
