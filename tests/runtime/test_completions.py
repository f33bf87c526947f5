import asyncio
import gc

from bide.runtime.completions import Completions


async def test_an_end_that_nobody_asks_for_any_more_is_no_error():
    """As when the store failed for the one who waited, before he was told to look again."""
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    completions = Completions()
    ended = completions.register("x")
    completions.look_again()
    completions.forget("x", ended)
    del ended
    gc.collect()
    assert complaints == []
