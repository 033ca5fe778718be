"""A market to try things in: a chain, publishers and payers, in one block and gone after it.

    with playground() as play:
        site = play.publish(app, {"GET /articles/{slug}": "0.002"})
        reader = play.payer()
        print(reader.http.get(f"{site.url}/articles/first").text)
        print(play.prove())

Only the money is not real: the chain is that of `farthing devnet`, requests go over sockets of this
machine, ledgers and wallets are files. For tests of an app that is paid, and for the examples. It
needs ``farthing[serve]``, and anvil.
"""

from farthing.testing.errors import BooksDoNotBalance, SiteFailed
from farthing.testing.payer import Payer
from farthing.testing.playground import Playground, playground
from farthing.testing.publisher import Publisher

__all__ = ["BooksDoNotBalance", "Payer", "Playground", "Publisher", "SiteFailed", "playground"]
