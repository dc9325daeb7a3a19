"""
The web server of a page, by viser.

viser joins the path of a request to its folder as it comes, ``..`` included, and would give out
every file that the user can read. The folder that it is handed here finds nothing outside. It
also lets pages of other web sites connect, whatever address it listens at: a browser opens such a
connection for any page that the user visits. Here they are refused by their origin.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack, redirect_stdout
from http import HTTPStatus
from importlib.metadata import version
from inspect import isawaitable
import io
import os
from pathlib import Path
import socket
import sys
from typing import Any, TYPE_CHECKING
from urllib.parse import urlsplit

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import is_within

if TYPE_CHECKING:
    from viser import ViserServer

THIS_MACHINE, ALL_ADDRESSES = '127.0.0.1', '0.0.0.0'
_LOCAL_NAMES = ('localhost', THIS_MACHINE)
_SERVERS = 'websockets.legacy.server', 'websockets.asyncio.server'
"""Modules whose ``serve`` viser calls: 0.2.7 that of the first, 1.1.1 of the second."""
_OUTSIDE = b'GET /../../__init__.py HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n'
"""Request for a file of viser beside its page."""
_FOREIGN = (
    b'GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://other.example\r\n'
    b'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
    b'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n'
)
"""Connection of a page of another web site."""


def open_server(port: int, *, is_shared: bool = False) -> 'ViserServer':
    """
    Open a page that is empty, on this machine alone or at all its addresses.

    Parameters
    ----------
    port : int
        0 takes a free one.
    is_shared : bool
        Whether other machines may open the page.

    Raises
    ------
    NerfReversalError
        If viser is missing or does not keep to its page, or the port cannot be opened.
    """
    try:
        import viser
    except ImportError as error:
        raise NerfReversalError(
            f'the page needs viser, which cannot be imported ({error}): {remedies.INSTALL_VISER}'
        ) from error
    host = ALL_ADDRESSES if is_shared else THIS_MACHINE
    port = _free_port(host, port)
    with ExitStack() as stack:
        stack.enter_context(_files_of_page_alone(viser))
        for module in filter(None, map(sys.modules.get, _SERVERS)):
            stack.enter_context(_own_origin_alone(module, is_shared))
        stack.enter_context(redirect_stdout(io.StringIO()))  # it prints its own address
        server = viser.ViserServer(host=host, port=port, label='nerf-reversal', verbose=False)
    # Visitors could publish the page on the internet, through a server of the makers of viser. The
    # button for it stays, because the page of viser 0.2.7 fails without it.
    server.request_share_url = lambda **_: None  # type: ignore[method-assign]
    server.gui.configure_theme(show_logo=False, control_width='large')
    if server.get_port() != port or not _keeps_to_page(port):
        server.stop()
        raise NerfReversalError(
            f'viser {version("viser")} does not keep to its page: {remedies.KNOWN_VISER}'
        )
    return server


def _free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0; viser would silently take the next free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, 'strerror', None) or 'ports go up to 65535'
            raise NerfReversalError(
                f'cannot open port {port} ({reason}): {remedies.OTHER_PORT}'
            ) from error
        free: int = probe.getsockname()[1]
        return free


class _PageFolder(type(Path())):  # type: ignore[misc]
    """A folder whose ``/`` finds nothing outside of it."""

    def __truediv__(self, name: str | os.PathLike[str]) -> Path:
        folder = Path(str(self))
        path = folder / name
        return path if is_within(path, folder) else folder / 'nothing'


@contextmanager
def _files_of_page_alone(viser: Any) -> Iterator[None]:
    """Let servers that are made meanwhile give out the files of the page alone."""
    original = viser.infra.WebsockServer

    class PageServer(original):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, http_server_root: Path, **named: Any) -> None:
            super().__init__(*args, http_server_root=_PageFolder(http_server_root), **named)

    viser.infra.WebsockServer = PageServer
    try:
        yield
    finally:
        viser.infra.WebsockServer = original


@contextmanager
def _own_origin_alone(module: Any, is_shared: bool) -> Iterator[None]:
    """Let what ``serve`` of a module of websockets opens meanwhile refuse foreign origins."""
    original = module.serve

    def serve(*args: Any, process_request: Callable[[Any, Any], Any], **named: Any) -> Any:
        async def process(first: Any, request: Any) -> Any:
            headers = getattr(request, 'headers', request)
            if not _is_own_origin(headers.get('Origin'), headers.get('Host'), is_shared):
                text = 'the page is not for other web sites\n'
                if request is headers:  # of viser 0.2.7; `first` is the path, else the connection
                    return HTTPStatus.FORBIDDEN, {}, text.encode()
                return first.respond(HTTPStatus.FORBIDDEN, text)
            answer = process_request(first, request)
            return await answer if isawaitable(answer) else answer

        return original(*args, process_request=process, **named)

    module.serve = serve
    try:
        yield
    finally:
        module.serve = original


def _is_own_origin(origin: str | None, host: str | None, is_shared: bool) -> bool:
    """
    Whether a request comes from the page itself, or from no browser.

    A page that is not shared is one of this machine by its name, too: another web site may let its
    own name lead to this machine. The port may be that of a tunnel.
    """
    if origin is None:
        return True
    try:
        address = urlsplit(origin)
    except ValueError:
        return False
    return address.netloc == host and (is_shared or address.hostname in _LOCAL_NAMES)


def _keeps_to_page(port: int) -> bool:
    """Whether the server gives out no file outside of the page, and refuses other web sites."""
    return _status(port, _OUTSIDE) != HTTPStatus.OK and (
        _status(port, _FOREIGN) == HTTPStatus.FORBIDDEN
    )


def _status(port: int, request: bytes) -> int:
    """Return the status of the answer to a request; 0 if there is none."""
    with socket.create_connection((THIS_MACHINE, port), timeout=10) as connection:
        connection.sendall(request)
        words = connection.recv(64).split()
    return int(words[1]) if len(words) > 1 else 0
