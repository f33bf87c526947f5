import azure.durable_functions as df


def orchestrator_function(context: df.DurableOrchestrationContext):
    gates = [
        context.wait_for_external_event("CityPlanningApproval"),
        context.wait_for_external_event("FireDeptApproval"),
        context.wait_for_external_event("BuildingDeptApproval"),
    ]
    yield context.task_all(gates)
    return (yield context.call_activity("IssueBuildingPermit", context.get_input()))


main = df.Orchestrator.create(orchestrator_function)
