import azure.durable_functions as df

bp = df.Blueprint()


@bp.activity_trigger(input_name="name", activity="Greet")
def greet_somebody(name: str) -> str:
    return f"Hello {name}"


@bp.orchestration_trigger(context_name="context", orchestration="Greeting")
def greeting(context):
    one = yield context.call_activity("greet", "one")
    two = yield context.call_activity(greet_somebody, "two")
    return [one, two]
