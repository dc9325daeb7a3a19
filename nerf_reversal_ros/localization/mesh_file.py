"""
Binary glTF (GLB) of a mesh: y up, and colors that no light changes.

The field has the light of the room in its colors, so the material is unlit
(``KHR_materials_unlit``). glTF takes the colors of vertices as linear: 16 bits keep dark ones
apart.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
import trimesh
from trimesh.exchange.gltf import export_glb

from nerf_reversal_ros.core.geometry import Z_UP_FROM_Y_UP

GLTF_FROM_MAP = Z_UP_FROM_Y_UP[:3, :3].T
"""Rotation from the map, z up, to glTF, y up."""
_UNLIT = 'KHR_materials_unlit'
_COLOR = '_COLOR'


def encode_glb(mesh: trimesh.Trimesh, colors: NDArray[np.float32]) -> bytes:
    """
    Return a GLB file.

    Parameters
    ----------
    mesh : Trimesh
        Triangles in meters of the map frame.
    colors : (V, 3) array
        Colors of its vertices in [0, 1], as in an image (sRGB).
    """
    rgba = np.ones((len(colors), 4))
    rgba[:, :3] = _linear(colors)
    turned = trimesh.Trimesh(
        mesh.vertices @ GLTF_FROM_MAP.T,
        mesh.faces,
        vertex_attributes={_COLOR: np.round(rgba * 65535).astype(np.uint16)},
        process=False,
    )
    content: bytes = export_glb(
        turned.scene(), include_normals=False, tree_postprocessor=_add_material
    )
    return content


def _linear(colors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the linear intensities of colors of sRGB (IEC 61966-2-1), both in [0, 1]."""
    colors = np.clip(colors.astype(np.float64), 0.0, 1.0)
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def _add_material(tree: dict[str, Any]) -> None:
    """Make the attribute of trimesh the colors of glTF, and the material unlit."""
    (mesh,) = tree['meshes']
    (primitive,) = mesh['primitives']
    color = primitive['attributes'].pop(_COLOR)
    primitive['attributes']['COLOR_0'] = color
    tree['accessors'][color]['normalized'] = True
    primitive['material'] = 0
    tree['materials'] = [
        {
            'pbrMetallicRoughness': {'metallicFactor': 0.0, 'roughnessFactor': 1.0},
            'extensions': {_UNLIT: {}},
        }
    ]
    tree['extensionsUsed'] = [_UNLIT]
