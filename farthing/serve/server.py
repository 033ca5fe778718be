"""Runs an app behind its paywall, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.middleware.cors import CORSMiddleware
from uvicorn.importer import import_from_string

from farthing.opening import Ask, open_contracts, open_keys
from farthing.operations.restored import mark_if_behind
from farthing.operations.start import PARTS, Operations
from farthing.paywall import Paywall, PaywallMiddleware, open_paywall
from farthing.paywall.admission import Charged
from farthing.paywall.asgi import App
from farthing.paywall.prices import AnyPrice
from farthing.protocol import FarthingError
from farthing.protocol.payments import REQUIRED_HEADER, RESPONSE_HEADER
from farthing.serve.admin import Admin
from farthing.serve.gate import Gate
from farthing.serve.http import OneWrite
from farthing.serve.logs import PaymentLog, log_to_stderr
from farthing.serve.metrics import Metrics
from farthing.settings import Settings

log = logging.getLogger("farthing.serve")

STOPPING = (signal.SIGINT, signal.SIGTERM)


class AppUnusable(FarthingError):
    """What was to be served is no ASGI app, or does not import."""


class PortUnusable(FarthingError):
    """An address cannot be listened on."""


@dataclass(frozen=True)
class Address:
    """Where to listen. ``option`` is what sets the port, for the user."""

    host: str
    port: int
    option: str

    def listen(self) -> socket.socket:
        """A listening socket.

        Raises:
            PortUnusable: There cannot be one.
        """
        try:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            return socket.create_server((self.host, self.port), family=family)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise PortUnusable(
                f"cannot listen on {self.host} port {self.port} ({reason}): "
                f"choose another with {self.option}."
            ) from error


def serve(
    app: str | None,
    config: Path,
    public: Address,
    admin: Address,
    *,
    grace: int,
    only: Iterable[str] = (),
    ask: Ask | None = None,
    prices: str | None = None,
) -> None:
    """Serves ``app`` until SIGTERM or SIGINT, then ends what is under way and returns.

    Args:
        app: ``module:attribute`` of an ASGI app, seen from the working directory. None where the
            paywall is not one of the parts.
        config: The settings.
        public: Where readers come.
        admin: Where metrics and health are.
        grace: Seconds that requests and parts under way have to end.
        only: The parts to run, of `PARTS`; all without any.
        ask: Asks for a keystore's password; see `open_keys`.
        prices: ``module:attribute`` of prices that are written in Python; see `open_paywall`.

    Raises:
        AppUnusable: There is no such app, or no such prices.
        PortUnusable: One of the ports is taken.
        SettingsInvalid, KeyUnusable: see `open_paywall`. Nothing was started then.
    """
    settings = Settings.load(config)
    names = frozenset(only) or frozenset(PARTS)
    application = load_app(app) if "paywall" in names else None
    written = load_prices(prices) if application is not None else None
    with contextlib.ExitStack() as stack:
        readers = None if application is None else stack.enter_context(public.listen())
        operators = stack.enter_context(admin.listen())
        log_to_stderr()
        keys = open_keys(settings, ask)
        contracts = open_contracts(settings)
        operations = Operations(settings, keys, contracts, names)
        site = None
        if application is not None and readers is not None:
            paywall = open_paywall(settings, prices=written, keys=keys, while_restored=True)
            mark_if_behind(settings, paywall.ledger, contracts.settlement, time.time())
            site = Site(application, paywall, readers, settings.cors.allow_origins)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(site, operations, operators, grace))


def load_app(name: str | None) -> App:
    """The ASGI app called ``name``.

    Raises:
        AppUnusable: There is none.
    """
    if name is None:
        raise AppUnusable("no app is named: name one such as app:app, or run --only other parts.")
    app = _imported(name)
    # Functions, and objects with a method that is called.
    if not any(map(inspect.iscoroutinefunction, (app, type(app).__call__))):
        raise AppUnusable(
            f"{name} is not an ASGI app: name one such as app:app; for Flask and Django see "
            "farthing.paywall.wsgi."
        )
    inner = (each.cls for each in getattr(app, "user_middleware", ()))
    if isinstance(app, PaywallMiddleware) or PaywallMiddleware in inner:
        raise AppUnusable(
            f"{name} has a paywall already: serve the app without it, or run it with uvicorn."
        )
    found: App = app
    return found


def load_prices(name: str | None) -> Mapping[str, AnyPrice] | None:
    """The prices called ``name``; None without a name.

    Raises:
        AppUnusable: There are none.
    """
    if name is None:
        return None
    prices = _imported(name)
    if not isinstance(prices, Mapping):
        raise AppUnusable(f"{name} are no prices: name a dict, from paths to prices.")
    return prices


def _imported(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return import_from_string(name)
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {at.filename}, line {at.lineno}"
        raise AppUnusable(f"{name} cannot be imported: {error} ({where}): correct it.") from error


@dataclass(frozen=True)
class Site:
    """An app, the paywall in front of it, and where readers come.

    ``origins`` are those of the pages whose scripts may pay.
    """

    app: App
    paywall: Paywall
    readers: socket.socket
    origins: tuple[str, ...] = ()

    def asgi(self) -> App:
        """The app as it is served."""
        gate = Gate(self.app, self.paywall)
        if not self.origins:
            return gate
        # In front of the paywall, whose own answers have to be readable too. A browser asks for
        # leave to send a payment before it sends it, and that costs nothing.
        return CORSMiddleware(
            gate,
            allow_origins=self.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[REQUIRED_HEADER, RESPONSE_HEADER],
        )


async def run(
    site: Site | None, operations: Operations, operators: socket.socket, grace: int
) -> None:
    """Serves on listening sockets until a signal, and closes the paywall; see `serve`."""
    paywall = None if site is None else site.paywall
    metrics = Metrics(paywall, operations)
    addresses = {"admin": _shown(operators)}
    paid = None
    if site is not None:
        site.paywall.on_charge = _observer(metrics)
        paid = _Server(_config(site.asgi(), grace, lifespan="auto"))
        addresses["at"] = _shown(site.readers)

    def load() -> tuple[int, int]:
        if paid is None:
            return 0, 0
        return len(paid.server_state.tasks), len(paid.server_state.connections)

    admin = _Server(_config(Admin(paywall, operations, metrics, load), 1, lifespan="off"))
    # The one that is told to stop; the other ends after it.
    main = paid or admin
    loop = asyncio.get_running_loop()
    for number in STOPPING:
        loop.add_signal_handler(number, main.stop, number)

    def started() -> None:
        # What is there now stays. To look for cycles in it over and over, behind FastAPI several
        # times a second, would keep all requests waiting 50 milliseconds each time.
        gc.collect()
        gc.freeze()
        log.info("serving", extra={"fields": addresses})

    main.on_started = started
    watched = loop.create_task(admin.serve([operators]))
    operations.start()
    try:
        if paid is not None and site is not None:
            await paid.serve([site.readers])
        else:
            await watched
    finally:
        admin.should_exit = True
        await watched
        if paywall is not None:
            # An app without a lifespan has not closed it.
            await paywall.close()
        for name in await asyncio.to_thread(operations.join, grace):
            log.warning("%s did not end in %d seconds and is left as it is", name, grace)
        log.info("stopped")


def _observer(metrics: Metrics) -> Callable[[Charged], None]:
    lines = PaymentLog(sys.stderr.buffer)

    def observe(charged: Charged) -> None:
        metrics.count(charged)
        lines.add(charged)

    return observe


def _config(app: Any, grace: int, *, lifespan: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=OneWrite,
        lifespan=lifespan,
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=grace,
    )


class _Server(uvicorn.Server):
    """One of two in a process: signals are handled for both of them, in one place."""

    on_started: Callable[[], None] | None = None

    def stop(self, number: int) -> None:
        """Ends what is under way; a second Ctrl-C waits for nothing more."""
        log.info("stopping")
        self.handle_exit(number, None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.on_started is not None:
            self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
