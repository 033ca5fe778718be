"""What the README tells a reader of a new wallet, run as it stands there."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path

import httpx

from farthing.chain.devnet import PAYER_FUNDS, devnet
from farthing.chain.token import Token
from tests.interop.readme import Shell, blocks
from tests.interop.test_foreign_clients import PRICE, serve

PAGE = re.compile(r"http://127\.0\.0\.1:8000/articles/\w+")


def test_readme__the_wallets_section__pays_and_gets_its_money_back(tmp_path: Path) -> None:
    (_, create), (_, more), (language, program) = blocks("Pay with the wallet")
    assert language == "python"
    shell = Shell(tmp_path)
    with devnet() as net, serve(net, "eip3009", tmp_path) as site:
        key = "0x" + bytes(net.payers[0].key).hex()
        shell.environ |= {"FARTHING_RPC": net.url, "FARTHING_TOKEN": net.token, "PAYER_KEY": key}
        article = site.url + "/article"
        # The site's own page in the place of the README's.
        create, more, program = (PAGE.sub(article, each) for each in (create, more, program))
        more = more.replace("farthing wallet watch ", "farthing wallet watch --once ")
        assert "All the news." in shell.run(create)
        assert shell.run(program, sys.executable, "-") == "All the news.\n"
        shell.environ["FARTHING_PASSWORD"] = "play"
        # The page a browser gets has a command too.
        page = httpx.get(article, headers={"accept": "text/html"}).text
        (command,) = re.findall("<pre>(farthing .*?)</pre>", page)
        assert "All the news." in shell.run(unescape(command))
        shown = shell.run(more)
        assert "0.0001" in shown and "Refunded  0.9997 TUSD" in shown
        left = Token(net.w3, net.token).balance_of(net.payers[0].address)
        assert left == PAYER_FUNDS - 3 * PRICE
