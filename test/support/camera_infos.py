"""CameraInfo objects and calibration files of tests."""

from types import SimpleNamespace

import yaml

from nerf_reversal_ros.bags.camera_model import camera_model_from_info
from nerf_reversal_ros.core.capture_config import CameraInfoConfig

WHOLE_IMAGE = {'x_offset': 0, 'y_offset': 0, 'width': 0, 'height': 0}


def make_info(
    width=640, height=480, *, k=(500.0, 500.0, 319.5, 239.5), p=None, model='plumb_bob', d=()
):
    """Make a CameraInfo of fx, fy, cx, cy in ``k``; those in ``p`` are by default the same."""
    fx, fy, cx, cy = k
    px, py, pcx, pcy = k if p is None else p
    return SimpleNamespace(
        width=width,
        height=height,
        distortion_model=model,
        d=list(d),
        k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        p=[px, 0.0, pcx, 0.0, 0.0, py, pcy, 0.0, 0.0, 0.0, 1.0, 0.0],
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(**WHOLE_IMAGE),
    )


def read_model(info, width=640, height=480, topic='', **settings):
    """Return the camera model of a CameraInfo at the size of an image."""
    return camera_model_from_info(info, width, height, CameraInfoConfig(**settings), topic)


def write_calibration(path, camera, *, model='plumb_bob', d=(0.0,) * 5):
    """Write a calibration file as camera_calibration does; return its path as text."""
    k = camera.matrix.ravel().tolist()
    content = {
        'image_width': camera.width,
        'image_height': camera.height,
        'camera_name': 'phone',
        'camera_matrix': {'rows': 3, 'cols': 3, 'data': k},
        'distortion_model': model,
        'distortion_coefficients': {'rows': 1, 'cols': len(d), 'data': list(d)},
        'projection_matrix': {
            'rows': 3,
            'cols': 4,
            'data': [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0],
        },
    }
    path.write_text(yaml.safe_dump(content), encoding='utf-8')
    return str(path)
