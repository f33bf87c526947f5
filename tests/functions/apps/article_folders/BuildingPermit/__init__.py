import azure.durable_functions as df


def orchestrator_function(context: df.DurableOrchestrationContext):
    application_id = context.get_input()

    gate1 = context.wait_for_external_event("CityPlanningApproval")
    gate2 = context.wait_for_external_event("FireDeptApproval")
    gate3 = context.wait_for_external_event("BuildingDeptApproval")

    # All three departments must grant approval before a permit can be issued.
    yield context.task_all([gate1, gate2, gate3])
    return (yield context.call_activity("IssueBuildingPermit", application_id))


main = df.Orchestrator.create(orchestrator_function)
