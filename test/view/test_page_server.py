"""The server of a page keeps to its page and to this machine."""

import http.client
import socket

import pytest

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
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
