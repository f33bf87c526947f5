"""Money moves between two accounts: both are locked, so that nobody sees it on neither of them, or on both."""

from dataclasses import dataclass

import bide

app = bide.App()


@app.entity
@dataclass
class Account:
    balance: int = 0

    def deposit(self, amount: int) -> None:
        self.balance += amount

    def withdraw(self, amount: int) -> None:
        if amount > self.balance:
            raise ValueError(f"only {self.balance} there")
        self.balance -= amount


@dataclass
class Transfer:
    source: str
    target: str
    amount: int


@app.orchestrator
def transfer(context: bide.OrchestrationContext):
    order = context.get_input(Transfer)
    with (yield context.lock_entities([order.source, order.target])):
        try:
            yield context.call_entity(order.source, "withdraw", order.amount)
        except bide.TaskFailedError as error:
            return f"refused: {error.message}"
        yield context.call_entity(order.target, "deposit", order.amount)
    return f"moved {order.amount}"
