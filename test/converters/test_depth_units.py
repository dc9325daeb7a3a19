"""The unit of depth: of the format, as given, and proposed where it does not fit the poses."""

from dataclasses import replace

from exports import (
    ALL,
    views,
    write_export,
    write_nerfstudio,
    write_polycam,
    write_r3d,
    write_seven_scenes,
)
import numpy as np
import pytest
from rgbd_exports import (
    UPRIGHT,
    write_nerfcapture,
    write_rtabmap,
    write_stray_scanner,
    write_tum,
)
from room_bags import smooth_walk

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError

K = '86.4 86.4 49.92 60.16'
WRITERS = {
    'record3d': (lambda path: write_r3d(path.with_suffix('.r3d'), range(3)), 1.0),
    'record3d export': (lambda path: write_export(path, range(3)), 1.0),
    'nerfstudio': (lambda path: write_nerfstudio(path, order=range(3)), 0.001),
    'nerfcapture': (lambda path: write_nerfcapture(path, range(3)), 10 / 65535),
    'polycam': (lambda path: write_polycam(path, range(3)), 0.001),
    '7scenes': (lambda path: write_seven_scenes(path, range(2)), 0.001),
    'rtabmap': (lambda path: write_rtabmap(path.with_suffix('.db'), range(3)), 0.001),
    'tum': (lambda path: write_tum(path, range(3)), 1 / 5000),
    'stray-scanner': (lambda path: write_stray_scanner(path, range(3)), 0.001),
}


@pytest.mark.parametrize('name', WRITERS)
def test_a_given_unit_replaces_that_of_the_format(tmp_path, name):
    write, unit_m = WRITERS[name]
    source = write(tmp_path / 'source')
    camera = {'camera': K} if name == 'tum' else {}
    convert(source, tmp_path / 'default', **camera)
    depths = [open_capture(tmp_path / 'default', ALL).frame(0).depth]
    with BagReader(tmp_path / 'default') as bag:  # from it check proposes another unit
        assert float(bag.custom_metadata['depth_unit_m']) == pytest.approx(unit_m, rel=1e-5)
    convert(source, tmp_path / 'doubled', depth_unit_m=2 * unit_m, **camera)
    doubled = replace(ALL, pose_unit_m=2.0)
    depths.append(open_capture(tmp_path / 'doubled', doubled).frame(0).depth)
    known = depths[0] > 0
    assert np.median(depths[1][known] / depths[0][known]) == pytest.approx(2, rel=5e-3)


def test_a_dataset_of_nerfcapture_is_converted_with_its_depth(tmp_path):
    convert(write_nerfcapture(tmp_path / 'walk'), tmp_path / 'bag')
    capture = open_capture(tmp_path / 'bag', ALL)
    assert capture.convention.axes == 'optical'
    for frame, (_, _, depth) in zip(capture, views(range(len(capture))), strict=True):
        np.testing.assert_allclose(frame.depth, depth, atol=0.001)


@pytest.mark.parametrize('unit', [0.0, -1.0, float('nan'), float('inf')])
def test_a_unit_that_is_no_length_is_rejected(tmp_path, unit):
    with pytest.raises(ConfigError, match=r'depth_unit_m = .* is no length'):
        convert(tmp_path, tmp_path / 'bag', format='tum', depth_unit_m=unit)


def test_the_unit_of_a_wrongly_converted_sequence_is_proposed_and_works(tmp_path, capsys):
    """Depth in 1/5000 m is read as millimeters, which is five times too large."""
    poses = smooth_walk()
    source = write_tum(tmp_path / 'desk', range(len(poses)), poses=poses)
    command = ['convert', str(source), '--camera', K]
    assert main([*command, str(tmp_path / 'bag'), '--depth-unit', '0.001']) == 0
    with pytest.raises(CaptureError) as caught:
        open_capture(tmp_path / 'bag', UPRIGHT)
    again = remedies.CONVERTED_DEPTH_UNIT.format(unit_m='0.0002')
    assert again in str(caught.value)
    option, value = again.split()[-2:]
    assert main([*command, str(tmp_path / 'mended'), option, value]) == 0
    capture = open_capture(tmp_path / 'mended', UPRIGHT)
    np.testing.assert_allclose(capture.map_from_camera, poses, atol=1e-3)
    capsys.readouterr()


def test_a_unit_that_the_frames_set_is_kept_for_a_proposal(tmp_path):
    source = write_nerfstudio(
        tmp_path / 'scene', order=range(3), frame_changes={'integer_depth_scale': 0.002}
    )
    convert(source, tmp_path / 'bag')
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.custom_metadata['depth_unit_m'] == '0.002'
