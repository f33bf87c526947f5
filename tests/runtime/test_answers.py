"""Answers between nodes: an error is the same one over there."""

import pytest

from bide import errors
from bide.runtime.answers import decode_answer, encode_answer

ARGUMENTS = {
    "PayloadTooLargeError": ("The input", 2, 1),
    "OrchestratorNotFoundError": ("x", ["b", "a"]),
    "EntityNotFoundError": ("x", ["b", "a"]),
    "InstanceError": ("no", "i"),
    "InstanceNotFoundError": ("i",),
    "InstanceEndedError": ("i", "Completed"),
    "InstanceExistsError": ("i", "Running"),
    "InstanceStateError": ("i", "Running", "purge", "an ended one"),
    "TaskFailedError": ("work", "ValueError", "no", "trace"),
    "EventPayloadError": ("Approval", "1", "no"),
    "NonDeterminismError": ("i", "a", "b", "x.py:1"),
    "RemoteError": ("no", 500),
}
KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.BideError)]


def heard(answer):
    with pytest.raises(type(answer)) as raised:
        decode_answer(encode_answer(answer))
    return raised.value


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_has_its_class_its_text_and_its_attributes(kind):
    """All of them, so that a new one cannot be forgotten."""
    error = kind(*ARGUMENTS.get(kind.__name__, ("no",)))
    other = heard(error)
    assert (type(other), str(other), vars(other)) == (kind, str(error), vars(error))


def test_an_error_may_be_long():
    """As in a hub with many orchestrators; how much a notice may carry is the store's business."""
    error = errors.OrchestratorNotFoundError("x", [f"an-orchestrator-with-a-name-{number}" for number in range(1000)])
    assert heard(error).known == error.known


@pytest.mark.parametrize("value", [True, False, None])
def test_a_value_is_itself(value):
    """Also none."""
    assert decode_answer(encode_answer(value)) is value


def test_an_error_of_a_later_version_is_named():
    """A node that does not know it says so."""
    with pytest.raises(errors.RemoteError, match="TomorrowsError: no"):
        decode_answer('{"error": "TomorrowsError", "message": "no", "attributes": {}}')
