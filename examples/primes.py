"""Work for all cores: slices of a computation in worker processes. Try `python examples/primes.py`."""

import asyncio

import bide

app = bide.App()


@app.activity(process=True)
def count_primes(numbers: tuple[int, int]) -> int:
    return sum(all(number % d for d in range(2, int(number**0.5) + 1)) for number in range(*numbers))


@app.orchestrator
def primes(context: bide.OrchestrationContext):
    limit, size = context.get_input(int), 50_000
    slices = [(at, min(at + size, limit)) for at in range(2, limit, size)]
    return sum((yield context.task_all([context.call_activity(count_primes, each) for each in slices])))


async def main() -> None:
    async with bide.Hub(app, "sqlite:///primes.db") as hub:
        instance_id = await hub.client.start_new(primes, client_input=300_000)
        print((await hub.client.wait_for_completion(instance_id)).output)


if __name__ == "__main__":
    asyncio.run(main())
