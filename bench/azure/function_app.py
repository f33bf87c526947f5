"""The benchmarks' approval as an app for Azure Functions."""

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="start", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client) -> func.HttpResponse:
    return client.create_check_status_response(req, await client.start_new("approval"))


@app.orchestration_trigger(context_name="context")
def approval(context):
    approved = yield context.wait_for_external_event("Approval")
    return (yield context.call_activity("record", approved))


@app.activity_trigger(input_name="approved")
def record(approved):
    return approved
