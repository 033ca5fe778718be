"""The page a person sees who opens a priced address in a browser."""

from __future__ import annotations

import shlex
from html import escape
from string import Template

from farthing.protocol.payments import Terms

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$price to open this page</title>
<style>
:root { color-scheme: light dark; font: 17px/1.55 system-ui, sans-serif }
body { margin: 0; display: grid; min-height: 100vh; place-items: center }
main { max-width: 34rem; padding: 2rem 1.25rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem }
code, pre { font: 0.85rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
pre { padding: 0.8rem; border: 1px solid #8886; border-radius: 0.4rem; white-space: pre-wrap }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem }
dt { opacity: 0.7 } dd { margin: 0 }
.wrong { border-left: 4px solid #c33; padding-left: 0.8rem }
</style>
</head>
<body>
<main>
<h1>This page costs $price</h1>
$wrong
<p>It is paid for with x402: a program with a wallet, such as a browser extension or a command
line, puts a deposit into escrow once, $deposit or more, and then pays each page by itself. What you
do not spend you get back.</p>
<p>On a command line, with a wallet that <code>farthing wallet create</code> has made:</p>
<pre>$command</pre>
<p>In a program of your own, with x402's client for Python:</p>
<pre>pip install "x402[evm,httpx]"</pre>
<dl>
<dt>Page</dt><dd><code>$url</code></dd>
<dt>Price</dt><dd>$price</dd>
<dt>Minimum deposit</dt><dd>$deposit</dd>
<dt>Network</dt><dd><code>$network</code></dd>
<dt>Token</dt><dd><code>$token</code></dd>
<dt>Paid to</dt><dd><code>$receiver</code></dd>
</dl>
</main>
</body>
</html>
"""
)
_WRONG = Template('<p class="wrong">The payment that came was not taken: $reason.</p>')


def page(price: str, deposit: str, terms: Terms, url: str, reason: str | None) -> bytes:
    """The page as UTF-8: what ``url`` costs, and how to pay it. Everything in it is escaped."""
    # Somebody else may have made the address, and a reader pastes this into a shell.
    command = f"farthing wallet get {shlex.quote(url)}"
    wrong = "" if reason is None else _WRONG.substitute(reason=escape(reason.rstrip(".")))
    return _PAGE.substitute(
        price=escape(price),
        deposit=escape(deposit),
        command=escape(command),
        url=escape(url),
        wrong=wrong,
        network=escape(terms.network),
        token=escape(terms.token),
        receiver=escape(terms.receiver),
    ).encode()
