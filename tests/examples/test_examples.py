"""Every example does what its text says, on the real engine."""

from datetime import timedelta

from bide.testing import Harness
from examples import approval, bank, counter, escalation, first_of_three, permit, phone_verification, primes


async def finish(harness: Harness, instance_id: str):
    await harness.run_until_idle()
    return (await harness.client.wait_for_completion(instance_id, timeout=5)).output


async def test_one_approval():
    """The approval comes, the order is processed."""
    async with Harness(approval.app) as harness:
        instance_id = await harness.client.start_new("approval", client_input="7")
        await harness.assert_waiting_for(instance_id, "Approval")
        await harness.client.raise_event(instance_id, "Approval", True)
        assert await finish(harness, instance_id) == "order 7 processed"


async def test_the_first_of_three_events():
    """The event that comes decides; the others are not waited for."""
    async with Harness(first_of_three.app) as harness:
        instance_id = await harness.client.start_new("select")
        await harness.client.raise_event(instance_id, "Event2")
        assert await finish(harness, instance_id) == "Event2"


async def test_the_building_permit(tmp_path, monkeypatch, capsys):
    """Three gates and then the activity, as `make run` shows it."""
    monkeypatch.chdir(tmp_path)
    await permit.main()
    assert capsys.readouterr().out.splitlines() == [
        "waiting for CityPlanningApproval, FireDeptApproval, BuildingDeptApproval",
        "waiting for FireDeptApproval, BuildingDeptApproval",
        "waiting for BuildingDeptApproval",
        "Building permit for A-17",
    ]


async def test_escalation_after_three_days():
    """Nobody answers in time, the manager does."""
    async with Harness(escalation.app) as harness:
        instance_id = await harness.client.start_new("expense")
        await harness.advance(timedelta(days=3))
        await harness.client.raise_event(instance_id, "Approval", True)
        assert await finish(harness, instance_id) == "approved"


async def test_nobody_answers_at_all():
    """Both deadlines pass: rejected."""
    async with Harness(escalation.app) as harness:
        instance_id = await harness.client.start_new("expense")
        await harness.advance(timedelta(days=6))
        assert await finish(harness, instance_id) == "rejected"


async def test_primes_are_counted_in_worker_processes():
    async with Harness(primes.app, activity_processes=1) as harness:
        instance_id = await harness.client.start_new("primes", client_input=100_100)
        assert (await harness.client.wait_for_completion(instance_id, timeout=30)).output == 9_598


async def test_the_counter_lives_through_generations():
    """Events add up across continue-as-new."""
    async with Harness(counter.app) as harness:
        instance_id = await harness.client.start_new("counter")
        for amount in (1, 2, 3, 0):
            await harness.client.raise_event(instance_id, "Add", amount)
        assert await finish(harness, instance_id) == 6
        assert (await harness.client.get_status(instance_id)).generation == 3


async def test_money_moves_between_accounts():
    """To and fro; what is not there is not sent, and no money comes or goes."""
    async with Harness(bank.app) as harness:
        await harness.client.signal_entity("@account@alice", "deposit", 100)
        moves = [("alice", "bob", 70), ("bob", "alice", 20), ("alice", "bob", 50), ("carol", "bob", 1)]
        outputs = []
        for source, target, amount in moves:
            order = bank.Transfer(f"@account@{source}", f"@account@{target}", amount)
            outputs.append(await finish(harness, await harness.client.start_new("transfer", client_input=order)))
        assert outputs == ["moved 70", "moved 20", "moved 50", "refused: only 0 there"]
        accounts = (await harness.client.list_entities("account", fetch_state=True)).items
        assert {each.entity_id.key: each.state["balance"] for each in accounts} == {"alice": 0, "bob": 100}


async def test_phone_verification():
    """The right code at the third try is right; 90 seconds of silence are not."""
    code = phone_verification.send_code("555-1234")
    async with Harness(phone_verification.app) as harness:
        instance_id = await harness.client.start_new("verify_phone", client_input="555-1234")
        for answer in (code + 1, code + 2, code):
            await harness.client.raise_event(instance_id, "SmsChallengeResponse", answer)
        assert await finish(harness, instance_id) is True
        silent = await harness.client.start_new("verify_phone", client_input="555-1234")
        await harness.advance(90)
        assert await finish(harness, silent) is False
