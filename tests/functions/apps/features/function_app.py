import asyncio
import json
import logging
import time

import azure.durable_functions as df
import azure.functions as func

from blueprint import bp

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
app.register_functions(bp)


@app.route(route="start/{name}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient, context: func.Context):
    data = req.get_json() if req.get_body() else None
    instance_id = await client.start_new(req.route_params["name"], None, data)
    assert context.function_name == "start"
    return await client.wait_for_completion_or_create_check_status_response(req, instance_id, 5000, 100)


@app.route(route="raise/{id}/{name}", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
@app.durable_client_input(client_name="client")
async def raise_it(req: func.HttpRequest, client):
    await client.raise_event(req.route_params["id"], req.route_params["name"], req.get_json())
    return "raised"


@app.route(route="plain/{number:int?}", auth_level="anonymous")
def plain(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("plain is called")
    body = {"method": req.method, "url": req.url, "params": dict(req.params), "route": dict(req.route_params)}
    return func.HttpResponse(json.dumps(body), status_code=201, headers={"x-own": "1"}, mimetype="application/json")


@app.route(route="boom", auth_level="anonymous")
def boom(req: func.HttpRequest) -> str:
    raise ValueError("the code is 1234")


@app.route(route="wrong", auth_level="anonymous")
def wrong(req: func.HttpRequest):
    return {"a": 1}


@app.route(route="block", auth_level="anonymous")
async def block(req: func.HttpRequest) -> str:
    time.sleep(3)
    return "done"


@app.route(route="forever", auth_level="anonymous")
def forever(req: func.HttpRequest) -> str:
    logging.info("forever is called")
    while True:
        time.sleep(1)


@app.route(route="exits", auth_level="anonymous")
def exits(req: func.HttpRequest) -> str:
    raise SystemExit(1)


@app.route(route="exits_async", auth_level="anonymous")
async def exits_async(req: func.HttpRequest) -> str:
    raise SystemExit(1)


@app.orchestration_trigger(context_name="context")
def busy(context):
    yield context.call_activity("slow_square", 2)
    context.continue_as_new(context.get_input())


@app.route(route="admin", auth_level="admin")
def admin(req: func.HttpRequest) -> str:
    return "in"


@app.route(route="binding", auth_level="anonymous")
@app.generic_input_binding(arg_name="starter", type="durableClient")
def binding(req: func.HttpRequest, starter: str) -> str:
    return starter


@app.orchestration_trigger(context_name="context")
def event(context):
    return (yield context.wait_for_external_event("Approval"))


@app.activity_trigger(input_name="nothing")
def unlucky(nothing):
    raise ValueError("out of luck")


@app.orchestration_trigger(context_name="context")
def failing(context):
    yield context.call_activity("unlucky")


@app.orchestration_trigger(context_name="context")
def fan_out(context):
    results = yield context.task_all([context.call_activity("slow_square", n) for n in range(context.get_input())])
    return sum(results)


@app.activity_trigger(input_name="number")
async def slow_square(number: int) -> int:
    await asyncio.sleep(0.01)
    return number * number


@app.queue_output(arg_name="out", queue_name="outbox", connection="AzureWebJobsStorage")
@app.activity_trigger(input_name="text")
def send(text: str, out: func.Out[str]) -> str:
    out.set(text)
    return "sent"


@app.orchestration_trigger(context_name="context")
def through_the_queue(context):
    yield context.call_activity("send", context.instance_id)
    return (yield context.wait_for_external_event("Heard"))


@app.queue_trigger(arg_name="message", queue_name="outbox", connection="AzureWebJobsStorage")
@app.durable_client_input(client_name="client")
async def hear(message: func.QueueMessage, client) -> None:
    await client.raise_event(message.get_body().decode(), "Heard", message.dequeue_count)


@app.orchestration_trigger(context_name="context")
def turns(context):
    seen = [context.is_replaying]
    yield context.create_timer(context.current_utc_datetime)
    seen.append(context.is_replaying)
    yield context.create_timer(context.current_utc_datetime)
    seen.append(context.is_replaying)
    context.set_custom_status(seen)
    return seen


@app.timer_trigger(schedule="0 0 0 1 1 *", arg_name="timer", run_on_startup=True)
@app.durable_client_input(client_name="client")
async def on_start(timer: func.TimerRequest, client) -> None:
    await client.start_new("Greeting", "by-timer")


@app.entity_trigger(context_name="context")
def counter(context):
    value = context.get_state(lambda: 0)
    if context.operation_name == "add":
        value += context.get_input()
        context.set_state(value)
    elif context.operation_name == "reset":
        context.destruct_on_exit()
    context.set_result(value)


@app.orchestration_trigger(context_name="context")
def counting(context):
    entity = df.EntityId("Counter", context.instance_id)
    context.signal_entity(entity, "add", 2)
    first = yield context.call_entity(entity, "add", 3)
    second = yield context.call_entity(entity, "get")
    return [first, second]
