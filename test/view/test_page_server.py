"""The server of a page keeps to its page and to this machine."""

import http.client
import socket

import pytest

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.view import page_server
from nerf_reversal_ros.view.page_server import ALL_ADDRESSES, open_server, THIS_MACHINE

pytest.importorskip('viser', reason='pip install -r requirements/view.txt')


@pytest.fixture
def port():
    """Return the port of an open page."""
    server = open_server(0)
    yield server.get_port()
    server.stop()


def get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(THIS_MACHINE, port, timeout=10)
    connection.request('GET', path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_is_given_out_and_nothing_outside_of_it(port):
    status, page = get(port, '/')
    assert status == 200 and b'<html' in page
    for path in (
        '/../../__init__.py',
        '/assets/../../../__init__.py',
        '/' + '../' * 20 + 'etc/passwd',
    ):
        assert get(port, path)[0] == 404


def test_the_page_is_open_on_this_machine_alone_unless_it_is_shared():
    for is_shared, host in ((False, THIS_MACHINE), (True, ALL_ADDRESSES)):
        server = open_server(0, is_shared=is_shared)
        assert server.get_host() == host
        server.stop()


def test_a_port_in_use_is_named_and_a_free_one_is_taken_on_request():
    with socket.socket() as taken:
        taken.bind((THIS_MACHINE, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NerfReversalError) as error:
            open_server(port)
    assert str(error.value).startswith(f'cannot open port {port} (Address already in use)')
    assert str(error.value).endswith(remedies.OTHER_PORT)  # port 0: the tests above
    with pytest.raises(NerfReversalError, match='cannot open port 70000'):
        open_server(70_000)


def test_a_missing_viser_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'viser', None)
    with pytest.raises(NerfReversalError) as error:
        open_server(0)
    assert 'the page needs viser' in str(error.value)
    assert str(error.value).endswith(remedies.INSTALL_VISER)


def handshake(port: int, origin: str | None, host: str) -> int:
    """Return the status of the answer to a browser that opens the connection of the page."""
    connection = http.client.HTTPConnection(THIS_MACHINE, port, timeout=10)
    connection.putrequest('GET', '/', skip_host=True)
    headers = {
        'Host': host,
        'Connection': 'Upgrade',
        'Upgrade': 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': 'MDEyMzQ1Njc4OWFiY2RlZg==',
        **({} if origin is None else {'Origin': origin}),
    }
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize('is_shared', [False, True])
def test_other_web_sites_cannot_connect_to_the_page(is_shared):
    server = open_server(0, is_shared=is_shared)
    port = server.get_port()
    here = f'localhost:{port}'
    try:
        for host in (here, f'127.0.0.1:{port}', 'localhost:9000'):  # 9000: an SSH tunnel
            assert handshake(port, f'http://{host}', host) == 101
        assert handshake(port, None, here) == 101  # no browser
        for origin in ('http://evil.example', 'http://localhost:1', 'null', 'http://['):
            assert handshake(port, origin, here) == 403
        # The name of another web site that leads to this machine is also that of a shared page.
        named = handshake(port, f'http://robot:{port}', f'robot:{port}')
        assert named == (101 if is_shared else 403)
    finally:
        server.stop()


def test_a_viser_that_cannot_be_kept_to_its_page_is_refused(monkeypatch):
    monkeypatch.setattr(page_server, '_SERVERS', ())  # as if it called another server
    with pytest.raises(NerfReversalError, match='does not keep to its page') as error:
        open_server(0)
    assert str(error.value).endswith(remedies.KNOWN_VISER)  # the other tests run with one of them
