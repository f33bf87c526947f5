"""The services that the Restate server calls: workflows wait on durable promises, activities are `run` blocks."""

import restate
from restate import ObjectContext, VirtualObject, Workflow, WorkflowContext, WorkflowSharedContext

approval = Workflow("approval")
chain = Workflow("chain")
fan_out = Workflow("fan_out")
consumer = VirtualObject("consumer")


async def nothing(value: int) -> int:
    return value


@approval.main("run")
async def wait_for_approval(context: WorkflowContext, _: int) -> int:
    approved = await context.promise("Approval", type_hint=int).value()
    return await context.run_typed("nothing", nothing, value=approved)


@approval.handler("Approval")
async def approve(context: WorkflowSharedContext, number: int) -> None:
    await context.promise("Approval", type_hint=int).resolve(number)


@chain.main("run")
async def run_chain(context: WorkflowContext, size: int) -> None:
    for number in range(size):
        await context.run_typed("nothing", nothing, value=number)


@fan_out.main("run")
async def run_fan_out(context: WorkflowContext, size: int) -> int:
    steps = [context.run_typed("nothing", nothing, value=number) for number in range(size)]
    return len(await restate.gather(*steps))


@consumer.handler("e")
async def consume(context: ObjectContext, _: int) -> None:
    """Consume one event; the object's events run one after the other, in the order in which they came."""
    context.set("consumed", (await context.get("consumed", type_hint=int) or 0) + 1)


@consumer.handler("consumed")
async def consumed(context: ObjectContext) -> int:
    return await context.get("consumed", type_hint=int) or 0


app = restate.app([approval, chain, fan_out, consumer])
