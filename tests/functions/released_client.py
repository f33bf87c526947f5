"""A process with the released azure-functions-durable 1.x: its client, pointed at us by the binding's JSON (argument 1)."""

import asyncio
import sys
from datetime import datetime

import azure.durable_functions as df
import azure.functions as func


async def main(binding: str) -> None:
    client = df.DurableOrchestrationClient(binding)
    assert type(client).__module__.startswith("azure.durable_functions"), type(client)

    instance_id = await client.start_new("event", None, {"a": 1})
    status = await client.get_status(instance_id, show_input=True)
    assert (status.runtime_status, status.name) == (df.OrchestrationRuntimeStatus.Running, "event"), status.to_json()
    assert status.input_ == '{"a": 1}', status.input_  # as on Azure: the client encodes it twice

    await client.suspend(instance_id, "a pause")
    assert (await client.get_status(instance_id)).runtime_status is df.OrchestrationRuntimeStatus.Suspended
    await client.raise_event(instance_id, "Approval", {"ok": True})
    await client.resume(instance_id, "go on")
    request = func.HttpRequest("GET", "http://localhost:1/api/x", body=b"")
    answer = await client.wait_for_completion_or_create_check_status_response(request, instance_id, 10_000, 100)
    assert (answer.status_code, answer.get_body()) == (200, b'{"ok": true}'), answer.get_body()

    for work, text in [
        (client.raise_event(instance_id, "Approval"), "is gone"),
        (client.raise_event("nobody", "Approval"), "No instance with ID nobody found"),
        (client.start_new("nothing_of_that_name"), "No orchestrator is named"),
        (client.terminate("nobody", "x"), "No instance with ID"),
        (client.rewind(instance_id, "x"), ""),
    ]:
        try:
            await work
        except Exception as error:
            assert text in str(error), error
        else:
            raise AssertionError(text)

    history = await client.get_status(instance_id, show_history=True, show_history_output=True)
    assert "EventRaised" in [row["EventType"] for row in history.historyEvents]
    again = await client.restart(instance_id)
    other = again if isinstance(again, str) else again["id"]
    await client.terminate(other, "enough of it")
    assert (await client.get_status(other)).output == "enough of it"
    found = await client.get_status_by(
        created_time_from=datetime(2020, 1, 1), runtime_status=[df.OrchestrationRuntimeStatus.Terminated]
    )
    assert other in [status.instance_id for status in found]
    assert other in [status.instance_id for status in await client.get_status_all()]
    assert not await client.get_status("nobody")

    payload = client.create_http_management_payload(instance_id)
    assert (
        payload["sendEventPostUri"].endswith("Connection=Storage")
        or "raiseEvent/{eventName}" in payload["sendEventPostUri"]
    )
    assert client.create_check_status_response(request, instance_id).status_code == 202

    entity = df.EntityId("Counter", "remote")
    await client.signal_entity(entity, "add", 3)
    for _ in range(100):
        state = await client.read_entity_state(entity)
        if state.entity_exists:
            break
        await asyncio.sleep(0.05)
    assert state.entity_state == 3, state.entity_state

    assert (await client.purge_instance_history(instance_id)).instances_deleted == 1
    assert (await client.purge_instance_history(instance_id)).instances_deleted == 0
    removed = await client.purge_instance_history_by(
        datetime(2020, 1, 1), None, [df.OrchestrationRuntimeStatus.Terminated]
    )
    assert removed.instances_deleted >= 1
    print("all done")


asyncio.run(main(sys.argv[1]))
