"""bide inside a FastAPI service: the hub lives as long as the service does."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

import bide
from examples.approval import app as orchestrations
from examples.approval import approval

hub = bide.Hub(orchestrations, store="sqlite:///orders.db")


@asynccontextmanager
async def lifespan(_: FastAPI):
    async with hub:
        yield


service = FastAPI(lifespan=lifespan)


@service.post("/orders/{order}")
async def place(order: str) -> dict[str, str]:
    return {"instance_id": await hub.client.start_new(approval, client_input=order)}


@service.post("/orders/{instance_id}/approve")
async def approve(instance_id: str) -> dict[str, bool]:
    receipt = await hub.client.raise_event(instance_id, "Approval", True)
    return {"duplicate": receipt.is_duplicate}
