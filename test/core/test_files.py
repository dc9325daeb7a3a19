"""Files are written atomically, paths are checked, and stale results are removed."""

import os
from pathlib import Path

import pytest

from nerf_reversal_ros.core.errors import CaptureError, NerfReversalError
from nerf_reversal_ros.core.files import (
    clear_if_stale,
    is_full_disk,
    require_within,
    write_output,
)


def test_a_file_is_replaced_and_no_temporary_file_remains(tmp_path: Path) -> None:
    write_output(tmp_path / 'a.json', 'old')
    write_output(tmp_path / 'a.json', 'new \u00b0')
    assert (tmp_path / 'a.json').read_text(encoding='utf-8') == 'new \u00b0'
    assert os.listdir(tmp_path) == ['a.json']


def test_a_failed_write_keeps_the_old_file_and_no_temporary_file(tmp_path: Path) -> None:
    write_output(tmp_path / 'a.json', 'old')
    with pytest.raises(UnicodeEncodeError):
        write_output(tmp_path / 'a.json', 'new \ud800')
    assert (tmp_path / 'a.json').read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.json']


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(NerfReversalError, match=r'cannot write .*no/a\.json: No such file'):
        write_output(tmp_path / 'no/a.json', 'x')


def test_a_full_disk_is_recognized_by_its_error() -> None:
    with pytest.raises(OSError) as full, open('/dev/full', 'w') as disk:
        disk.write('x' * 100_000)
    assert is_full_disk(full.value)
    assert is_full_disk(RuntimeError('IoError: No space left on device (os error 28)'))
    assert not is_full_disk(PermissionError(13, 'Permission denied'))


def test_a_path_that_leads_outside_of_its_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / 'recording').mkdir()
    (tmp_path / 'secret').touch()
    (tmp_path / 'recording/link').symlink_to(tmp_path / 'secret')
    inside = tmp_path / 'recording/frame.jpg'
    assert require_within(inside, tmp_path / 'recording') == inside
    for name in ('link', '../secret', str(tmp_path / 'secret')):
        with pytest.raises(CaptureError, match=r'leads outside of .*/recording: do not trust it'):
            require_within(tmp_path / 'recording' / name, tmp_path / 'recording')


def test_results_are_kept_for_the_same_request_and_removed_for_another(tmp_path: Path) -> None:
    clear_if_stale(tmp_path, {'seed': 1}, ['*.npy', 'rows'])
    (tmp_path / 'rows').mkdir()
    for name in ('a.npy', 'rows/1.json', 'notes.txt'):
        (tmp_path / name).touch()
    clear_if_stale(tmp_path, {'seed': 1}, ['*.npy', 'rows'])
    assert sorted(os.listdir(tmp_path)) == ['a.npy', 'notes.txt', 'request.json', 'rows']
    clear_if_stale(tmp_path, {'seed': 2}, ['*.npy', 'rows'])
    assert sorted(os.listdir(tmp_path)) == ['notes.txt', 'request.json']
