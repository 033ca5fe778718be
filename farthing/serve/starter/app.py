"""A site that is paid by the page. What costs what is in farthing.toml.

farthing serve app:app
"""

from fastapi import FastAPI, HTTPException, Request

from farthing.paywall import payment_of

ARTICLES = {
    "first": "A farthing was a quarter of a penny.",
    "second": "Small change adds up.",
}

app = FastAPI()


@app.get("/")
async def front() -> dict[str, list[str]]:
    """Free: no price names it."""
    return {"articles": [f"/articles/{slug}" for slug in ARTICLES]}


@app.get("/articles/{slug}")
async def article(slug: str) -> dict[str, str]:
    """Costs what farthing.toml says, and nothing when it fails."""
    if slug not in ARTICLES:
        raise HTTPException(404)
    return {"text": ARTICLES[slug]}


@app.get("/search")
async def search(words: str, request: Request) -> dict[str, list[str]]:
    """Costs 0.001 for each article found, and never more than the price."""
    found = [slug for slug, text in ARTICLES.items() if words.lower() in text.lower()]
    payment = payment_of(request.scope)
    payment.charge(min(payment.price, 1_000 * len(found)))
    return {"found": found}
