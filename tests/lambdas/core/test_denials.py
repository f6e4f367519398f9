"""What AWS's refusals tell: that a permission is missing, of which role, for which action. Offline."""

import pytest

from lambdas.core.denials import denied, told

USER = "User: arn:aws:sts::123456789012:assumed-role/ChronosTraining-AcceptRun/x is not authorized to perform: "


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDenied", True),
        ("AccessDeniedException", True),
        ("UnauthorizedOperation", True),
        ("403", True),
        ("ThrottlingException", False),
        ("ExpiredToken", False),
        ("", False),
    ],
)
def test_a_missing_permission_has_a_few_names(code, expected):
    assert denied(code) is expected


def test_role_and_action_are_named_and_what_is_encoded_is_left_out():
    message = (
        USER
        + "ec2:RunInstances on resource: arn:x because no policy allows it. Encoded authorization failure message: h8A"
    )

    said = told("RunInstances", "UnauthorizedOperation", message)

    assert said.startswith("RunInstances (ec2:RunInstances) was refused to the role ChronosTraining-AcceptRun: Unauth")
    assert said.endswith("because no policy allows it.")


def test_an_answer_that_names_nobody_still_names_the_call():
    assert told("HeadObject", "403", "") == "HeadObject was refused to the function's role: 403."
    assert told("GetObject", "AccessDenied", "Access Denied") == (
        "GetObject was refused to the function's role: AccessDenied: Access Denied"
    )
