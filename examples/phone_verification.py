"""Phone verification: a code is sent, and may be entered three times within 90 seconds."""

from datetime import timedelta

import bide

app = bide.App()


@app.orchestrator
def verify_phone(context: bide.OrchestrationContext):
    code = yield context.call_activity(send_code, context.get_input())
    deadline = context.create_timer(timedelta(seconds=90))
    for _ in range(3):
        answer = context.wait_for_external_event("SmsChallengeResponse", int)
        winner = yield context.task_any([answer, deadline])
        if winner == deadline:
            return False
        if answer.result == code:
            deadline.cancel()
            return True
    return False


@app.activity
def send_code(phone_number: str) -> int:
    # A real one draws a number and sends it as a text message; this one is for trying things out.
    return sum(map(int, phone_number[-4:])) * 97 % 10_000
