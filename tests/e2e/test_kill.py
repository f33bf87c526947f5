"""A real process is killed under load; whatever it had accepted is consumed exactly once, in order."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import bide

APP = bide.App()


@APP.orchestrator
def collect(context):
    """Consume numbers until "stop"; continue as new now and then, so that carry-over is under test too."""
    seen = context.get_input() or []
    for _ in range(7):
        value = yield context.wait_for_external_event("n")
        if value == "stop":
            return seen
        seen.append((yield context.call_activity(echo, value)))
    context.continue_as_new(seen)
    return None


@APP.activity
async def echo(value):
    return value


async def load(path: str) -> None:
    """Raise events to several instances, one after the other each, and say on stdout what was accepted."""
    async with bide.Hub(APP, f"sqlite:///{path}") as hub:
        for number in range(4):
            await hub.client.start_new("collect", f"i{number}", id_reuse=bide.IdReusePolicy.KEEP)
        await asyncio.gather(*[raise_all(hub, f"i{number}") for number in range(4)])


async def raise_all(hub: bide.Hub, instance_id: str) -> None:
    number = 0
    while True:
        receipt = await hub.client.raise_event(instance_id, "n", number, event_id=str(number))
        print(json.dumps([instance_id, number, receipt.is_duplicate]), flush=True)
        number += 1


def run_and_kill(path: Path, lines: int) -> dict[str, int]:
    """Run the load until it has accepted `lines` events, kill it, and return the last accepted number by instance."""
    command = [sys.executable, "-c", f"import asyncio, test_kill; asyncio.run(test_kill.load({str(path)!r}))"]
    accepted: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stdout is not None
        for _, line in zip(range(lines), process.stdout, strict=False):
            instance_id, number, _ = json.loads(line)
            accepted[instance_id] = number
        process.send_signal(signal.SIGKILL)
        for line in process.stdout:  # what it had said before it died
            if line.endswith("]\n"):
                instance_id, number, _ = json.loads(line)
                accepted[instance_id] = number
    return accepted


async def test_what_was_accepted_is_consumed_exactly_once_and_in_order(tmp_path):
    """Five rounds of kill -9; each round repeats its events from 0 with the same ids, so all but new ones are duplicates."""
    path = tmp_path / "kill.db"
    accepted: dict[str, int] = {}
    for lines in (37, 211, 402, 633, 905):
        for instance_id, number in run_and_kill(path, lines).items():
            accepted[instance_id] = max(number, accepted.get(instance_id, -1))
    async with bide.Hub(APP, f"sqlite:///{path}") as hub:
        for instance_id, last in accepted.items():
            await hub.client.raise_event(instance_id, "n", "stop")
            seen = (await hub.client.wait_for_completion(instance_id, timeout=30)).output
            assert seen == list(range(len(seen))), "each once, in order"
            assert len(seen) > last, "nothing that was accepted is missing"
