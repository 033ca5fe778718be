"""A FastAPI app that protects itself, for any ASGI server. Settings are in farthing.toml.

farthing init --devnet && uvicorn examples.fastapi_site:app
"""

from fastapi import FastAPI

from farthing.paywall import PaywallMiddleware, open_paywall

app = FastAPI()


@app.get("/articles/{slug}")
async def article(slug: str) -> dict[str, str]:
    """Costs what farthing.toml says of ``GET /articles/{slug}``."""
    return {"text": f"All there is to know about {slug}."}


# Last, so that it stands before all other middleware. Wrong settings end the program here.
app.add_middleware(PaywallMiddleware, paywall=open_paywall("farthing.toml"))
