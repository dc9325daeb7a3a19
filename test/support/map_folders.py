"""Map folders with one placeholder file, and edits of their manifest."""

from collections.abc import Callable
import json
from pathlib import Path

import numpy as np

from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.maps.map_writer import MapWriter

CAMERA = Camera(96, 72, 80.0, 80.0, 47.5, 35.5)


MANIFEST = {
    'camera': CAMERA.as_dict(),
    'convention': PoseConvention('optical', np.eye(4), 'configured').as_dict(),
}


def build(folder: Path, *, overwrite: bool = False, content: bytes = b'0123456789') -> Map:
    """Write a map with one file and one intermediate file."""
    with MapWriter(folder, {'bag': 'walk'}, overwrite=overwrite) as writer:
        writer.path('field/voxels.bin').write_bytes(content)
        (writer.work_dir / 'views.bin').write_bytes(b'not part of the map')
        writer.finish_stage('field')
        return writer.finish(MANIFEST)


def leave_unfinished(folder: Path, fingerprint: dict | None = None) -> None:
    """Leave a staging folder with one intermediate file."""
    with MapWriter(folder, fingerprint or {}) as writer:
        (writer.work_dir / 'views.bin').write_bytes(b'rendered')


def edit_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    """Apply ``change`` to the manifest of a map."""
    manifest = json.loads((folder / 'manifest.json').read_text())
    change(manifest)
    (folder / 'manifest.json').write_text(json.dumps(manifest))
