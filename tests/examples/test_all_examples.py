"""`python -m examples`: runs all, and tells which failed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from examples import __main__ as examples
from tests.examples.example_kit import ROOT


def test_examples__each_has_a_test_of_its_name() -> None:
    names = examples.standalone()
    assert {"bad_batch", "news"} <= set(names)
    # These are apps for a server, and a client that needs one.
    assert not {"fastapi_site", "flask_site", "pay", "__main__"} & set(names)
    for name in names:
        assert (ROOT / "tests/examples" / f"test_{name}.py").is_file(), name


def test_main__one_that_fails__shows_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = f"\n\n{examples.RUNS}"
    (tmp_path / "first.py").write_text(f"def main():\n    raise ValueError('no')\n{ends}")
    (tmp_path / "second.py").write_text(f"def main():\n    print('one')\n    print('two')\n{ends}")
    (tmp_path / "third.py").write_text("app = None\n")
    monkeypatch.setattr(examples, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["examples"])
    with pytest.raises(SystemExit) as ended:
        examples.main()
    assert ended.value.code == 1
    failed, *said, good = capsys.readouterr().out.splitlines()
    assert failed == "first         FAILED with 1"
    assert said[-1] == "ValueError: no"
    assert good.startswith("second ") and good.endswith(" s  two")
    monkeypatch.setattr(sys, "argv", ["examples", "second"])
    with pytest.raises(SystemExit) as ended:
        examples.main()
    assert not ended.value.code
