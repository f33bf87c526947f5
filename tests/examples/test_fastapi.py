"""The FastAPI example, driven over ASGI."""

import httpx
from fastapi import FastAPI

from examples import with_fastapi


async def test_an_order_is_placed_and_approved(tmp_path, monkeypatch):
    """The service starts an instance and raises its event; the hub follows the service's lifespan."""
    monkeypatch.setattr(with_fastapi, "hub", with_fastapi.bide.Hub(with_fastapi.orchestrations, "memory:"))
    async with with_fastapi.lifespan(with_fastapi.service):
        transport = httpx.ASGITransport(with_fastapi.service)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            instance_id = (await http.post("/orders/7")).json()["instance_id"]
            assert (await http.post(f"/orders/{instance_id}/approve")).json() == {"duplicate": False}
            status = await with_fastapi.hub.client.wait_for_completion(instance_id, timeout=5)
            assert status.output == "order 7 processed"


async def test_the_api_can_be_mounted_before_the_hub_runs():
    """Requests before that are answered 503; management URLs lead back through the mount."""
    hub = with_fastapi.bide.Hub(with_fastapi.orchestrations, "memory:")
    service = FastAPI()
    service.mount("/flows", hub.asgi())
    base = "/flows/runtime/webhooks/durabletask"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://localhost") as http:
        assert (await http.get(f"{base}/instances")).status_code == 503
        async with hub:
            started = (await http.post(f"{base}/orchestrators/approval")).json()
            assert started["statusQueryGetUri"].startswith(f"http://localhost{base}/instances/")
            assert (await http.get(started["statusQueryGetUri"])).status_code == 202
