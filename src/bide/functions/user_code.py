"""Where user functions run: plain ones on threads, `async def` ones on an event loop that is theirs.

One that blocks delays others like it, as on Azure, and never the hub. All threads are daemons: a function that never
ends does not keep the process from ending.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from bide.runtime.jobs import is_closing

T = TypeVar("T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class UserCodeError(Exception):
    """A function raised what is no ordinary error, such as `SystemExit`."""


class UserCode:
    """Runs user functions; `threads` bounds how many plain ones run at a time."""

    def __init__(self, threads: int) -> None:
        self._threads = _Threads(threads)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="bide-functions", daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        """Call a user function, plain or `async def`."""
        if inspect.iscoroutinefunction(function):
            return await self.run(function(**arguments))
        return await asyncio.wrap_future(self._threads.submit(partial(function, **arguments)))

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a user's coroutine."""
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_contained(work), self._loop))
        except asyncio.CancelledError:
            if is_closing():
                raise
            raise UserCodeError("The function was cancelled from within.") from None

    def close(self) -> None:
        """Cancel coroutines, and let the threads go; what blocks is not waited for."""
        self._threads.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=1)

    def _run_loop(self) -> None:
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left))
        self._loop.close()


async def _contained(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise UserCodeError(f"The function raised {type(error).__name__}: {error}") from error


class _Threads:
    """Daemon threads, made when they are needed. The pool of `concurrent.futures` waits for its threads at exit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0
        self._count = 0

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        with self._lock:
            self._open += 1
            if self._open > self._count and self._count < self._most:
                self._count += 1
                threading.Thread(target=self._work, name=f"bide-function-{self._count}", daemon=True).start()
        self._jobs.put((future, work))
        return future

    def close(self) -> None:
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except Exception as error:  # noqa: BLE001  (the border to user code)
                    future.set_exception(error)
                except BaseException as error:  # noqa: BLE001  (likewise; sys.exit() must not end the server)
                    future.set_exception(UserCodeError(f"The function raised {type(error).__name__}: {error}"))
                else:
                    future.set_result(result)
            with self._lock:
                self._open -= 1
