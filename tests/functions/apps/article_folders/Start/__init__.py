import json
import logging

import azure.functions as func
import azure.durable_functions as df


async def main(req: func.HttpRequest, starter: str) -> func.HttpResponse:
    client = df.DurableOrchestrationClient(starter)
    data = json.loads(req.get_body() or b"null")
    instance_id = await client.start_new(req.route_params["functionName"], req.route_params.get("instanceId"), data)
    logging.info("Started orchestration with ID = '%s'.", instance_id)
    return client.create_check_status_response(req, instance_id)
