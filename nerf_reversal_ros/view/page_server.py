"""
The web server of a page, by viser.

viser joins the path of a request to its folder as it comes, ``..`` included, and would give out
every file that the user can read. The folder that it is handed here finds nothing outside.
"""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
import io
import os
from pathlib import Path
import socket
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import is_within

if TYPE_CHECKING:
    from viser import ViserServer

THIS_MACHINE, ALL_ADDRESSES = '127.0.0.1', '0.0.0.0'
DEFAULT_PORT = 8080
_OUTSIDE = b'GET /../../__init__.py HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n'
"""Request for a file of viser beside its page."""


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
    with _page_alone(viser), redirect_stdout(io.StringIO()):  # it prints its own address
        server = viser.ViserServer(host=host, port=port, label='nerf-reversal', verbose=False)
    # Visitors could publish the page on the internet, through a server of the makers of viser. The
    # button for it stays, because the page of viser 0.2.7 fails without it.
    server.request_share_url = lambda **_: None  # type: ignore[method-assign]
    server.gui.configure_theme(show_logo=False, control_width='large')
    if server.get_port() != port or _gives_out_files(port):
        server.stop()
        version_of_viser = version('viser')
        raise NerfReversalError(
            f'viser {version_of_viser} does not keep to its page: {remedies.INSTALL_VISER}'
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
def _page_alone(viser: Any) -> Iterator[None]:
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


def _gives_out_files(port: int) -> bool:
    """Whether the server answers a request for a file outside of the page."""
    with socket.create_connection((THIS_MACHINE, port), timeout=10) as connection:
        connection.sendall(_OUTSIDE)
        return connection.recv(64).split()[1:2] == [b'200']
