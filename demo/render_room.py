"""
Render the demo captures: one to build a map from, and one to localize.

Run from the top of the repository::

    python -m demo.render_room --out demo/bags --work /tmp/demo_work

Rendered frames are kept in the working folder: a second run only simulates the sensors again.
"""

import argparse
import os
from pathlib import Path

import drjit as dr
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from demo import sensors, trajectories
from demo.renderer import RawFrame, Renderer
from demo.scene import DAY, OVERCAST
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera

CAMERA = Camera(360, 480, 358.0, 358.0, 177.3, 242.1)
DEPTH_CAMERA = CAMERA.scaled_to(192, 256)
FRAMES = {'walk': 190, 'test': 90}
BATCH = 5
LIGHTINGS = {'walk': DAY, 'test': OVERCAST}
PHONES = {
    'walk': sensors.Phone(gray=0.20, white_balance=(1.0, 1.0, 1.0), noise=1.5),
    'test': sensors.Phone(gray=0.15, white_balance=(0.92, 1.0, 1.10), noise=2.5),
}


def render_frames(
    name: str, trajectory: trajectories.Trajectory, work: Path, samples: int, scale: int
) -> list[RawFrame]:
    """Render the frames that are not in the working folder yet; return all frames."""
    folder = work / f'{name}_{samples}_{scale}'
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f'{i:04d}.npz' for i in range(len(trajectory.stamps_ns))]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    camera = CAMERA.scaled_to(CAMERA.width // scale, CAMERA.height // scale)
    if missing:
        renderer = Renderer(work, LIGHTINGS)
    is_sharp = np.ptp(trajectory.exposures, axis=1).max(axis=(1, 2)) < 1e-9
    jobs = [
        (group[start : start + BATCH], rays)
        for group, rays in (
            ([i for i in missing if is_sharp[i]], samples),
            ([i for i in missing if not is_sharp[i]], trajectories.BLUR_POSES),
        )
        for start in range(0, len(group), BATCH)
    ]
    for batch, rays in tqdm(jobs, desc=name, unit='batch', mininterval=10):
        exposures = [trajectory.exposures[i] for i in batch]
        frames = renderer.frames(name, exposures, camera, DEPTH_CAMERA, rays)
        for i, frame in zip(batch, frames, strict=True):
            half = frame._replace(radiance=frame.radiance.astype(np.float16))
            with open(staged := paths[i].with_suffix('.part'), 'wb') as file:
                np.savez(file, **half._asdict())
            os.replace(staged, paths[i])
    frames = [RawFrame(**np.load(path)) for path in paths]
    return [frame._replace(radiance=frame.radiance.astype(np.float32)) for frame in frames]


def write_bag(name: str, bag: Path, work: Path, samples: int, scale: int) -> None:
    """Render one trajectory and write it as a bag of the Record3D driver."""
    seed = {'walk': 11, 'test': 12}[name]
    rng = np.random.default_rng(seed)
    generate = {
        'walk': trajectories.mapping_trajectory,
        'test': trajectories.query_trajectory,
    }[name]
    trajectory = generate(FRAMES[name])
    frames = render_frames(name, trajectory, work, samples, scale)
    poses = trajectory.room_from_camera
    if name == 'walk':  # the poses of the query capture are ground truth
        poses = sensors.add_drift(poses, rng)
    develop(bag, frames, poses, trajectory.stamps_ns, PHONES[name], rng)


def develop(
    bag: Path,
    frames: list[RawFrame],
    room_from_camera: NDArray[np.float64],
    stamps_ns: NDArray[np.int64],
    phone: sensors.Phone,
    rng: np.random.Generator,
) -> None:
    """Write rendered frames as a bag of a phone; the world is that of the mapping capture."""
    gains = sensors.exposure_gains(frames, phone)
    origin = trajectories.mapping_trajectory(FRAMES['walk']).room_from_camera[0, :3, 3]
    world_from_room = sensors.arkit_from_room(origin)
    world_from_camera = sensors.arkit_poses(world_from_room, room_from_camera)
    size = frames[0].radiance.shape
    camera = CAMERA.scaled_to(size[1], size[0])
    bag.parent.mkdir(parents=True, exist_ok=True)
    with BagWriter(
        bag,
        pose_convention='opengl',
        camera_frame='device_0_camera_link',
        camera_info_interval=10,
    ) as writer:
        for i, frame in enumerate(frames):
            rgb = sensors.develop_image(frame, gains[i], phone, rng)
            depth = sensors.lidar_depth(frame, rng)
            stamp_ns = int(stamps_ns[i])
            writer.write(stamp_ns, sensors.encode_jpeg(rgb), depth, camera, world_from_camera[i])


def main() -> None:
    """Read the arguments and write both bags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--out', type=Path, required=True, help='folder for the two bags')
    parser.add_argument('--work', type=Path, required=True, help='folder for rendered frames')
    parser.add_argument('--samples', type=int, default=6, help='rays per pixel')
    parser.add_argument('--scale', type=int, default=1, help='2: half the size, for a draft')
    parser.add_argument('--threads', type=int, default=1, help='processor cores to use')
    arguments = parser.parse_args()
    dr.set_thread_count(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name in FRAMES:
        write_bag(name, arguments.out / name, arguments.work, arguments.samples, arguments.scale)


if __name__ == '__main__':
    main()
