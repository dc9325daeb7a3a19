"""The readers that `fuzzing` tests: everything that reads untrusted files and messages."""

from collections.abc import Callable
from functools import partial
import hashlib
import json
from pathlib import Path
import shutil
import struct
from types import SimpleNamespace

from camera_infos import write_calibration
import cv2
import exports as recordings
from fuzzing import files_reader, mutate_bytes, Reader
from hypothesis import strategies as st
import numpy as np
import rgbd_exports
from room_bags import write_room_bag, write_ros1_bag
from rooms import phone_camera, render_box_room, walk
from rosbags.rosbag2.storage_mcap import zstd
import torch

from nerf_reversal_ros.bags.camera_model import camera_model_from_info
from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.bags.image_decoding import rgb_from_message, thumbnail
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.info import bag_lines, map_lines
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.capture_config import CameraInfoConfig, CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig, LocalizerConfig, QueryConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.validated_config import config_from_dict, read_yaml
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.nerfstudio.config import parse_run_config
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.sim3_alignment import read_known_positions
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.maps.map_writer import MapWriter

CAMERA = phone_camera(48, 64)
EVERY_FRAME = CaptureConfig(pose_convention='optical', up_axis='z', min_move_m=0.0, blur_ratio=0.0)


# ---- messages


def read_with_all(*reads: Callable) -> Callable[[object], None]:
    """Return a function that calls all reads; it raises if all of them reject the message."""

    def read_all(message):
        rejections = []
        for read in reads:
            try:
                read(message)
            except NerfReversalError as error:
                rejections.append(error)
        if len(rejections) == len(reads):
            raise rejections[0]

    return read_all


_SIDES = st.one_of(st.integers(0, 40), st.integers(1, 20).map(lambda n: 2 * n))
_SIZES = st.one_of(_SIDES, _SIDES, st.sampled_from([2**16, 2**31 - 1, 2**32 - 1]))
_ENCODINGS = st.sampled_from(
    [
        *('rgb8', 'bgra8', 'mono8', 'mono16', 'rgb16', 'yuv422', 'yuv422_yuy2', 'nv12', 'nv21'),
        *('32FC1', '64FC1', '16UC1', '16SC1', '8UC3', '', 'bayer_rggb8', 'bayer_gbrg16', 'nv24'),
        *('i420', 'bayer_rggb', 'x' * 99),
    ]
)
_read_image = read_with_all(rgb_from_message, thumbnail, depth_from_message)


def raw_image(_: Path) -> Reader:
    def attempt(draw):
        fields = {name: draw(_SIZES) for name in ('height', 'width')}
        fields['step'] = draw(st.one_of(_SIZES, st.integers(1, 8).map(fields['width'].__mul__)))
        data = np.full(
            draw(st.sampled_from([20_000, 900, 0])), draw(st.integers(0, 255)), np.uint8
        )
        big = draw(st.integers(0, 255))
        message = SimpleNamespace(encoding=draw(_ENCODINGS), is_bigendian=big, data=data, **fields)
        _read_image(message)

    return Reader('raw_image', attempt)


RVL = struct.pack('<iffII3I', 0, 0.0, 0.0, 8, 1, 0x1234F123, 0x40000000, 0)
"""Depth of 8 pixels in RVL."""
FORMATS = ['jpeg', 'png', 'bayer_rggb8; png', '32FC1;', '']
FORMATS += ['16UC1; compressedDepth', '16UC1; compressedDepth rvl', '32FC1; compressedDepth rvl']


def compressed_image(_: Path) -> Reader:
    rgb, depth = render_box_room(walk(24)[0], CAMERA)
    png = cv2.imencode('.png', np.rint(depth * 1000).astype(np.uint16))[1].tobytes()
    contents = [
        cv2.imencode('.jpg', rgb)[1].tobytes(),
        cv2.imencode('.jpg', rgb, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        cv2.imencode('.png', rgb)[1].tobytes(),
        png,
        b'\0' * 12 + png,
        *(cv2.imencode(name, rgb)[1].tobytes() for name in ('.webp', '.tiff', '.bmp')),
        cv2.imencode('.tiff', depth)[1].tobytes(),
        RVL,
    ]

    def attempt(draw):
        data = mutate_bytes(draw, draw(st.sampled_from(contents)))
        format_ = draw(st.sampled_from(FORMATS))
        _read_image(SimpleNamespace(format=format_, data=data))

    return Reader('compressed_image', attempt)


def camera_info(_: Path) -> Reader:
    floats = st.floats(width=64)
    rgb, depth = np.zeros((48, 64, 3), np.uint8), np.ones((24, 32), np.float32)

    def attempt(draw):
        k = [50.0, 0.0, 32.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0]
        for _ in range(draw(st.integers(0, 2))):
            k[draw(st.integers(0, 8))] = draw(floats)
        sizes = st.one_of(st.sampled_from([0, 64, 48, 640, 480]), st.integers(0, 2**32 - 1))
        region = ('x_offset', 'y_offset', 'width', 'height')
        distortion = draw(
            st.sampled_from(
                ['plumb_bob', 'equidistant', 'fisheye', 'rational_polynomial', '', '?']
            )
        )
        model = camera_model_from_info(
            SimpleNamespace(
                width=draw(sizes),
                height=draw(sizes),
                k=k,
                p=draw(st.lists(floats, min_size=12, max_size=12)),
                d=draw(st.lists(floats, max_size=15)),
                distortion_model=distortion,
                roi=SimpleNamespace(**{name: draw(sizes) for name in region}),
                binning_x=draw(sizes),
                binning_y=draw(sizes),
            ),
            64,
            48,
            CameraInfoConfig(rectified=draw(st.booleans())),
            draw(st.sampled_from(['', '/image_rect/compressed'])),
        )
        model.undistort_rgb(rgb)
        model.scaled_to(32, 24).undistort_depth(depth)

    return Reader('camera_info', attempt)


# ---- maps


def update_checksums(map_dir: Path) -> None:
    """Write valid sizes and checksums to the manifest, as an attacker would."""
    manifest = map_dir / 'manifest.json'
    try:
        content = json.loads(manifest.read_bytes())
        for name in content['files']:
            data = (map_dir / name).read_bytes()
            checked = {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
            content['files'][name] = checked
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return
    manifest.write_text(json.dumps(content))


def map_reader(small_map: Path) -> Callable[[Path], Reader]:
    def make(folder: Path) -> Reader:
        shutil.copytree(small_map, folder / 'room.map')
        camera = open_map(small_map).camera
        rgb = render_box_room(walk(48)[3], camera.scaled_to(160, 120))[0]

        def read(map_dir):
            map_ = open_map(map_dir)
            map_lines(map_)
            assert map_.mapping_poses.shape[1:] == (4, 4)
            VoxelField.load(map_.file('field.safetensors'), 'cpu')
            localizer = open_localizer(map_, LocalizerConfig(device='cpu'))
            localizer.localize(rgb, camera.scaled_to(160, 120))

        return files_reader('map', folder / 'room.map', read, update_checksums)

    return make


# ---- bags


def write_room_bag_in(folder: Path, storage: str) -> Path:
    return write_room_bag(folder / 'bag', walk(24)[:5], CAMERA, storage=storage)


def write_packed(folder: Path) -> Path:
    """Write a bag whose file was compressed as a whole."""
    bag = write_room_bag(folder / 'bag', walk(24)[:5], CAMERA)
    data = zstd.compress((bag / 'bag.mcap').read_bytes())
    (bag / 'bag.mcap').rename(bag / 'bag.mcap.zstd')
    (bag / 'bag.mcap.zstd').write_bytes(data)
    return bag


def write_ros1(folder: Path, *, is_killed: bool = False) -> Path:
    """Write a folder with a bag of ROS 1, of a killed recording without an index."""
    (folder / 'ros1').mkdir()
    source = write_room_bag(folder / 'source', walk(24)[:5], CAMERA)
    bag = write_ros1_bag(folder / 'ros1' / 'walk.bag', source)
    if is_killed:
        at = bag.read_bytes().index(b'index_pos=') + 10
        with bag.open('r+b') as file:
            file.seek(at)
            file.write(bytes(8))
    return folder / 'ros1'


def bag_reader(name: str, write: Callable[[Path], Path]) -> Callable[[Path], Reader]:
    def make(folder: Path) -> Reader:
        def read(path):
            bag_lines(path)
            for frame in open_capture(path, EVERY_FRAME, select_frames=False):
                assert frame.rgb.dtype == np.uint8

        return files_reader(name, write(folder), read)

    return make


# ---- recordings of other programs


def recording(name: str, write: Callable[[Path], Path], **options) -> Callable[[Path], Reader]:
    def make(folder: Path) -> Reader:
        source = write(folder)
        whole = folder / 'whole'
        whole.mkdir()
        source.rename(whole / source.name)
        source = whole / source.name

        def read(_):
            bag = folder / 'bag'
            paths = {key: whole / value for key, value in options.items()}
            if 'camera' in paths:
                paths['camera'] = str(paths['camera'])
            try:
                convert(source, bag, **paths)
            finally:
                shutil.rmtree(bag, ignore_errors=True)

        return files_reader(name, whole, read)

    return make


def write_scene(folder: Path) -> Path:
    """Write a nerfstudio scene: one frame with depth as PNG, one as an array and with a mask."""
    scene = recordings.write_nerfstudio(folder / 'scene', order=range(2))
    np.save(scene / 'depth_1.npy', np.full((64, 48), 1e3, np.float32))
    cv2.imwrite(str(scene / 'mask.png'), np.eye(64, 48, dtype=np.uint8) * 255)
    text = (scene / 'transforms.json').read_text()
    text = text.replace('depth_1.png', 'depth_1.npy", "mask_path": "mask.png')
    (scene / 'transforms.json').write_text(text)
    return scene


def write_scenes(folder: Path) -> Path:
    return recordings.write_seven_scenes(folder / 'seq-01', range(1))


def write_of(folder: Path, *, frames: range, write: Callable[..., Path]) -> Path:
    return write(folder / 'recording', frames)


def write_sequence(folder: Path) -> Path:
    sequence = rgbd_exports.write_tum(folder / 'desk', range(2))
    write_calibration(sequence / 'camera.yaml', recordings.CAMERA)
    return sequence


# ---- settings, positions and unfinished builds

SETTINGS = """\
seed: 3
capture: {image_topic: /a, sync_tolerance_s: 0.1, pose_topic: ''}
field:
  voxel_m: 0.02
  steps: 10
localizer: {min_inliers: 20, device: cpu}
"""
CONFIG_YML = """\
!!python/object:nerfstudio.engine.trainer.TrainerConfig
data: !!python/object/apply:pathlib.PosixPath [data, room]
method_name: nerfacto
pipeline: !!python/object:nerfstudio.pipelines.base_pipeline.VanillaPipelineConfig
  _target: !!python/name:nerfstudio.pipelines.base_pipeline.VanillaPipeline ''
  datamanager: !!python/object:nerfstudio.data.datamanagers.base_datamanager.VanillaDataManagerConfig
    patch_size: !!python/tuple [32, 32]
"""  # noqa: E501


def settings_file(folder: Path) -> Reader:
    (folder / 'settings.yaml').write_text(SETTINGS)

    def read(_):
        tree = read_yaml(folder / 'settings.yaml')
        query = {key: tree.get(key) for key in ('capture', 'localizer') if key in tree}
        config_from_dict(QueryConfig, query)
        config_from_dict(BuildConfig, {key: v for key, v in tree.items() if key != 'localizer'})

    return files_reader('settings', folder, read)


def config_yml(folder: Path) -> Reader:
    (folder / 'config.yml').write_text(CONFIG_YML)
    return files_reader('config_yml', folder, lambda _: parse_run_config(folder / 'config.yml'))


def positions(folder: Path) -> Reader:
    (folder / 'positions.txt').write_text('# a\na.jpg,0,0,1\n"b.jpg",1,0,1\nc.jpg,0,2.5,1\n')
    return files_reader(
        'positions', folder, lambda _: read_known_positions(folder / 'positions.txt')
    )


def unfinished(folder: Path) -> Reader:
    """Write what a killed build leaves: its state, and the checkpoint of a training."""
    partial = folder / 'room.map.partial'
    with MapWriter(folder / 'room.map', {'a': 1}) as writer:
        writer.finish_stage('capture', {'frames': 3})
        tensors = {'values': torch.zeros(8, 4), 'step': torch.tensor(3)}
        save_checkpoint(writer.work_dir / 'field.safetensors', tensors, {'report': '{}'})

    def read(_):
        with MapWriter(folder / 'room.map', {'a': 1}) as writer:
            assert isinstance(writer.seconds, dict)
            load_checkpoint(writer.work_dir / 'field.safetensors', torch.device('cpu'))
            writer.finish_stage('field')

    only = ('.state.json', 'field.safetensors')
    return files_reader('unfinished', partial, read, only=only)


def readers(small_map: Path) -> dict[str, Callable[[Path], Reader]]:
    """Return the factories of all readers by name; each takes a folder of its own."""
    frames = range(2)
    return {
        'raw_image': raw_image,
        'compressed_image': compressed_image,
        'camera_info': camera_info,
        'map': map_reader(small_map),
        **{
            f'bag_{storage}': bag_reader(
                f'bag_{storage}',
                partial(write_room_bag_in, storage=storage),
            )
            for storage in ('mcap', 'sqlite3')
        },
        'bag_packed': bag_reader('bag_packed', write_packed),
        'bag_ros1': bag_reader('bag_ros1', write_ros1),
        'bag_ros1_killed': bag_reader('bag_ros1_killed', partial(write_ros1, is_killed=True)),
        'r3d': recording('r3d', lambda f: recordings.write_r3d(f / 'walk.r3d', frames)),
        'record3d_export': recording(
            'record3d_export', lambda f: recordings.write_export(f / 'walk', frames)
        ),
        'polycam': recording('polycam', lambda f: recordings.write_polycam(f / 'export', frames)),
        **{
            name: recording(name, partial(write_of, frames=frames, write=write))
            for name, write in {
                'rtabmap': rgbd_exports.write_rtabmap,
                'colmap': rgbd_exports.write_colmap,
                'colmap_binary': partial(rgbd_exports.write_colmap, binary=True),
                'stray_scanner': rgbd_exports.write_stray_scanner,
            }.items()
        },
        'tum': recording('tum', write_sequence, camera='desk/camera.yaml'),
        'transforms_json': recording('transforms_json', write_scene),
        'seven_scenes': recording('seven_scenes', write_scenes),
        'pose_file': recording('pose_file', write_scenes, poses='seq-01/poses.txt'),
        'settings': settings_file,
        'config_yml': config_yml,
        'positions': positions,
        'unfinished': unfinished,
    }
