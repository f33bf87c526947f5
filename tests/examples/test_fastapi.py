"""The FastAPI example, driven over ASGI."""

import httpx

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
