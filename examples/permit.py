"""A building permit: three authorities must approve, in any order, then an activity issues it.

Run it: the orchestration starts, the events arrive, the permit comes out. Everything in between is on disk.
"""

import asyncio

import bide

app = bide.App()
AUTHORITIES = ("CityPlanningApproval", "FireDeptApproval", "BuildingDeptApproval")


@app.orchestrator
def permit(context: bide.OrchestrationContext):
    gates = [context.wait_for_external_event(name) for name in AUTHORITIES]
    yield context.task_all(gates)
    return (yield context.call_activity(issue_permit, context.get_input()))


@app.activity
def issue_permit(application_id: str) -> str:
    return f"Building permit for {application_id}"


async def main() -> None:
    async with bide.Hub(app, store="sqlite:///permit.db") as hub:
        instance_id = await hub.client.start_new(permit, client_input="A-17")
        for authority in AUTHORITIES:
            waits = (await hub.client.get_status(instance_id)).waits
            print("waiting for", ", ".join(wait.name for wait in waits))
            await hub.client.raise_event(instance_id, authority, True)
        print((await hub.client.wait_for_completion(instance_id)).output)


if __name__ == "__main__":
    asyncio.run(main())
