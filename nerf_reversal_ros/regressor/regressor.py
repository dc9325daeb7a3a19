"""
From one picture to a first guess of the pose: code, small network, and the nearest known views.

The regressor is fast and some ten centimetres good. It tells how sure it is, how unlike the map
the picture looks, and which known views look alike, so that a later stage can try those too.
Only inference is here; `nerf_reversal_ros.regressor.training` makes a `PoseRegressor`.
"""

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError, MapError
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    orthonormalize,
    pose_errors,
    rotate_covariance,
)
from nerf_reversal_ros.core.parallel import single_threaded
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca, to_tensors
from nerf_reversal_ros.regressor.pose_network import ERROR_UNITS, NetworkOutput, PoseNetwork
from nerf_reversal_ros.regressor.vae import Vae

FORMAT = 1
CODECS: dict[str, type[ImageCodec]] = {'pca': Pca, 'vae': Vae}
"""Codes of pictures, by the name that their tensors begin with in a file."""
WHITENING_EXPONENT = 0.15
"""Codes are divided by their standard deviation to twice this power before they are compared."""
MIN_STD = (0.005, 0.005, 0.005, 0.003, 0.003, 0.003)
"""No regressed pose is believed to be better than this: [m] three times, [rad]."""
SCALARS = ('position_mean', 'position_scale', 'covariance_scale', 'typical_distance')
"""Learned numbers beside the network, of shapes (3,), (3,), () and ()."""
DUPLICATE_POSE_M, DUPLICATE_POSE_DEG = 0.15, 8.0
"""Of known poses closer than this in both respects only the most similar one is retrieved."""


@dataclass(frozen=True)
class RegressedPose:
    """What the regressor makes of one picture."""

    map_from_camera: FloatArray
    """(4, 4) pose of the optical camera frame in ``map``."""
    covariance: FloatArray
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103)."""
    novelty: float
    """How far the most similar known view is, by code: 1 is typical of held-out pictures."""
    distances: Tensor
    """(N,) from the picture to each known view, by code; see `PoseRegressor.retrieve`."""


class PoseRegressor:
    """
    A trained regressor with its index of known views.

    Attributes
    ----------
    camera : Camera
        The canonical camera that queries are warped to.
    network_sees : str
        ``none``: pictures without compression; ``reconstruction`` or ``components``: see
        `RegressorConfig.network_sees`.
    index_poses : (N, 4, 4) array
        Of the known views, walked and synthetic.
    report : dict
        How training went, plain JSON: retained variance, losses, validation, baseline.
    """

    def __init__(
        self,
        camera: Camera,
        network_sees: str,
        codec: ImageCodec,
        network: PoseNetwork,
        index_codes: Tensor,
        index_poses: FloatArray,
        scalars: dict[str, Tensor],
        report: dict[str, Any],
    ) -> None:
        self.camera = camera
        self.network_sees = network_sees
        self.report = report
        self._codec = codec
        self._network = network.eval()
        self._index_codes = index_codes
        self.index_poses = index_poses
        self._scalars = scalars
        self._index = index_codes.float() * code_weights(codec)
        self._index_squared = self._index.square().sum(1)

    @single_threaded
    @torch.inference_mode()
    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> RegressedPose:
        """
        Guess the pose of one picture.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array
        camera : Camera
            Intrinsics of ``rgb``, at its size; any pinhole camera will do.

        Raises
        ------
        ImageError
            If the picture does not belong to the camera, or they share no view with the map's.
        """
        warped = resample_to_camera(rgb, camera, self.camera)
        if not warped.valid.any():
            raise ImageError(
                f'a camera with fx={camera.fx}, cx={camera.cx}, cy={camera.cy} sees nothing of'
                " what the map's camera would: is camera_info right?"
            )
        compression = self._codec
        device = compression.mean.device
        pictures = compression.preprocess(
            *to_tensors(warped.rgb[None], warped.valid[None], device)
        )
        codes = compression.encode(pictures)
        inputs = network_inputs(self.network_sees, compression, pictures, codes, self.camera)
        numbers = self._scalars
        outputs = NetworkOutput(
            self._network(inputs), numbers['position_mean'], numbers['position_scale']
        )
        pose = np.eye(4)
        pose[:3, :3] = outputs.rotation[0].cpu().numpy()
        pose[:3, 3] = outputs.position[0].cpu().numpy()
        code = (codes * code_weights(compression))[0]
        squared = self._index_squared - 2 * (self._index @ code) + code @ code
        distances = squared.clamp(min=0.0).sqrt()
        return RegressedPose(
            orthonormalize(pose),
            covariance_in_map(
                outputs.information_factor[0].cpu().numpy().astype(np.float64),
                pose[:3, :3],
                float(numbers['covariance_scale']),
            ),
            float(distances.min() / numbers['typical_distance']),
            distances,
        )

    def retrieve(self, regression: RegressedPose, count: int) -> FloatArray:
        """
        Return poses (K, 4, 4), K <= count, of the known views that look most like a picture.

        The most similar comes first, and no two poses are alike.
        """
        distances = regression.distances
        order = torch.topk(-distances, min(len(distances), 32 * count)).indices.cpu().numpy()
        chosen = np.empty((0, 4, 4))
        for pose in self.index_poses[order]:
            if len(chosen) == count:
                break
            errors = pose_errors(chosen, np.broadcast_to(pose, chosen.shape))
            alike = (errors.translation < DUPLICATE_POSE_M) & (
                errors.rotation < np.radians(DUPLICATE_POSE_DEG)
            )
            if not alike.any():
                chosen = np.concatenate([chosen, pose[None]])
        return chosen

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._index.device

    def to(self, device: str | torch.device) -> None:
        """Compute there from now on, and keep nothing elsewhere."""
        compression, camera = self._codec, self.camera
        moved = {name: value.to(device) for name, value in compression.tensors().items()}
        self._codec = type(compression).from_tensors(moved, camera.height, camera.width)
        self._network = self._network.to(device)
        self._scalars = {name: value.to(device) for name, value in self._scalars.items()}
        self._index_codes, self._index = self._index_codes.to(device), self._index.to(device)
        self._index_squared = self._index_squared.to(device)

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file; its header is JSON."""
        tensors = {f'network.{name}': value for name, value in self._network.state_dict().items()}
        kind = next(k for k, made in CODECS.items() if isinstance(self._codec, made))
        tensors |= {f'{kind}.{name}': value for name, value in self._codec.tensors().items()}
        tensors |= {f'numbers.{name}': value for name, value in self._scalars.items()}
        tensors |= {
            'index.codes': self._index_codes,
            'index.poses': torch.from_numpy(self.index_poses),
        }
        header = {
            'format': FORMAT,
            'camera': self.camera.as_dict(),
            'compression': self.network_sees,
            'report': self.report,
        }
        safetensors.torch.save_file(
            {name: value.cpu().contiguous() for name, value in tensors.items()},
            path,
            metadata={'regressor': json.dumps(header, default=float)},
        )

    @classmethod
    def load(cls, path: Path, device: str | torch.device = 'cpu') -> 'PoseRegressor':
        """
        Read what `save` wrote.

        Raises
        ------
        MapError
            If the file is missing, damaged, of another version, or its parts do not fit.
        """
        try:
            with safetensors.safe_open(path, framework='pt', device=str(device)) as file:
                header = dict(json.loads((file.metadata() or {})['regressor']))
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (
            OSError,
            safetensors.SafetensorError,
            KeyError,
            TypeError,
            ValueError,
            RecursionError,
        ) as error:
            raise MapError(
                f'{path} is not a regressor that can be read ({error}): build the map again'
            ) from error
        if header.get('format') != FORMAT:
            raise MapError(
                f'{path} has regressor format {header.get("format")}, this version reads {FORMAT}:'
                ' build the map again'
            )
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise MapError(f'{path}: {name} holds numbers that are not finite')
            group, _, rest = name.partition('.')
            parts.setdefault(group, {})[rest] = value
        try:
            camera, sees = Camera(**header['camera']), header['compression']
            kind = next((name for name in CODECS if name in parts), 'pca')
            compression = CODECS[kind].from_tensors(parts[kind], camera.height, camera.width)
            components = len(compression.variance)
            network = PoseNetwork(sees, camera.height, camera.width, components)
            network.load_state_dict(parts['network'])
            index, numbers = parts['index'], parts['numbers']
            if index['poses'].shape != (len(index['codes']), 4, 4):
                raise ValueError(f'{len(index["codes"])} codes for {len(index["poses"])} poses')
            return cls(
                camera,
                sees,
                compression,
                network.to(device),
                index['codes'],
                index['poses'].cpu().numpy(),
                {name: numbers[name] for name in SCALARS},
                header['report'],
            )
        except (KeyError, TypeError, ValueError, RuntimeError, ImageError) as error:
            reason = ' '.join(str(error).split())
            raise MapError(
                f'the parts of {path} do not fit together ({reason}): build the map again'
            ) from error


def network_inputs(
    network_sees: str, codec: ImageCodec, images: Tensor, codes: Tensor, camera: Camera
) -> Tensor:
    """Return what the network sees of flat pictures (N, D) with codes (N, K)."""
    if network_sees == 'components':
        return codes / codec.variance.sqrt()
    seen_by_network = images if network_sees == 'none' else codec.decode(codes)
    return seen_by_network.view(-1, 3, camera.height, camera.width)


def code_weights(codec: ImageCodec) -> Tensor:
    """Return the weights (K,) of the numbers of a code where codes are compared."""
    return codec.variance.clamp(min=1e-12) ** -WHITENING_EXPONENT


def covariance_in_map(
    information_factor: FloatArray, rotation: FloatArray, scale: float
) -> FloatArray:
    """
    Turn the network's uncertainty into a covariance about the map's axes.

    Parameters
    ----------
    information_factor : (6, 6) array
        L with information L L^T of the error in camera axes: translation, then rotation, in
        units of `ERROR_UNITS`.
    rotation : (3, 3) array
        Of ``map_from_camera``.
    scale : float
        Factor on the standard deviations, learned on held-out pictures.

    Returns
    -------
    (6, 6) array
        x, y, z [m], rotations about the fixed axes x, y, z [rad].
    """
    inverse_factor = np.linalg.inv(information_factor)
    to_units = np.diag(np.asarray(ERROR_UNITS) * scale)
    in_camera = to_units @ (inverse_factor.T @ inverse_factor) @ to_units
    in_camera += np.diag(np.square(MIN_STD))
    covariance = rotate_covariance(in_camera, rotation)
    return 0.5 * (covariance + covariance.T)
