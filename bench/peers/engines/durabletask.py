"""The durabletask SDK with the in-memory backend that it brings for tests: client and worker by gRPC, nothing on disk.

The backend is served here as it serves itself, but on 127.0.0.1 and with threads enough for all who wait: with its own ten,
clients that wait for completions keep the worker from reporting any.
"""

import contextlib
import importlib.metadata
import os
import signal
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from durabletask.client import AsyncTaskHubGrpcClient
from durabletask.internal.orchestrator_service_pb2_grpc import add_TaskHubSidecarServiceServicer_to_server
from durabletask.task import ActivityContext, OrchestrationContext, when_all
from durabletask.testing import InMemoryOrchestrationBackend
from durabletask.worker import TaskHubGrpcWorker

from bench.peers.engine import Engine, Place, Scale

_THREADS = 100

SCALE = Scale(approvals=1_000, singles=300, parked=0, events=2_000, chains=3, chains_together=64, fan_outs=3)


def nothing(_: ActivityContext, value: int) -> int:
    return value


def approval(context: OrchestrationContext, _: int) -> Generator[Any, Any, int]:
    approved = yield context.wait_for_external_event("Approval")
    return (yield context.call_activity(nothing, input=approved))


def chain(context: OrchestrationContext, size: int) -> Generator[Any, Any, None]:
    for number in range(size):
        yield context.call_activity(nothing, input=number)


def fan_out(context: OrchestrationContext, size: int) -> Generator[Any, Any, int]:
    return len((yield when_all([context.call_activity(nothing, input=number) for number in range(size)])))


def consumer(context: OrchestrationContext, size: int) -> Generator[Any, Any, None]:
    for _ in range(size):
        yield context.wait_for_external_event("e")


def version() -> str:
    return importlib.metadata.version("durabletask")


def settings(_: str) -> str:
    return f"in memory, not durable; client and worker in process over gRPC on loopback, {_THREADS} threads for the backend"


class DurableTask:
    def __init__(self, client: AsyncTaskHubGrpcClient) -> None:
        self._client = client

    async def start(self, workflow: str, size: int) -> str:
        return await self._client.schedule_new_orchestration(workflow, input=size)

    async def raise_event(self, instance_id: str, name: str, number: int) -> None:
        await self._client.raise_orchestration_event(instance_id, name, data=number)

    async def completed(self, instance_id: str) -> None:
        state = await self._client.wait_for_orchestration_completion(instance_id, timeout=120)
        assert state is not None
        state.raise_if_failed()

    async def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.asynccontextmanager
async def opened(_: Place) -> AsyncIterator[Engine]:
    backend = InMemoryOrchestrationBackend()
    server = grpc.server(ThreadPoolExecutor(_THREADS))
    add_TaskHubSidecarServiceServicer_to_server(backend, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with TaskHubGrpcWorker(host_address=address) as worker:
        for workflow in (approval, chain, fan_out, consumer):
            worker.add_orchestrator(workflow)
        worker.add_activity(nothing)
        worker.start()
        client = AsyncTaskHubGrpcClient(host_address=address)
        yield DurableTask(client)
        await client.close()
    backend.stop()
    server.stop(None)
