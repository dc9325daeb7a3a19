"""Small recordings in the layouts of RTAB-Map, COLMAP, TUM RGB-D, Stray Scanner, NeRFCapture."""

from dataclasses import replace
import json
import sqlite3
import struct
import zlib

import cv2
from exports import ALL, arkit_pose, CAMERA, jpeg, POSES, views
import numpy as np
import pytest
from rooms import render_box_room
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.geometry import (
    inverse,
    make_pose,
    pose_errors,
    quaternion_xyzw,
    Z_UP_FROM_Y_UP,
)

START_S = 1305031102.0
"""Stamp of the first image of a sequence [s]."""
RATE_HZ = 30
COUNT = 6
UPRIGHT = replace(ALL, up_axis='z')
"""Settings that keep all frames of a world with z up."""


def stamp_s(number):
    return START_S + number / RATE_HZ


def open_converted(source, bag, settings=UPRIGHT, *, within_m=1e-5, **options):
    """Convert all frames, and open them: poses, intrinsics and stamps are those written."""
    conversion = convert(source, bag, **options)
    assert (conversion.frame_count, conversion.notes) == (COUNT, ())
    capture = open_capture(bag, settings)
    assert capture.convention.axes == 'optical'
    errors = pose_errors(capture.map_from_camera, POSES[:COUNT])
    assert errors.translation.max() < within_m
    assert capture.camera.as_dict() == pytest.approx(CAMERA.as_dict())
    assert capture.stamps_ns[1] == pytest.approx(stamp_s(1) * 1e9, abs=1000)
    return capture


def counts(depth_m, unit_m):
    return np.rint(depth_m / unit_m).astype(np.uint16)


def png(pixels):
    return cv2.imencode('.png', pixels)[1].tobytes()


# ---- COLMAP
def write_colmap(folder, numbers=range(COUNT), *, binary=False, unit_m=1.0):
    """Write images and sparse/0, with two keypoints in each image, and none in the first."""
    model = folder / 'sparse' / '0'
    model.mkdir(parents=True)
    (folder / 'images').mkdir()
    parameters = (CAMERA.fx, CAMERA.fy, CAMERA.cx + 0.5, CAMERA.cy + 0.5)
    rows = []
    for n, rgb, _ in views(numbers):
        (folder / 'images' / f'view_{n}.jpg').write_bytes(jpeg(rgb))
        camera_from_world = inverse(POSES[n])
        x, y, z, w = quaternion_xyzw(camera_from_world)
        values = (w, x, y, z, *(camera_from_world[:3, 3] / unit_m))
        rows.append((n + 1, values, f'view_{n}.jpg', 2 if n else 0))
    write = _write_binary_model if binary else _write_text_model
    write(model, parameters, rows)
    return folder


def _write_text_model(model, parameters, rows):
    size = f'{CAMERA.width} {CAMERA.height}'
    values = ' '.join(map(str, parameters))
    (model / 'cameras.txt').write_text(f'# Camera list\n7 PINHOLE {size} {values}\n')
    lines = ['# Image list', '#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME']
    for number, pose, name, keypoints in rows:
        lines += [f'{number} {" ".join(map(str, pose))} 7 {name}', '1.5 2.5 -1 ' * keypoints]
    (model / 'images.txt').write_text('\n'.join(lines) + '\n')
    (model / 'points3D.txt').write_text('# 3D point list\n')


def _write_binary_model(model, parameters, rows):
    camera = struct.pack('<iiQQ4d', 7, 1, CAMERA.width, CAMERA.height, *parameters)
    (model / 'cameras.bin').write_bytes(struct.pack('<Q', 1) + camera)
    data = struct.pack('<Q', len(rows))
    for number, pose, name, keypoints in rows:
        data += struct.pack('<i7di', number, *pose, 7) + name.encode() + b'\0'
        data += struct.pack('<Q', keypoints) + struct.pack('<ddq', 1.5, 2.5, -1) * keypoints
    (model / 'images.bin').write_bytes(data)
    (model / 'points3D.bin').write_bytes(struct.pack('<Q', 0))


# ---- TUM RGB-D
def write_tum(folder, numbers=range(COUNT), *, poses=POSES):
    """Write a sequence whose depth is 4 ms late, with a pose for each image."""
    for kind in ('rgb', 'depth'):
        (folder / kind).mkdir(parents=True)
    lists = {'rgb': ['# color images'], 'depth': ['# depth maps']}
    for n in numbers:
        rgb, depth = render_box_room(poses[n], CAMERA)
        for kind, pixels, late_s in (('rgb', rgb[..., ::-1], 0.0), ('depth', depth, 0.004)):
            name = f'{kind}/{stamp_s(n) + late_s:.6f}.png'
            lists[kind].append(f'{stamp_s(n) + late_s:.6f} {name}')
            data = counts(pixels, 1 / 5000) if kind == 'depth' else np.ascontiguousarray(pixels)
            (folder / name).write_bytes(png(data))
    for kind, lines in lists.items():
        (folder / f'{kind}.txt').write_text('\n'.join(lines) + '\n')
    write_trajectory(folder / 'groundtruth.txt', numbers, poses=poses)
    return folder


def write_trajectory(path, numbers, *, poses=POSES, shift_m=0.0):
    lines = ['# timestamp tx ty tz qx qy qz qw']
    for n in numbers:
        values = (*(poses[n][:3, 3] + shift_m), *quaternion_xyzw(poses[n]))
        lines.append(f'{stamp_s(n):.6f} {" ".join(map(str, values))}')
    path.write_text('\n'.join(lines) + '\n')
    return path


# ---- RTAB-Map
ROBOT_FROM_CAMERA = make_pose(
    Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (0.1, -0.02, 0.3)
)
"""Local transform of the camera of a robot that looks along x."""
DRIFT = make_pose(None, (0.5, 0.0, 0.0))


def write_rtabmap(path, numbers=range(COUNT), *, optimized=True, encode=None, session=lambda n: 0):
    """Write a database; ``encode(depth_m)`` gives the blob of depth, by default PNG in mm."""
    encode = encode or (lambda depth: png(counts(depth, 0.001)))
    with sqlite3.connect(path) as database:
        database.executescript(
            'CREATE TABLE Node (id INTEGER NOT NULL, map_id INTEGER NOT NULL, weight INTEGER,'
            ' stamp FLOAT, pose BLOB, ground_truth_pose BLOB, velocity BLOB, label TEXT, gps BLOB,'
            ' env_sensors BLOB, time_enter DATE, PRIMARY KEY (id));'
            'CREATE TABLE Data (id INTEGER NOT NULL, image BLOB, depth BLOB, calibration BLOB,'
            ' scan BLOB, scan_info BLOB, user_data BLOB, time_enter DATE, PRIMARY KEY (id));'
            'CREATE TABLE Admin (version TEXT, preview_image BLOB, opt_cloud BLOB, opt_ids BLOB,'
            ' opt_poses BLOB, opt_last_localization BLOB, time_enter DATE);'
        )
        robots = {n + 1: POSES[n] @ inverse(ROBOT_FROM_CAMERA) for n in numbers}
        for n, rgb, depth in views(numbers):
            odometry = _floats(robots[n + 1] @ DRIFT)
            node = (n + 1, session(n), stamp_s(n), odometry)
            database.execute(
                'INSERT INTO Node (id, map_id, stamp, pose) VALUES (?, ?, ?, ?)', node
            )
            data = (n + 1, jpeg(rgb), encode(depth), calibration())
            database.execute(
                'INSERT INTO Data (id, image, depth, calibration) VALUES (?,?,?,?)', data
            )
        database.execute('INSERT INTO Node (id, map_id, weight, stamp) VALUES (99, 0, -1, 1.0)')
        ids = np.array(list(robots), '<i4').tobytes()
        poses = b''.join(map(_floats, robots.values()))
        packed = (_packed(ids, 4), _packed(poses, 5)) if optimized else (None, None)
        row = ('0.21.4', *packed)
        database.execute('INSERT INTO Admin (version, opt_ids, opt_poses) VALUES (?, ?, ?)', row)
    database.close()
    return path


def calibration(kind=0, cameras=1, local=12):
    """Return a serialized camera model: K, no distortion, and the local transform."""
    header = struct.pack('<11i', 0, 21, 4, kind, CAMERA.width, CAMERA.height, 9, 0, 0, 0, local)
    matrix = CAMERA.matrix.astype('<f8').tobytes()
    return (header + matrix + (_floats(ROBOT_FROM_CAMERA) if local else b'')) * cameras


def float_png(depth):
    """Encode depth as RTAB-Map does floats: their bytes are the channels of a PNG."""
    return png(depth.astype('<f4').view(np.uint8).reshape(*depth.shape, 4))


def edit_rtabmap(path, statement, *values):
    with sqlite3.connect(path) as database:
        database.execute(statement, values)
    database.close()


def _floats(pose):
    return pose[:3].astype('<f4').tobytes()


def _packed(data, type_code):
    return zlib.compress(data) + struct.pack('<3i', 1, len(data) // 4, type_code)


# ---- Stray Scanner
def write_stray_scanner(folder, numbers=range(COUNT)):
    """Write a recording; the upper rows of its depth have no confidence."""
    for kind in ('depth', 'confidence'):
        (folder / kind).mkdir(parents=True)
    np.savetxt(folder / 'camera_matrix.csv', CAMERA.matrix, delimiter=',')
    size = (CAMERA.width, CAMERA.height)
    video = cv2.VideoWriter(
        str(folder / 'rgb.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), RATE_HZ, size
    )
    lines = ['timestamp, frame, x, y, z, qx, qy, qz, qw']
    for n, rgb, depth in views(numbers):
        video.write(np.ascontiguousarray(rgb[..., ::-1]))
        confidence = np.full(depth.shape, 2, np.uint8)
        confidence[:4] = 0
        (folder / f'depth/{n:06d}.png').write_bytes(png(counts(depth, 0.001)))
        (folder / f'confidence/{n:06d}.png').write_bytes(png(confidence))
        pose = inverse(Z_UP_FROM_Y_UP) @ POSES[n]
        values = (stamp_s(n), f'{n:06d}', *pose[:3, 3], *quaternion_xyzw(pose))
        lines.append(', '.join(map(str, values)))
    video.release()
    (folder / 'odometry.csv').write_text('\n'.join(lines) + '\n')
    return folder


# ---- NeRFCapture
def write_nerfcapture(folder, numbers=range(COUNT)):
    """Write a dataset as streamed: depth of 16 bits, 10 m at most, named ``depth_path``."""
    (folder / 'images').mkdir(parents=True)
    unit_m = 10.0 / 65535
    k = {'fl_x': CAMERA.fx, 'fl_y': CAMERA.fy, 'cx': CAMERA.cx + 0.5, 'cy': CAMERA.cy + 0.5}
    k |= {'w': CAMERA.width, 'h': CAMERA.height}
    frames = []
    for n, rgb, depth in views(numbers):
        (folder / f'images/{n}.png').write_bytes(png(np.ascontiguousarray(rgb[..., ::-1])))
        (folder / f'images/{n}.depth.png').write_bytes(png(counts(depth, unit_m)))
        frame = {'file_path': f'images/{n}', 'depth_path': f'images/{n}.depth.png', **k}
        pose = arkit_pose(POSES[n]).tolist()
        frames.append({**frame, 'transform_matrix': pose, 'timestamp': stamp_s(n)})
    scene = {**k, 'integer_depth_scale': unit_m, 'frames': frames}
    (folder / 'transforms.json').write_text(json.dumps(scene))
    return folder
