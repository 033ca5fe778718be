"""The five steps of a wallet, and the way back."""

from __future__ import annotations

from tests.examples.example_kit import paid, run_example


def test_five_steps__as_its_docstring_says() -> None:
    lines = run_example("five_steps")
    assert lines[3:-1] == [
        "GET /articles/wrens: 0.002 TUSD, signed",
        "GET /articles/mints: 0.002 TUSD, signed",
        "GET /articles/scales: 0.002 TUSD, signed",
        "The publisher gave back 0.5 TUSD",
        "After 15 minutes the owner took back 0.494 TUSD",
        "It has 999.994 TUSD again",
    ]
    assert paid(lines) == "0.006"
