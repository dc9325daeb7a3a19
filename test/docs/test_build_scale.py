"""The captures of `benchmark/build_scale.py` show the room that their poses say."""

from pathlib import Path

from benchmark_scripts import imported_script
import numpy as np
from room_bags import write_room_bag
from rooms import walk
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray, transform_points


def points_of(frame: Frame) -> FloatArray:
    """Return the points (N, 3) that the depth of a frame shows."""
    assert frame.depth is not None and frame.depth_camera is not None
    rows, columns = np.nonzero(frame.depth)
    pixels = np.column_stack([columns, rows]).astype(float)
    depth = frame.depth[rows, columns].astype(float)
    return transform_points(frame.map_from_camera, frame.depth_camera.unproject(pixels, depth))


def test_a_turned_frame_shows_the_same_surfaces_and_its_walk_goes_forth_and_back(
    tmp_path: Path,
) -> None:
    bag = write_room_bag(tmp_path / 'walk', walk(48)[:6], CAMERA, up_axis='z')
    capture = open_capture(bag, CaptureConfig(up_axis='z'))
    with imported_script('build_scale') as script:
        assert list(script.forth_and_back(3, 8)) == [0, 1, 2, 2, 1, 0, 0, 1]
        frame = capture.frame(0)
        turn = Rotation.from_euler('xyz', [1.5, -1.5, 1.5], degrees=True).as_matrix()
        rgb, depth, camera, pose = script.turned(frame, turn, (320, 240))
        script.write_capture(capture, 8, (320, 240), tmp_path / 'repeated')
    assert rgb.shape == (240, 320, 3) and (rgb.sum(2) > 0).all()
    small = camera.scaled_to(depth.shape[1], depth.shape[0])
    turned = Frame(0, 0, rgb, camera, depth, small, pose)
    distance_m, _ = cKDTree(points_of(frame)).query(points_of(turned))
    assert np.quantile(distance_m, 0.95) < 0.03
    repeated = open_capture(tmp_path / 'repeated', CaptureConfig(), select_frames=False)
    assert len(repeated) == 8 and repeated.convention.axes == 'optical'
