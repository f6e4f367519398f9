"""Why an instance is gone: EC2's reason for its state, weighed with the recorded times. Runs under pytest, offline."""

import pytest

from lambdas.core.losses import loss

OWN, OUTSIDE = "Client.InstanceInitiatedShutdown", "Client.UserInitiatedShutdown"
SPOT, SERVER = "Server.SpotInstanceTermination", "Server.InternalError"


@pytest.mark.parametrize(
    ("facts", "reason", "late", "code", "said"),
    [
        ({"phase": ""}, OWN, False, "BootFailed", "switched itself off while it booted; the instance never reported"),
        ({"phase": "boot", "heartbeat_at": 1}, OWN, False, "BootFailed", "while it booted"),
        ({"phase": "training"}, OWN, False, "InstanceLost", "switched itself off without a last report; last seen at"),
        ({"phase": "training"}, OWN, True, "RunTimedOut", "switched itself off at its own time limit"),
        ({"phase": ""}, OWN, True, "RunTimedOut", "switched itself off at its own time limit"),
        ({"phase": "training"}, OUTSIDE, False, "InstanceLost", "is terminated, EC2 says Client.UserInitiatedShutdown"),
        ({"phase": "training"}, "", False, "InstanceLost", "is terminated; last seen at training"),
        ({"phase": "training"}, SPOT, False, "SpotInterrupted", "Without a notice"),
        ({"phase": "training", "interruption_at": 5}, OWN, False, "SpotInterrupted", "Notice"),
        ({"phase": "training"}, SERVER, False, "InstanceLost", "EC2 says Server.InternalError"),
    ],
)
def test_a_loss_is_told_by_who_ended_the_instance(make_record, facts, reason, late, code, said):
    record = make_record(**facts)
    now = record.deadline_at + (1 if late else -600)

    found, detail = loss(record, "terminated", reason, now)

    assert found == code
    assert said in detail
