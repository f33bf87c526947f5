import azure.functions as func
import azure.durable_functions as df


async def main(msg: func.QueueMessage, starter: str) -> None:
    client = df.DurableOrchestrationClient(starter)
    instance_id = msg.get_body().decode("utf-8")
    await client.raise_event(instance_id, "Approval", True)
