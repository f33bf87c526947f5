import azure.durable_functions as df


def orchestrate(context):
    yield context.call_activity("Off")


main = df.Orchestrator.create(orchestrate)
