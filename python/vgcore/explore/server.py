"""The explorer on this machine: a page and one address that measures, for the browser of its user alone.

Whatever else runs in a browser may ask a server on the loopback interface. So every request must name this server as
its host, which a name that was bent to 127.0.0.1 does not; come from its own page, where a browser says from which; and
bring the token that was printed with the address.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from vgcore._core import InternalError
from vgcore.explore import page
from vgcore.explore.reply import measure

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
#: What a page may call this machine.
NAMES = (HOST, "localhost", "[::1]")
#: Bytes of the longest request.
LONGEST = 10_000
#: Seconds in which a request must have come, its head and its body each.
PATIENCE = 10.0
TOKEN = "x-vgcore-token"  # noqa: S105 (the name of a header)
#: What stands between the token and the number of the page in what a page brings.
OF_PAGE = "."
HEADERS = {
    "cache-control": "no-store",
    # The page says itself what it may load; this is what only a header can say, and what answers of other sorts need.
    "content-security-policy": "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
#: What a browser shows of an address that is refused; without the icon it would ask for one.
REFUSAL = """\
<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>vgcore explorer</title><p>{sentence}.</p></html>
"""


class Refused(Exception):  # noqa: N818 (what is refused is no fault of the server)
    """A request that is not answered, with its status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Turns:
    """One measurement at a time, since each takes all cores; of what a page waits for only the newest."""

    def __init__(self) -> None:
        self._running = asyncio.Lock()
        self._numbers = itertools.count()
        self._newest: dict[str, int] = {}

    async def take(self, of_page: str, work: Callable[[], Any]) -> Any:
        """Do work on a thread when it is its turn; refuse it where the page has asked anew before it began."""
        number = self._newest[of_page] = next(self._numbers)
        async with self._running:
            if self._newest[of_page] != number:
                raise Refused(409, "a newer request of this page took its place")
            try:
                return await asyncio.to_thread(work)
            finally:
                if self._newest[of_page] == number:
                    del self._newest[of_page]


class Guard:
    """Lets through what comes from the page of this server, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        names = [f"{name}:{port}" for name in NAMES] + [*NAMES] * (port == 80)
        self.app = app
        self.token = token
        self.hosts: set[str] = {*names}
        self.origins: set[str] = {f"http://{name}" for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":  # the start and the end of the server
            await self.app(scope, receive, send)
            return
        from starlette.datastructures import MutableHeaders
        from starlette.requests import Request

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self.check(Request(scope))
        except Refused as error:
            await _refusal(scope, error)(scope, receive, sent)
        else:
            await self.app(scope, receive, sent)

    def check(self, request: Request) -> None:
        """Refuse what does not come from the page of this server, or does not bring its token."""
        host, origin = request.headers.getlist("host"), request.headers.getlist("origin")
        if len(host) != 1 or host[0].lower() not in self.hosts:
            raise Refused(403, "this server answers under its own address alone, the one that it printed")
        if origin and {each.lower() for each in origin} - self.origins:
            raise Refused(403, "this server answers its own page alone")
        brought = request.headers.get(TOKEN) or request.query_params.get("token") or ""
        if not secrets.compare_digest(brought.partition(OF_PAGE)[0].encode(), self.token.encode()):
            raise Refused(403, "the token is missing or wrong: open the address that the server printed, all of it")


def app(token: str, port: int) -> Starlette:
    """The server's application, as it answers on a port to those who bring the token."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    turns = Turns()

    async def show(_: Request) -> Response:
        return HTMLResponse(page.served(f"{token}{OF_PAGE}{secrets.token_hex(8)}"))

    async def reply(request: Request) -> Response:
        given = await _read(request)
        # A page keeps to one token, so that what it waits for is its own.
        found = await turns.take(request.headers.get(TOKEN, ""), lambda: measure(given))
        return _json(found)

    async def refused(_: Request, error: Exception) -> Response:
        status = (
            error.status if isinstance(error, Refused) else 422 if isinstance(error, ValueError | TypeError) else 500
        )
        return _error(status, str(error))

    async def unforeseen(_: Request, error: Exception) -> Response:
        # This answer passes no guard.
        return _error(500, f"vgcore has a fault: {type(error).__name__}: {error}", HEADERS)

    async def missing(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 (as it is registered below)
        return _error(error.status_code, f"{error.detail}: this server has GET / and POST /measure", error.headers)

    return Starlette(
        routes=[Route("/", show, methods=["GET"]), Route("/measure", reply, methods=["POST"])],
        middleware=[Middleware(Guard, token=token, port=port)],
        exception_handlers={
            HTTPException: missing,
            Exception: unforeseen,
            **dict.fromkeys((Refused, ValueError, TypeError, MemoryError, InternalError), refused),
        },
    )


async def _read(request: Request) -> object:
    """The JSON that a request brings."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # which a form of another site cannot say
        raise Refused(415, "a request must be of the type application/json")
    try:
        body = await asyncio.wait_for(_body(request), PATIENCE)
    except asyncio.TimeoutError:
        raise Refused(408, f"a request must come within {PATIENCE:g} seconds") from None
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused(400, "a request must be a JSON object") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            raise Refused(413, f"a request has {LONGEST} bytes at most")
    return bytes(body)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _json(found: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    from starlette.responses import Response

    text = json.dumps(found, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, "application/json")


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return _json({"error": sentence}, status, headers)


def _refusal(scope: Scope, error: Refused) -> Response:
    """What who is refused gets: a page for a person, JSON for a program."""
    from starlette.datastructures import Headers
    from starlette.responses import HTMLResponse

    if scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", ""):
        return HTMLResponse(REFUSAL.format(sentence=str(error).capitalize()), error.status)
    return _error(error.status, str(error))


def serve(port: int, started: Callable[[str], None]) -> None:
    """Answer until Ctrl-C.

    Args:
        port: Of 127.0.0.1; 0 for any that is free.
        started: Called with the address of the page, once it can be opened.

    Raises:
        ImportError: Without starlette and uvicorn.
        OSError: Where the port is taken.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
        from uvicorn.protocols.http.h11_impl import H11Protocol
    except ImportError:
        raise ImportError("vgcore explore needs starlette and uvicorn: pip install 'vgcore[explore]'") from None

    class Hurried(H11Protocol):
        """HTTP for clients that say what they want."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(PATIENCE, self.be_gone)

        def be_gone(self) -> None:
            if getattr(self, "cycle", None) is None:  # no head has come; uvicorn's types do not know that state
                self.transport.close()

    with listening(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
        quiet: dict[str, Any] = {"log_config": None, "access_log": False, "log_level": "critical"}
        config = uvicorn.Config(
            app(token, port),
            **quiet,
            http=Hurried,
            server_header=False,
            timeout_graceful_shutdown=1,
            ws="none",
            lifespan="off",
        )
        started(f"http://{HOST}:{port}/?token={token}")
        uvicorn.Server(config).run(sockets=[listener])


def listening(port: int) -> socket.socket:
    """A socket that listens on a port of this machine alone."""
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        # Without its number: an error that has one and names no file is taken to be about what is printed.
        raise OSError(
            f"cannot listen on port {port} of {HOST}: {error.strerror}; leave --port out for a free one"
        ) from None
