"""
Render two captures of a room: one to build a map from, and one to localize.

Run from the top of the repository::

    python -m demo.render_room --out demo/bags --work /tmp/demo_work
    python -m demo.render_room --room office --out /tmp/office --work /tmp/office_work

Rendered frames are kept in the working folder: a second run only simulates the sensors again.
"""

import argparse
from dataclasses import dataclass
from functools import cached_property
import os
from pathlib import Path

import drjit as dr
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from demo import sensors, trajectories
from demo.raw_frame import RawFrame
from demo.renderer import Renderer
from demo.rooms.table import ROOMS
from demo.specification import Recording, RoomSpec
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera

BATCH_RAYS = 5_200_000
"""Rays that are traced in one go: a batch takes little more time than one image."""
BATCH = 5
"""Images of a batch that is not sized by its rays."""


@dataclass(frozen=True)
class Draft:
    """What a rendering leaves out; the default is nothing."""

    samples: int = 6
    """Rays per pixel of a sharp image."""
    scale: int = 1
    """Fraction of the image size: 2 is half."""
    every: int = 1
    """Only every so many frames."""


class FrameStore:
    """Frames of a room in a working folder; what is missing there is rendered."""

    def __init__(self, spec: RoomSpec, work: Path, draft: Draft) -> None:
        """Take the folder; the room is built once a frame is missing."""
        self.spec, self.draft = spec, draft
        self._work = work

    @cached_property
    def renderer(self) -> Renderer:
        """The furnished room, with the baked light of all its recordings."""
        lightings = {name: recording.lighting for name, recording in self.spec.recordings.items()}
        return Renderer(self.spec.build(), self._work, lightings, self.spec.baking)

    def frames(self, name: str) -> list[RawFrame]:
        """Return the frames of one recording."""
        draft = self.draft
        trajectory = self.spec.recordings[name].trajectory()
        folder = self._work / f'{name}_{draft.samples}_{draft.scale}'
        folder.mkdir(parents=True, exist_ok=True)
        count = len(trajectory.stamps_ns)
        paths = {i: folder / f'{i:04d}.npz' for i in range(0, count, draft.every)}
        missing = [i for i, path in paths.items() if not path.exists()]
        is_sharp = np.ptp(trajectory.exposures, axis=1).max(axis=(1, 2)) < 1e-9
        jobs = [
            (group[start : start + size], rays)
            for group, rays in (
                ([i for i in missing if is_sharp[i]], draft.samples),
                ([i for i in missing if not is_sharp[i]], trajectories.BLUR_POSES),
            )
            for size in [self._batch(rays)]
            for start in range(0, len(group), size)
        ]
        for batch, rays in tqdm(jobs, desc=name, unit='batch', mininterval=10):
            exposures = [trajectory.exposures[i] for i in batch]
            for i, frame in zip(batch, self._render(name, exposures, rays), strict=True):
                half = frame._replace(radiance=frame.radiance.astype(np.float16))
                with open(staged := paths[i].with_suffix('.part'), 'wb') as file:
                    np.savez(file, **half._asdict())
                os.replace(staged, paths[i])
        frames = [RawFrame(**np.load(path)) for path in paths.values()]
        return [frame._replace(radiance=frame.radiance.astype(np.float32)) for frame in frames]

    def _render(
        self, name: str, exposures: list[NDArray[np.float64]], rays: int
    ) -> list[RawFrame]:
        depth_camera = self.spec.depth_camera
        return self.renderer.frames(name, exposures, self._camera, depth_camera, rays)

    @property
    def _camera(self) -> Camera:
        """Camera of the color images at the scale of the draft."""
        camera, scale = self.spec.camera, self.draft.scale
        return camera.scaled_to(camera.width // scale, camera.height // scale)

    def _batch(self, rays: int) -> int:
        """Return how many images with that many rays a pixel are rendered in one go."""
        return max(1, BATCH_RAYS // (rays * self._camera.width * self._camera.height))


def write_bag(
    store: FrameStore, name: str, bag: Path, world_from_room: NDArray[np.float64] | None = None
) -> None:
    """Render one recording and write it as a bag of the Record3D driver, as `develop` does."""
    recording, every = store.spec.recordings[name], store.draft.every
    rng = np.random.default_rng(recording.sensor_seed)
    trajectory = recording.trajectory()
    poses = trajectory.room_from_camera
    frames = store.frames(name)
    if recording.tracker is not None:
        poses = recording.tracker.track(poses, rng)
    stamps_ns = trajectory.stamps_ns[::every]
    develop(store.spec, recording, bag, frames, poses[::every], stamps_ns, rng, world_from_room)


def develop(
    spec: RoomSpec,
    recording: Recording,
    bag: Path,
    frames: list[RawFrame],
    room_from_camera: NDArray[np.float64],
    stamps_ns: NDArray[np.int64],
    rng: np.random.Generator,
    world_from_room: NDArray[np.float64] | None = None,
) -> None:
    """Write rendered frames as a bag; the world is that of the mapping capture, or given."""
    gains = sensors.exposure_gains(frames, recording.color)
    if world_from_room is None:
        origin = spec.recordings['walk'].trajectory().room_from_camera[0, :3, 3]
        world_from_room = sensors.arkit_from_room(origin)
    world_from_camera = sensors.arkit_poses(world_from_room, room_from_camera)
    size = frames[0].radiance.shape
    camera = spec.camera.scaled_to(size[1], size[0])
    bag.parent.mkdir(parents=True, exist_ok=True)
    with BagWriter(
        bag,
        pose_convention='opengl',
        camera_frame='device_0_camera_link',
        camera_info_interval=10,
    ) as writer:
        for i, frame in enumerate(frames):
            rgb = sensors.develop_image(frame, gains[i], recording.color, rng)
            depth = sensors.measure_depth(frame, spec.depth, rng)
            stamp_ns = int(stamps_ns[i])
            writer.write(stamp_ns, sensors.encode_jpeg(rgb), depth, camera, world_from_camera[i])


def parse_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add the arguments of all rendering scripts, parse them, and set up threads and folder."""
    parser.add_argument('--out', type=Path, required=True, help='folder for the bags')
    parser.add_argument('--work', type=Path, required=True, help='folder for meshes and frames')
    parser.add_argument('--samples', type=int, default=6, help='rays per pixel')
    parser.add_argument('--threads', type=int, default=1, help='processor cores to use')
    arguments = parser.parse_args()
    dr.set_thread_count(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments


def main() -> None:
    """Read the arguments and write both bags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--room', choices=ROOMS, default='demo', help='the room to render')
    parser.add_argument('--scale', type=int, default=1, help='2: half the size, for a draft')
    parser.add_argument('--every', type=int, default=1, help='10: a tenth of the frames')
    arguments = parse_arguments(parser)
    draft = Draft(arguments.samples, arguments.scale, arguments.every)
    store = FrameStore(ROOMS[arguments.room], arguments.work, draft)
    for name in store.spec.recordings:
        write_bag(store, name, arguments.out / name)


if __name__ == '__main__':
    main()
