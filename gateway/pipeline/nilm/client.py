"""The edge daemon's side of disaggregation: keeps the worker process alive, feeds it, hands its results on. Light."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.pipeline.nilm.result import ApplianceResult, Mains, Part, RunEvent

BACKLOG_MAX = 600  # samples that wait while the worker starts; then the oldest goes
READY_MAX_S = 180.0  # a cold compile on a small board
ANSWER_MAX_S = 30.0  # for a sample; a worker that is silent for longer hangs
STOP_MAX_S = 1.0  # for the worker to save its energies at the end
BACKOFF_S = (1.0, 60.0)  # first and longest pause before the worker is started again
STEADY_S = 60.0  # a worker that lived this long is started again after the shortest pause
LINE_MAX_BYTES = 65536
FIX = "It is started again by itself; if that does not help, run `lamppost doctor`."
NONSENSE = "the worker said what nobody understands and was ended"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there are no results: the same three texts as a LamppostError."""

    code: str
    cause: str
    fix: str


@dataclass(frozen=True, slots=True)
class DisaggregatorState:
    """``compiled`` False: plain Python, ``why`` says the reason. ``refused``: the model does not fit, final."""

    ready: bool
    compiled: bool
    why: str
    restarts: int
    backlog: int
    dropped: int
    results: int
    refused: bool
    error: Problem | None
    pid: int | None


class Disaggregator:
    """Feeds one meter's power to a worker process and calls ``on_result`` for each sample, in the loop's thread.

    Energies are counters: they go on over restarts of the worker (remembered here) and of the daemon (a file in
    ``cache_dir``, written once a minute). ``feed`` never blocks; results come milliseconds later.
    """

    def __init__(
        self,
        model_path: Path,
        cache_dir: Path,
        on_result: Callable[[ApplianceResult], None],
        *,
        python: str = sys.executable,
        pure: bool = False,
    ) -> None:
        self._model_path = model_path
        self._command = [python, "-m", "gateway.pipeline.nilm.worker"]
        self._options = ["--cache", str(cache_dir), *(["--pure"] if pure else [])]
        self._on_result = on_result
        self._backlog: deque[tuple[int, Mains]] = deque(maxlen=BACKLOG_MAX)
        self._arrived = asyncio.Event()
        self._energies: dict[str, float] = {}
        self._ready: dict[str, Any] | None = None
        self._error: Problem | None = None
        self._refused = False
        self._pid: int | None = None
        self._restarts = self._dropped = self._results = 0
        self._waiting = 0  # answers that the worker owes

    def feed(self, mono_ns: int, mains: Mains) -> None:
        """Take a sample (monotonic ns). What does not fit is dropped, oldest first, and counted."""
        if self._refused or len(self._backlog) == BACKLOG_MAX:
            self._dropped += 1
        if not self._refused:
            self._backlog.append((mono_ns, mains))
            self._arrived.set()

    def use(self, model_path: Path) -> None:
        """Another model, from the next ``run`` on; that the one before was refused says nothing about it."""
        self._model_path = model_path
        self._refused, self._error = False, None

    def state(self) -> DisaggregatorState:
        """For status and metrics."""
        ready = self._ready or {}
        return DisaggregatorState(
            ready=self._ready is not None,
            compiled=bool(ready.get("compiled", False)),
            why=str(ready.get("why", "")),
            restarts=self._restarts,
            backlog=len(self._backlog),
            dropped=self._dropped,
            results=self._results,
            refused=self._refused,
            error=self._error,
            pid=self._pid,
        )

    async def run(self) -> None:
        """Keep a worker running until cancelled. A refused model stays refused: see state()."""
        loop = asyncio.get_running_loop()
        pause = BACKOFF_S[0]
        while True:
            begun = loop.time()
            await self._one_life()
            if self._refused:
                self._backlog.clear()
                await asyncio.Event().wait()
            if loop.time() - begun > STEADY_S:
                pause = BACKOFF_S[0]
            await asyncio.sleep(pause)
            pause = min(2 * pause, BACKOFF_S[1])
            self._restarts += 1

    async def _one_life(self) -> None:
        """Start a worker and serve it until it ends; notes why it did."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(self._model_path),
                *self._options,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # what it has to say comes on stdout
                limit=LINE_MAX_BYTES,
            )
        except OSError as error:
            self._fail(Problem("nilm.worker", f"the worker cannot be started: {error.strerror}", FIX))
            return
        self._pid = process.pid
        try:
            self._fail(await self._converse(process))
        finally:
            self._ready, self._pid = None, None
            await _end(process)

    async def _converse(self, process: asyncio.subprocess.Process) -> Problem:
        """Feed and listen until the worker ends, hangs or refuses; what the matter was."""
        self._waiting = 1  # for "ready"
        message = await self._hear(process, READY_MAX_S)
        if isinstance(message, Problem) or "ready" not in message:
            return self._take(message) or Problem("nilm.worker", "the worker did not get ready", FIX)
        self._ready, self._error, self._waiting = message["ready"], None, 0
        log.info("disaggregation is ready", extra={"compiled": message["ready"].get("compiled")})
        async with asyncio.TaskGroup() as group:
            feeder = group.create_task(self._feed(process))
            problem = None
            while problem is None:
                problem = self._take(await self._hear(process, ANSWER_MAX_S))
            feeder.cancel()
        return problem

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        """Hand over the energies, then samples as they come."""
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"start": self._energies}).encode() + b"\n")
            while True:
                while self._backlog:
                    mono_ns, mains = self._backlog.popleft()
                    self._waiting += 1
                    process.stdin.write(json.dumps({"t": mono_ns, "p": mains}).encode() + b"\n")
                    await process.stdin.drain()  # unbounded on purpose: a worker that hangs is ended by the listener
                self._arrived.clear()
                await self._arrived.wait()
        except ConnectionError:
            return  # the worker ended: the listener sees it too

    async def _hear(self, process: asyncio.subprocess.Process, limit_s: float) -> dict[str, Any] | Problem:
        """The worker's next message; waits for ever where nothing is owed, else ``limit_s``."""
        assert process.stdout is not None
        while True:
            owed = self._waiting
            try:
                async with asyncio.timeout(limit_s):
                    line = await process.stdout.readline()
                if not line:
                    code = await process.wait()
                    return Problem("nilm.worker", f"the worker ended (exit code {code})", FIX)
                message = json.loads(line)
                return message if isinstance(message, dict) else Problem("nilm.worker", NONSENSE, FIX)
            except TimeoutError:
                if owed:
                    return Problem("nilm.worker", f"the worker was silent for {limit_s:g} s and was ended", FIX)
            except ValueError:
                return Problem("nilm.worker", NONSENSE, FIX)

    def _take(self, message: dict[str, Any] | Problem) -> Problem | None:
        """Hand a result on; the problem, where it is one."""
        if isinstance(message, Problem):
            return message
        if "error" in message:
            self._refused = bool(message["error"].get("refused"))
            return Problem(*(str(message["error"].get(key, "")) for key in ("code", "cause", "fix")))
        if "note" in message:
            log.warning("disaggregation: %s", message["note"])
            return None
        if "late" not in message:
            self._waiting = max(0, self._waiting - 1)
        if "passed" in message:
            return None
        try:
            result = decode(message)
        except (LookupError, TypeError, ValueError):
            return Problem("nilm.worker", NONSENSE, FIX)
        self._results += 1
        self._energies = {part.name: part.energy_kwh for part in result.parts}
        self._on_result(result)
        return None

    def _fail(self, problem: Problem) -> None:
        """Note why there is no worker; one log line for each new reason."""
        if problem != self._error:
            log.warning("disaggregation: %s", problem.cause, extra={"code": problem.code, "fix": problem.fix})
        self._error = problem


async def _end(process: asyncio.subprocess.Process) -> None:
    """End of input asks the worker to save and go; a second later, or when cancelled, it is made to.

    Reads to the end, so that the pipes close before the loop does.
    """
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_MAX_S):
            await process.communicate()
    except TimeoutError:
        log.warning("disaggregation: the worker did not end by itself")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def decode(message: dict[str, Any]) -> ApplianceResult:
    """A result from the pipe. Raises LookupError, TypeError or ValueError where it is none."""
    parts = tuple(Part(str(n), float(w), float(kwh), bool(on), float(c)) for n, w, kwh, on, c in message["parts"])
    said = message["events"]
    events = tuple(RunEvent(str(n), kind, int(t), float(s), float(e), float(c)) for n, kind, t, s, e, c in said)
    mains_w, other_w, final = float(message["mains"]), float(message["other"]), bool(message["final"])
    return ApplianceResult(int(message["t"]), mains_w, other_w, parts, events, final)
