"""What looks like a secret does not reach the log."""

import json

import pytest
import structlog

from app.log import configure

PLANTED = "plantedPLANTED0123456789"


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        (f"whsec_{PLANTED}", "[hidden]"),
        (f"key sk_live_{PLANTED}, twice rk_test_{PLANTED}", "key [hidden], twice [hidden]"),
        (f"postgresql://user:{PLANTED}@db/x", "postgresql://[hidden]@db/x"),
        ("evt_1 was kept", "evt_1 was kept"),
    ],
)
def test_a_secret_in_a_log_line_is_hidden(
    capsys: pytest.CaptureFixture[str], said: str, logged: str
) -> None:
    before = structlog.get_config()
    try:
        configure()
        structlog.get_logger().info("door.opened", reason=said)
    finally:
        structlog.configure(**before)

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["reason"], line["level"]) == ("door.opened", logged, "info")
