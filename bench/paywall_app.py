"""The app every paywall is measured on: two routes that do nothing but answer."""

from fastapi import FastAPI


def plain_app() -> FastAPI:
    """Without a paywall. ``/paid`` is the one to protect, ``/free`` stays free."""
    app = FastAPI()

    @app.get("/paid")
    async def paid() -> dict[str, str]:
        return {"weather": "sunny"}

    @app.get("/free")
    async def free() -> dict[str, str]:
        return {"weather": "unknown"}

    return app
