"""optuna-dashboard on a run's study: on this machine only, and without the means to change anything."""

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from nas.base.errors import UsageError
from nas.search.finished import Place
from nas.search.study import open_storage

HOST = "127.0.0.1"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


def serve_dashboard(place: Place, port: int, ready: Callable[[str], None]) -> None:
    """Serves the study at `place` until it is interrupted; `ready` gets the address once it answers (port 0: any free).

    The study is read live. Raises UsageError where optuna-dashboard is not installed or the port is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise UsageError(
            "nas report --dashboard needs optuna-dashboard, which is not installed; `pip install '.[dashboard]'`"
        ) from None
    application = read_only(wsgi(open_storage(place)))
    try:
        server = make_server(HOST, port, application, server_class=_Server, handler_class=_Silent)
    except OSError as error:
        raise UsageError(f"--port {port}: cannot be used ({error.strerror}); take another, or 0 for any") from None
    with server:
        ready(f"http://{HOST}:{server.server_port}/dashboard/")
        server.serve_forever()


def read_only(application: Application) -> Application:
    """`application` that answers nothing but GET and HEAD.

    The dashboard writes (notes, new studies, deletions) by other methods. The journal has one writer, the search, and
    another one would damage it; a database would survive it, but a look at a study shall not be able to delete it.
    """

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "this dashboard only reads; the search alone writes the study"}']

    return guarded


class _Server(ThreadingMixIn, WSGIServer):
    """A browser asks for several things at once."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """No line for every request."""

    def log_message(self, format: str, *args: Any) -> None:
        pass
