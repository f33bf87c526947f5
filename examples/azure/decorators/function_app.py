"""An approval with a deadline: the manager answers in time, or the request is escalated."""

from datetime import timedelta

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="orchestrators/{name}/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    instance_id = await client.start_new(req.route_params["name"], req.route_params["id"], req.get_json())
    return client.create_check_status_response(req, instance_id)


@app.queue_trigger(arg_name="message", queue_name="approval-queue", connection="AzureWebJobsStorage")
@app.durable_client_input(client_name="client")
async def raise_approval(message: func.QueueMessage, client: df.DurableOrchestrationClient) -> None:
    await client.raise_event(message.get_body().decode(), "Approval", True)


@app.orchestration_trigger(context_name="context")
def approval(context: df.DurableOrchestrationContext):
    request = context.get_input()
    deadline = context.create_timer(context.current_utc_datetime + timedelta(days=3))
    approval = context.wait_for_external_event("Approval")
    winner = yield context.task_any([approval, deadline])
    if winner == deadline:
        return (yield context.call_activity("escalate", request))
    deadline.cancel()
    return "approved" if approval.result else "rejected"


@app.activity_trigger(input_name="request")
def escalate(request: dict) -> str:
    return f"{request['amount']} escalated"
