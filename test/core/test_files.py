"""A text file is written whole, or is as it was before."""

import os
from pathlib import Path

import pytest

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import is_full_disk, write_output_text


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_output_text(tmp_path / 'a.json', 'old')
    write_output_text(tmp_path / 'a.json', 'new \u00b0')
    assert (tmp_path / 'a.json').read_text(encoding='utf-8') == 'new \u00b0'
    assert os.listdir(tmp_path) == ['a.json']


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_output_text(tmp_path / 'a.json', 'old')
    with pytest.raises(UnicodeEncodeError):
        write_output_text(tmp_path / 'a.json', 'new \ud800')
    assert (tmp_path / 'a.json').read_text() == 'old'
    assert os.listdir(tmp_path) == ['a.json']


def test_what_cannot_be_written_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(NerfReversalError, match=r'cannot write .*no/a\.json: No such file'):
        write_output_text(tmp_path / 'no/a.json', 'x')


def test_a_full_disk_is_recognised_by_its_error() -> None:
    with pytest.raises(OSError) as full, open('/dev/full', 'w') as disk:
        disk.write('x' * 100_000)
    assert is_full_disk(full.value)
    assert is_full_disk(RuntimeError('IoError: No space left on device (os error 28)'))
    assert not is_full_disk(PermissionError(13, 'Permission denied'))
