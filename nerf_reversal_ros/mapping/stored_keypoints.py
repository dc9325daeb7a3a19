"""
Keypoints of mapping images on disk.

The adjustment of the poses detects them, and the refinement of the landmarks uses them again.
"""

from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.mapping.feature_tracks import TrackFrame

FILE = 'keypoints.npz'
"""Name of the file in the folder of unfinished results."""


def write_keypoints(folder: Path, keypoints: Mapping[int, TrackFrame]) -> None:
    """Write the keypoints of frames, by their indices, to `FILE` in a folder; none: no file."""
    if not keypoints:
        return
    found = list(keypoints.values())
    np.savez(
        folder / FILE,
        frames=np.array(list(keypoints)),
        cameras=np.array([astuple(one.camera) for one in found]),
        counts=np.array([len(one.rays) for one in found]),
        rays=np.concatenate([one.rays for one in found]),
        depth_m=np.concatenate([one.depth_m for one in found]),
        descriptors=np.concatenate([one.descriptors for one in found]),
    )


def load_keypoints(folder: Path) -> dict[int, TrackFrame]:
    """Return the result of `write_keypoints`; empty where the folder has none."""
    path = folder / FILE
    if not path.exists():
        return {}
    with np.load(path) as stored:
        ends = np.cumsum(stored['counts'])[:-1]
        parts = (np.split(stored[name], ends) for name in ('rays', 'depth_m', 'descriptors'))
        cameras = (Camera(int(w), int(h), *lens) for w, h, *lens in stored['cameras'].tolist())
        found = map(TrackFrame, *parts, cameras)
        return dict(zip(stored['frames'].tolist(), found, strict=True))
