from bide.functions.user_code import UserCode


def test_its_thread_ends_without_a_word_when_nothing_runs():
    """Not with a traceback: there may be no coroutine to cancel."""
    code = UserCode(1)
    code.close()
    assert not code._thread.is_alive()
    assert code._loop.is_closed()
