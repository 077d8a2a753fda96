"""The server behind the page: on 127.0.0.1 alone, for whoever has the token that its address carries.

Design: Python's own `http.server`. Every request needs the token; one from another page of the browser (a foreign
Origin, or a Host that is a name of somebody else's) is refused, so no website can ask what lies here. It sends nothing
anywhere, and reads no path that a request names: files of the page are a fixed table.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from npsoftmax.errors import InputError
from npsoftmax.look.answers import Answers
from npsoftmax.look.plain import plain

HOST = "127.0.0.1"
MOST_BODY = 20 * 2**20  # bytes of a request: a photograph
PATIENCE = 30  # seconds that a request may take to arrive
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PAGE = ("app.js", "compare.js", "draw.js", "gradient.js", "head.js", "network.js", "run.js", "style.css")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class LookServer(ThreadingHTTPServer):
    """The page and its answers. port: 0 for any that is free. A context manager that serves in a thread of its own."""

    daemon_threads = True

    def __init__(self, answers: Answers, port: int = 0):
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"--port {port} cannot be used: {reason}. Leave it out for one that is free.") from error
        self.answers, self.token = answers, secrets.token_urlsafe(16)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://{HOST}:{self.server_port}/?token={self.token}"

    def hosts(self) -> tuple[str, ...]:
        """What the Host of a request may be."""
        end = "" if self.server_port == 80 else f":{self.server_port}"  # which browsers leave out
        return tuple(name + end for name in (HOST, "localhost"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that goes away in the middle is no news."""

    def __enter__(self) -> LookServer:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: LookServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "npsoftmax", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self.close_connection |= "Content-Length" in self.headers  # a body that nobody reads is no next request
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def log_message(self, *_: Any) -> None:
        """Nothing: the console is for the address."""

    # ------------------------------------------------------------ who may ask
    def _answered(self, answer: Callable[[str], tuple[str, bytes]]) -> None:
        status = HTTPStatus.OK
        try:
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            self._check(query)
            kind, content = answer(url.path)
        except Refused as refused:
            self.close_connection = True  # what is left of its body is not read
            status, kind, content = refused.status, "application/json", _json({"error": refused.sentence})
        except InputError as error:
            status, kind, content = HTTPStatus.UNPROCESSABLE_ENTITY, "application/json", _json({"error": str(error)})
        except (TimeoutError, ConnectionError):
            self.close_connection = True
            return
        except Exception as error:  # a mistake of this library: the page says so, and the server goes on
            self.close_connection = True
            status, kind = HTTPStatus.INTERNAL_SERVER_ERROR, "application/json"
            content = _json(
                {"error": f"npsoftmax made a mistake here, {type(error).__name__}: {error}. Please tell us."}
            )
        self._send(status, kind, content)

    def _check(self, query: dict[str, list[str]]) -> None:
        if self.headers.get("Host") not in self.server.hosts():
            raise Refused(HTTPStatus.FORBIDDEN, "this server answers at 127.0.0.1 alone")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.server.hosts()]:
            raise Refused(HTTPStatus.FORBIDDEN, "another page asked; open the address that npsoftmax look printed")
        given = self.headers.get("X-Token") or (query.get("token") or [""])[0]
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise Refused(
                HTTPStatus.FORBIDDEN, "the token is wrong: open the whole address that npsoftmax look printed"
            )

    # ------------------------------------------------------------ answers
    def _get(self, path: str) -> tuple[str, bytes]:
        if path == "/":
            text = _file("index.html").decode().replace("TOKEN", self.server.token)
            return "text/html; charset=utf-8", text.encode()
        name = path.removeprefix("/")
        if name not in PAGE:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no {path:.60}")
        content = _file(name)
        if name.endswith(".js"):  # a module's imports carry the token too
            content = content.replace(b'.js";', f'.js?token={self.server.token}";'.encode())
        return f"{TYPES[name.rpartition('.')[2]]}; charset=utf-8", content

    def _post(self, path: str) -> tuple[str, bytes]:
        body = self._body()
        name = path.removeprefix("/api/")
        if name == "upload":
            return "application/json", _json(self.server.answers.upload(body))
        if path == name or name not in self.server.answers.questions:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no {path:.60}")
        try:
            asked = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "the body of a question is a JSON object")
        start = time.perf_counter()
        answer = self.server.answers.ask(name, asked)
        return "application/json", _json(plain(answer) | {"seconds": round(time.perf_counter() - start, 4)})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a question says how long it is")
        if len(length) > 12 or int(length) > MOST_BODY:
            most = f"an image may have up to {MOST_BODY // 2**20} MB; give a smaller one"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, most)
        return self.rfile.read(int(length))

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _file(name: str) -> bytes:
    return (files("npsoftmax.look") / "page" / name).read_bytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()
