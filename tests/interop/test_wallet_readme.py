"""What the README tells a reader of a new wallet, run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from farthing.chain.devnet import PAYER_FUNDS, devnet
from farthing.chain.token import Token
from tests.interop.test_foreign_clients import PRICE, ROOT, serve

SECTION = re.compile(r"^## Pay with the wallet\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGE = re.compile(r"http://127\.0\.0\.1:8000/articles/\w+")


def test_readme__the_wallets_section__pays_and_gets_its_money_back(tmp_path: Path) -> None:
    section = SECTION.search((ROOT / "README.md").read_text())
    assert section is not None
    (_, create), (_, more), (language, program) = BLOCK.findall(section[1])
    assert language == "python"
    command = tmp_path / "farthing"
    command.write_text(f"#!{sys.executable}\nfrom farthing.commands import main\nmain()\n")
    command.chmod(0o700)
    with devnet() as net, serve(net, "eip3009", tmp_path) as site:
        key = "0x" + bytes(net.payers[0].key).hex()
        told = {"FARTHING_RPC": net.url, "FARTHING_TOKEN": net.token, "PAYER_KEY": key}
        search = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

        def run(*words: str, text: str) -> str:
            """Runs a block with the site's own page in the place of the README's."""
            done = subprocess.run(
                words,
                input=PAGE.sub(site.url + "/article", text),
                cwd=tmp_path,
                env={**os.environ, **told, "PYTHONPATH": str(ROOT), "PATH": search},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        # The environment of the first sections is the test's own here.
        create = create.replace(". .venv/bin/activate && ", "")
        more = more.replace("farthing wallet watch ", "farthing wallet watch --once ")
        shell = ("bash", "-eu", "-o", "pipefail")
        assert "All the news." in run(*shell, text=create)
        assert run(sys.executable, "-", text=program) == "All the news.\n"
        shown = run(*shell, text="export FARTHING_PASSWORD=play\n" + more)
        assert "0.0001" in shown and "Refunded  0.9998 TUSD" in shown
        left = Token(net.w3, net.token).balance_of(net.payers[0].address)
        assert left == PAYER_FUNDS - 2 * PRICE
