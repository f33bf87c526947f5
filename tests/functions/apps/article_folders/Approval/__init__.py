import azure.durable_functions as df


def orchestrator_function(context: df.DurableOrchestrationContext):
    approved = yield context.wait_for_external_event("Approval")
    return "granted" if approved else "denied"


main = df.Orchestrator.create(orchestrator_function)
