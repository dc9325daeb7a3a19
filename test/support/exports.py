"""Exports of other programs on disk: Record3D, nerfstudio, 7-Scenes."""

import json
import zipfile

import cv2
import lzfse
import numpy as np
import OpenEXR
from rooms import phone_camera, render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.converters.seven_scenes import COLOR_FROM_DEPTH
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import (
    inverse,
    OPTICAL_FROM_OPENGL,
    orthonormalize,
    pose_errors,
    Z_UP_FROM_Y_UP,
)

POSES = walk(24)[:12]
CAMERA = phone_camera()
DEPTH_CAMERA = CAMERA.scaled_to(48, 64)
ALL = CaptureConfig(min_move_m=0.0, min_turn_deg=0.0, blur_ratio=0.0)
"""Settings that keep all frames."""


def arkit_pose(map_from_camera):
    """Convert a pose to the y-up world and the OpenGL camera axes of ARKit."""
    return inverse(Z_UP_FROM_Y_UP) @ map_from_camera @ OPTICAL_FROM_OPENGL


def jpeg(rgb):
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    return cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def record3d_metadata(poses=POSES, **changes):
    k = CAMERA.matrix.T.ravel()  # column-major
    values_xyzw_xyz = [
        [*Rotation.from_matrix(p[:3, :3]).as_quat(), *p[:3, 3]] for p in map(arkit_pose, poses)
    ]
    times = [10.0 + i / 30 for i in range(len(poses))]
    values = {
        'w': 96,
        'h': 128,
        'dw': 48,
        'dh': 64,
        'fps': 30,
        'K': list(k),
        'poses': values_xyzw_xyz,
    }
    return {**values, 'frameTimestamps': times, 'initPose': values_xyzw_xyz[0], **changes}


def views(numbers=range(12)):
    for n in numbers:
        yield n, render_box_room(POSES[n], CAMERA)[0], render_box_room(POSES[n], DEPTH_CAMERA)[1]


def write_r3d(path, numbers=range(12), *, metadata=None, confidence=None, **changes):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('metadata', json.dumps(metadata or record3d_metadata(**changes)))
        archive.writestr('icon', b'an icon')
        archive.writestr('sound.m4a', b'sound')
        for n, rgb, depth in views(numbers):
            archive.writestr(f'rgbd/{n}.jpg', jpeg(rgb))
            depth[:2] = np.nan
            archive.writestr(f'rgbd/{n}.depth', lzfse.compress(depth.tobytes()))
            if confidence is not None:
                archive.writestr(f'rgbd/{n}.conf', lzfse.compress(confidence.tobytes()))
    return path


def write_export(folder, numbers=range(12), **changes):
    (folder / 'rgb').mkdir(parents=True)
    (folder / 'depth').mkdir()
    (folder / 'metadata.json').write_text(json.dumps(record3d_metadata(**changes)))
    for n, rgb, depth in views(numbers):
        (folder / 'rgb' / f'{n}.jpg').write_bytes(jpeg(rgb))
        channels = {'R': depth.astype(np.float16)}
        with OpenEXR.File({'type': OpenEXR.scanlineimage}, channels) as file:
            file.write(str(folder / 'depth' / f'{n}.exr'))
    return folder


def assert_same_cameras(capture, poses):
    """Compare poses; the map frame is the world of ARKit rotated z up, here the room frame."""
    errors = pose_errors(capture.map_from_camera, poses)
    assert errors.translation.max() < 1e-6
    assert errors.rotation.max() < 1e-6


def write_nerfstudio(folder, *, depth=True, order=range(12), frame_changes=None, **changes):
    folder.mkdir()
    frames = []
    for n in order:
        rgb, depth_m = render_box_room(POSES[n], CAMERA)
        (folder / f'frame_{n}.jpg').write_bytes(jpeg(rgb))
        frame = {
            'file_path': f'frame_{n}.jpg',
            'transform_matrix': (POSES[n] @ OPTICAL_FROM_OPENGL).tolist(),
            **(frame_changes or {}),
        }
        if depth:
            frame['depth_file_path'] = f'depth_{n}.png'
            cv2.imwrite(str(folder / f'depth_{n}.png'), np.rint(depth_m * 1e3).astype(np.uint16))
        frames.append(frame)
    scene = {
        'w': CAMERA.width,
        'h': CAMERA.height,
        'fl_x': CAMERA.fx,
        'fl_y': CAMERA.fy,
        'cx': CAMERA.cx + 0.5,
        'cy': CAMERA.cy + 0.5,
        'frames': frames,
    }
    (folder / 'transforms.json').write_text(json.dumps({**scene, **changes}))
    return folder


def write_depth_arrays(source, unit_m=0.001, **changes):
    """Replace the depth images of a scene by float arrays in units of ``unit_m``."""
    scene = json.loads((source / 'transforms.json').read_text())
    for n in range(12):
        depth = render_box_room(POSES[n], CAMERA)[1] / np.float32(unit_m)
        np.save(source / f'depth_{n}.npy', depth.astype(np.float32))
    for frame in scene['frames']:
        frame['depth_file_path'] = frame['depth_file_path'].replace('.png', '.npy')
    (source / 'transforms.json').write_text(json.dumps({**scene, **changes}))
    return source


APPLIED_TRANSFORM = [[0.0, 1, 0, 0.3], [1, 0, 0, -2.0], [0, 0, -1, 0.7]]


def write_processed(folder, *, noted=True):
    """Write a scene whose poses were transformed and scaled, unlike its depth."""
    legacy = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    transform, scale = (APPLIED_TRANSFORM, 0.4) if noted else (legacy, 1.0)
    source = write_nerfstudio(folder)
    scene = json.loads((source / 'transforms.json').read_text())
    for frame in scene['frames']:
        pose = np.array(transform) @ np.array(frame['transform_matrix'])
        pose[:, 3] *= scale
        frame['transform_matrix'] = [*pose.tolist(), [0, 0, 0, 1]]
    if noted:
        scene |= {'applied_transform': transform, 'applied_scale': scale}
    else:
        (source / 'colmap/sparse/0').mkdir(parents=True)
    (source / 'transforms.json').write_text(json.dumps(scene))
    return source


SCENES_COLOR = Camera(640, 480, 525.505, 525.505, 320.0, 240.0)
SCENES_DEPTH = Camera(640, 480, 585.0, 585.0, 320.0, 240.0)


def write_seven_scenes(folder, numbers):
    """Write a sequence with poses of the depth camera, and poses.txt of the color camera."""
    folder.mkdir()
    lines = []
    for n in numbers:
        world_from_depth = walk(24)[n % 24]
        world_from_color = world_from_depth @ inverse(orthonormalize(COLOR_FROM_DEPTH))
        rgb = render_box_room(world_from_color, SCENES_COLOR)[0]
        depth_mm = np.rint(render_box_room(world_from_depth, SCENES_DEPTH)[1] * 1e3)
        depth_mm[:, :8], depth_mm[:, 8:16] = 0, 65535
        stem = f'frame-{n:06d}'
        (folder / f'{stem}.color.jpg').write_bytes(jpeg(rgb))
        cv2.imwrite(str(folder / f'{stem}.depth.png'), depth_mm.astype(np.uint16))
        imprecise = world_from_depth.copy()
        imprecise[:3, :3] *= 0.9998
        np.savetxt(folder / f'{stem}.pose.txt', imprecise)
        x, y, z, w = Rotation.from_matrix(inverse(world_from_color)[:3, :3]).as_quat()
        t = ' '.join(map(str, inverse(world_from_color)[:3, 3]))
        lines.append(f'seq-01/{stem}.color.png {w} {x} {y} {z} {t} 525.505')
        lines.append(f'seq-02/{stem}.color.png 1 0 0 0 9 9 9 525.505')
    (folder / 'poses.txt').write_text('\n'.join(lines))
    return folder


def write_polycam(folder, numbers=range(6)):
    """Write a raw data export: images named by stamps, depth of half size."""
    keyframes = folder / 'keyframes'
    for kind in ('images', 'depth', 'cameras', 'confidence'):
        (keyframes / kind).mkdir(parents=True)
    for n, rgb, depth in views(numbers):
        stem = str(1000 + 7 * n)
        confidence = np.full(depth.shape, 255, np.uint8)
        confidence[:4] = 0
        depth_mm = np.rint(depth * 1e3).astype(np.uint16)
        (keyframes / f'images/{stem}.jpg').write_bytes(jpeg(rgb))
        cv2.imwrite(str(keyframes / f'depth/{stem}.png'), depth_mm)
        cv2.imwrite(str(keyframes / f'confidence/{stem}.png'), confidence)
        pose = arkit_pose(POSES[n])
        values = {f't_{i}{j}': pose[i, j] for i in range(3) for j in range(4)}
        values |= {'fx': CAMERA.fx, 'fy': CAMERA.fy, 'cx': CAMERA.cx + 0.5, 'cy': CAMERA.cy + 0.5}
        values |= {'width': CAMERA.width, 'height': CAMERA.height, 'blur_score': 50.0}
        (keyframes / f'cameras/{stem}.json').write_text(json.dumps(values))
    return folder
