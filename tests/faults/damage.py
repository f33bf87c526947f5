"""Makes a store, damages copies of it, and tells as JSON lines what became of each: `python -m tests.faults.damage FOLDER`.

In a process of its own, since damage must not bring one down.
"""

import asyncio
import json
import random
import shutil
import sys
from pathlib import Path

import bide
from bide.core.invariants import problems
from bide.store.sqlite import check

CASES = 25
"""For each kind of damage."""
KINDS = [("log", "flip"), ("log", "cut"), ("database", "flip"), ("database", "cut")]
app = bide.App()


@app.orchestrator
def collect(context):
    seen = []
    while (value := (yield context.wait_for_external_event("n"))) != "stop":
        seen.append(value)
        context.set_custom_status(seen)
    return seen


async def look(client: bide.Client) -> dict:
    """Everything that a store shows."""
    shown = {}
    for status in (await client.get_status_by(page_size=1000)).items:
        waits = (await client.waits(instance_id=status.instance_id)).items
        history = await client.get_history(status.instance_id)
        shown[status.instance_id] = [status.runtime_status.label, status.output, status.custom_status, status.input]
        shown[status.instance_id] += [dict(status.buffered), [wait.name for wait in waits], len(history)]
    letters = (await client.dead_letters(page_size=1000)).items
    return shown | {"letters": [[letter.instance_id, letter.data, letter.reason] for letter in letters]}


async def make(folder: Path) -> list[dict]:
    """A database without a log and one whose log holds everything; what the store showed after every single commit."""
    rng, live = random.Random(1), []
    async with bide.Hub(app, f"sqlite:///{folder}/bide.db") as hub:
        shown = [await look(hub.client)]
        for number in range(60):
            match rng.choice(("start", "raise", "raise", "raise", "stop")) if live else "start":
                case "start":
                    live.append(await hub.client.start_new("collect", f"i{number}", "x" * rng.randint(0, 400)))
                case "raise":
                    name = rng.choice(["n", "other"])
                    await hub.client.raise_event(rng.choice(live), name, number, event_id=str(number))
                case "stop":
                    await hub.client.raise_event(live.pop(rng.randrange(len(live))), "n", "stop")
            shown.append(await look(hub.client))
        copy(folder, folder / "log")
    copy(folder, folder / "database")
    return shown


def copy(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.glob("bide.db*"):
        if not file.name.endswith(("-shm", ".lock")):
            shutil.copy(file, target)


def damage(file: Path, how: str, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data))
    if how == "flip":
        data[at] ^= 1 << rng.randrange(8)
    file.write_bytes(data if how == "flip" else data[:at])


async def use(path: Path, shown: list[dict]) -> str:
    """Open what is left, and compare: the newest state, the same with another value in it, an earlier one, or the error."""
    try:
        async with bide.Hub(app, f"sqlite:///{path}") as hub:
            now = await look(hub.client)
    except bide.BideError as error:
        return type(error).__name__
    if now == shown[-1]:
        return "everything"
    if now in shown:
        return "earlier"
    return "another value" if shape(now) == shape(shown[-1]) else "different"


def shape(value: object) -> object:
    """What is there, whatever it says."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return list(map(shape, value)) if isinstance(value, list) else None


def is_sound(path: Path) -> bool:
    try:
        return not check(path, problems).violations
    except bide.StoreError:
        return False


async def main(folder: Path) -> None:
    shown = await make(folder)
    for which, how in KINDS:
        for number in range(CASES):
            once, twice = folder / f"{which}-{how}-{number}", folder / f"{which}-{how}-{number}-again"
            copy(folder / which, once)
            damage(once / ("bide.db-wal" if which == "log" else "bide.db"), how, random.Random(number))
            copy(once, twice)
            outcome = await use(once / "bide.db", shown)
            print(json.dumps([which, how, number, outcome, is_sound(twice / "bide.db")]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
