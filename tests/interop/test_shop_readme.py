"""What the README tells a publisher to begin with, run as it stands there."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eth_account import Account

from farthing.chain.anvil import ANVIL_KEYS
from farthing.chain.connection import connect
from farthing.chain.token import Token
from farthing.settings import Settings
from tests.interop.readme import BASH, Shell, blocks
from tests.interop.test_foreign_clients import ROOT
from tests.serve.running import Running

SHOP = "http://127.0.0.1:8000"
NODE = "http://127.0.0.1:8545"
# Where there is none.
CURL = "python -c 'import httpx, sys; print(httpx.get(sys.argv[1]).text)' "
PUBLISHER = Account.from_key(ANVIL_KEYS[0]).address
# Of what the owner is shown there, what is not of a moment.
SAME = [
    f"Receiver {PUBLISHER}\n",
    "Charged 0.002 TUSD in 1 charge\n",
    "Redeems 0.002 TUSD of 1 channel, for it was asked for.\n",
]


def test_readme__the_first_section__an_article_is_paid_and_redeemed(tmp_path: Path) -> None:
    found = blocks("Protect your API in ten lines")
    chain, shop, reader, owner = (text for language, text in found if not language)
    (prices,) = (text for language, text in found if language == "toml")
    shell = Shell(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        node = f"http://127.0.0.1:{free.getsockname()[1]}"
    # What is installed is there already, ports are free ones, and the rest is as it stands there.
    (start,) = re.findall("farthing devnet", chain)
    with started(shell, f"{start} --port {node.rpartition(':')[2]}") as net:
        assert net.stdout is not None
        exports = [line for line in until(net.stdout, "Stop it") if line.startswith("export ")]
        shop = replaced(shop, "cd shop ", f"cd shop && sed -i s,{NODE},{node}, farthing.toml ")
        serve = "farthing serve app:app"
        with started(shell, replaced(shop, serve, f"exec {serve} --port 0 --admin-port 0")) as site:
            url = Running(site).url
            reader = replaced(replaced(reader, SHOP, url), "/path/to/farthing", str(ROOT))
            if shutil.which("curl") is None:
                reader = replaced(reader, "curl ", CURL)
            unpaid, paid = shell.run("".join(exports) + reader).rsplit("200 ", 1)
            assert json.loads(unpaid)["accepts"][0]["amount"] == "2000"
            assert json.loads(paid) == {"text": "A farthing was a quarter of a penny."}
            commands = [line[2:] for line in owner.splitlines() if line.startswith("$ ")]
            shell.environ["FARTHING_PASSWORD"] = "play"
            shown = shell.run("\n".join(["cd shop", *commands]))
            for line in SAME:
                assert line in narrow(owner) and line in narrow(shown)
        token = next(line.partition("=")[2] for line in exports if "FARTHING_TOKEN" in line)
        assert Token(connect(node), token.strip()).balance_of(PUBLISHER) == 2_000
    # And what costs what is what the README says it is.
    assert tomllib.loads(prices)["prices"] == Settings.load(tmp_path / "shop/farthing.toml").prices


@contextmanager
def started(shell: Shell, text: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a block that goes on until it is stopped, in a terminal of its own."""
    with subprocess.Popen(
        [*BASH, "-c", text],
        cwd=shell.folder,
        env=shell.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def until(lines: Iterable[str], last: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.startswith(last):
            return
    raise AssertionError(f"it ended and never said {last!r}")


def narrow(table: str) -> str:
    """The columns of a table are as wide as what is in them."""
    return re.sub(" +", " ", table)


def replaced(text: str, old: str, new: str) -> str:
    """The text with the new in the place of the old, which has to be there."""
    assert old in text
    return text.replace(old, new)
