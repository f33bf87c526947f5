import json

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.orchestration_trigger(context_name="context")
def Approval(context: df.DurableOrchestrationContext):
    approved = yield context.wait_for_external_event("Approval")
    return "granted" if approved else "denied"


@app.orchestration_trigger(context_name="context")
def Select(context: df.DurableOrchestrationContext):
    event1 = context.wait_for_external_event("Event1")
    event2 = context.wait_for_external_event("Event2")
    event3 = context.wait_for_external_event("Event3")
    winner = yield context.task_any([event1, event2, event3])
    if winner == event1:
        return ["Event1", winner.result]
    if winner == event2:
        return ["Event2", winner.result]
    return ["Event3", winner.result]


@app.orchestration_trigger(context_name="context")
def BuildingPermit(context: df.DurableOrchestrationContext):
    application_id = context.get_input()
    gate1 = context.wait_for_external_event("CityPlanningApproval")
    gate2 = context.wait_for_external_event("FireDeptApproval")
    gate3 = context.wait_for_external_event("BuildingDeptApproval")
    yield context.task_all([gate1, gate2, gate3])
    return (yield context.call_activity("IssueBuildingPermit", application_id))


@app.activity_trigger(input_name="applicationId")
def IssueBuildingPermit(applicationId: str) -> str:
    return f"permit B-{applicationId}"


@app.queue_trigger(arg_name="msg", queue_name="approval-queue", connection="AzureWebJobsStorage")
@app.durable_client_input(client_name="client")
async def RaiseApproval(msg: func.QueueMessage, client) -> None:
    await client.raise_event(msg.get_body().decode("utf-8"), "Approval", True)


@app.route(route="orchestrators/{functionName}/{instanceId?}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def Start(req: func.HttpRequest, client) -> func.HttpResponse:
    data = json.loads(req.get_body() or b"null")
    instance_id = await client.start_new(req.route_params["functionName"], req.route_params.get("instanceId"), data)
    return client.create_check_status_response(req, instance_id)
