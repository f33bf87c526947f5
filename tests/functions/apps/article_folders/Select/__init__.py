import azure.durable_functions as df


def orchestrator_function(context: df.DurableOrchestrationContext):
    event1 = context.wait_for_external_event("Event1")
    event2 = context.wait_for_external_event("Event2")
    event3 = context.wait_for_external_event("Event3")
    winner = yield context.task_any([event1, event2, event3])
    if winner == event1:
        return ["Event1", winner.result]
    if winner == event2:
        return ["Event2", winner.result]
    return ["Event3", winner.result]


main = df.Orchestrator.create(orchestrator_function)
