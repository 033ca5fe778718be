"""A Flask app behind its paywall, for any WSGI server. Settings are in farthing.toml.

farthing init --devnet && flask --app examples.flask_site run
"""

from flask import Flask, request

from farthing.paywall import WsgiPaywall, open_paywall, payment_of

app = Flask(__name__)


@app.get("/articles/<slug>")
def article(slug: str) -> dict[str, str]:
    """Costs what farthing.toml says of ``GET /articles/{slug}``."""
    return {"text": f"All there is to know about {slug}."}


@app.get("/search")
def search() -> dict[str, list[str]]:
    """Costs less than its price when there is nothing to be found."""
    found = [word for word in request.args.get("words", "").split() if word == "farthing"]
    if not found:
        payment_of(request.environ).charge(0)
    return {"found": found}


app.wsgi_app = WsgiPaywall(app.wsgi_app, open_paywall("farthing.toml"))  # type: ignore[method-assign]
