"""A news site that is paid by the article, and a reader who is asked only about what is dear.

    python examples/news.py [--stay]

An article costs a fifth of a cent: the reader's wallet pays it without a question. A report costs
sixty cents, above the five that it pays by itself: it asks, and here a function says no to the one
and yes to the other. What is not there costs nothing. The front page is for people: with --stay the
site stays up until you press Enter, and tells a browser without a wallet what an article costs.

In earnest prices stand here or in farthing.toml, `farthing serve news:app --prices news:PRICES`
serves the site, and the wallet is one that `farthing wallet create` made; see the README.
"""

import sys

from fastapi import FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from farthing.testing import playground
from farthing.wallet import Approval, NotApproved

PRICES = {"GET /articles/{slug}": "0.002", "GET /reports/{slug}": "0.60"}
ARTICLES = {
    "farthing": "A farthing was a quarter of a penny.",
    "pennies": "Pennies cost more to make than they buy.",
    "wrens": "From 1937 on a wren was on the farthing's back.",
}
REPORTS = {"mint": "A year at the mint.", "harbour": "Who owns the harbour."}

app = FastAPI()


@app.get("/", response_class=HTMLResponse)
async def front() -> str:
    """Free: no price names it."""
    paths = [f"/articles/{slug}" for slug in ARTICLES] + [f"/reports/{slug}" for slug in REPORTS]
    links = "".join(f'<li><a href="{path}">{path}</a>' for path in paths)
    return f"""<!doctype html><html lang="en"><title>The Quarter Penny</title>
<style>body {{ font: 1.1em/1.6 system-ui, sans-serif; margin: 2em }}</style>
<h1>The Quarter Penny</h1><ul>{links}</ul>"""


@app.get("/articles/{slug}")
async def article(slug: str) -> dict[str, str]:
    return found(ARTICLES, slug)


@app.get("/reports/{slug}")
async def report(slug: str) -> dict[str, str]:
    return found(REPORTS, slug)


def found(texts: dict[str, str], slug: str) -> dict[str, str]:
    if slug not in texts:
        # An answer of 400 and above is not charged.
        raise HTTPException(404)
    return {"text": texts[slug]}


def main() -> None:
    with playground() as play:
        site = play.publish(app, PRICES)

        def approve(asked: Approval) -> bool:
            is_wanted = asked.request.url.endswith("/harbour")
            answer = "yes" if is_wanted else "no"
            print(f"May {asked.request.url} cost {play.show(asked.price)}? {answer}.")
            return is_wanted

        reader = play.payer(budget="2", approve_above="0.05", approve=approve)
        for slug in [*ARTICLES, "dodos"]:
            answer = reader.http.get(f"{site.url}/articles/{slug}")
            print(f"{answer.status_code} {answer.json()}, {play.show(reader.spent())} spent")
        for slug in REPORTS:
            try:
                answer = reader.http.get(f"{site.url}/reports/{slug}")
                print(f"{answer.status_code} {answer.json()}, {play.show(reader.spent())} spent")
            except NotApproved as refused:
                print(f"Not paid: {refused}")
        if "--stay" in sys.argv:
            input(f"Look at {site.url} and press Enter to end.\n")
        print(play.prove())


if __name__ == "__main__":
    main()
