"""Live: both sides see each payment, and what needs a look."""

from __future__ import annotations

import time

import pytest
from starlette.testclient import TestClient

from examples import live
from farthing.operations.webhook import SIGNATURE_HEADER, signature_of
from tests.examples.example_kit import paid, run_example

ALERT = b'{"alert":"exposure_high"}'


def test_live__as_its_docstring_says() -> None:
    lines = run_example("live")
    payment = ["reader     0.002 TUSD", "publisher  0.002 TUSD of 0.002 TUSD"]
    warning = lines.pop(7)
    assert warning.startswith("reader     80 % and more of ")
    assert lines[:-2] == payment * 5
    assert lines[-2].startswith("webhook    exposure_high raised: 0.01 TUSD is charged and not ")
    assert paid(lines) == "0.01"


def post(secret: str, seconds: int) -> int:
    """The status of an alert that is signed so."""
    headers = {SIGNATURE_HEADER: signature_of(ALERT, secret.encode(), seconds)}
    return TestClient(live.app).post("/alerts", content=ALERT, headers=headers).status_code


def test_alert__signed__is_taken() -> None:
    assert post(live.SECRET, int(time.time())) == 200
    assert live.alerts.get_nowait() == {"alert": "exposure_high"}


@pytest.mark.parametrize(
    ("secret", "age"), [("somebody else's", 0), (live.SECRET, 3_600)], ids=["forged", "old"]
)
def test_alert__forged_or_old__is_not_believed(secret: str, age: int) -> None:
    assert post(secret, int(time.time()) - age) == 403
    assert live.alerts.empty()
