"""What RViz shows of the localizer: the map, latched, and each answer."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from builtin_interfaces.msg import Duration, Time
import cv2
from geometry_msgs.msg import Point, PoseStamped, Vector3
from nav_msgs.msg import Path
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from nerf_reversal_ros.core.geometry import FloatArray, make_pose, transform_points
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.localization.map_placement import transform_surface
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.msg import MapDescription
from nerf_reversal_ros.ros.conversions import pose_message
from nerf_reversal_ros.ros.image_localizer import LocalizationResult, ProcessedImage
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS, NO_EVENT_CALLBACKS

FRUSTUM_M = 0.25
"""How far the drawn camera looks [m]."""
SIGMAS = 3.0
"""Half axes of the drawn ellipsoid of the position, in standard deviations."""
LIFETIME_S = 2
"""So long RViz shows camera and ellipsoid after the last pose."""
DEBUG_IMAGE_PX, SURFACE_RENDER_PX = 320, 160
"""Longer sides of each half of the debug image, and of the surface as it is drawn for it."""
GREEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
BLUE = ColorRGBA(r=0.2, g=0.4, b=1.0, a=0.5)


@dataclass(frozen=True)
class MapDisplayData:
    """What is shown of a map."""

    manifest: Mapping[str, Any]
    """Of the map folder."""
    mapping_poses: FloatArray
    """(N, 4, 4) poses of the pictures that the map was built from."""
    surface: Surface
    """Of the room."""

    def transform(self, map_from_nerf: FloatArray) -> 'MapDisplayData':
        """Return the same in another frame, by a pose (4, 4)."""
        walked = map_from_nerf @ self.mapping_poses
        return MapDisplayData(
            self.manifest, walked, transform_surface(self.surface, map_from_nerf)
        )


class Visualizer:
    """
    Publishes what is to be looked at, and nothing that somebody would steer by.

    Parameters
    ----------
    node : Node
        Tells the time, and publishes what is latched.
    publisher : callable
        Makes a publisher, for the rest, of a type, a topic and a QoS profile or depth.
    """

    def __init__(self, node: Node, publisher: Callable[..., Any]) -> None:
        self._node = node
        self._map_frame = ''
        self._create_latched_publishers()
        self._path = publisher(Path, '~/path', 10)
        self._markers = publisher(MarkerArray, '~/markers', 10)
        self._debug_image = publisher(Image, '~/debug_image', 1)
        self._poses: deque[PoseStamped] = deque()
        self._map: MapDisplayData | None = None
        self._map_stamp = Time()

    def _create_latched_publishers(self) -> None:
        publisher = partial(self._node.create_publisher, event_callbacks=NO_EVENT_CALLBACKS)
        self._description = publisher(MapDescription, '~/map_description', LATCHED_QOS)
        self._surface = publisher(PointCloud2, '~/surface', LATCHED_QOS)
        self._mapping_trajectory = publisher(Path, '~/walk', LATCHED_QOS)

    def publish_map(self, map_data: MapDisplayData, path: str, map_frame: str, poses: int) -> None:
        """
        Publish what a map holds, and forget the path in the one before.

        ``path`` is the map's folder, ``map_frame`` the frame of everything; so many ``poses``,
        the latest, make the path from now on.
        """
        if map_data is not self._map:
            self._map_stamp = self._node.get_clock().now().to_msg()
        self._map, self._map_frame = map_data, map_frame
        self._poses = deque(maxlen=poses)
        header = Header(stamp=self._map_stamp, frame_id=self._map_frame)
        self._description.publish(map_description(header, map_data, path))
        self._surface.publish(point_cloud(header, map_data.surface))
        walked = [
            PoseStamped(header=header, pose=pose_message(one)) for one in map_data.mapping_poses
        ]
        self._mapping_trajectory.publish(Path(header=header, poses=walked))

    def publish_result(self, result: LocalizationResult) -> None:
        """Publish what came of a picture, as far as anyone listens."""
        if result.poses is not None:
            self._poses.append(result.poses.pose)
            header = result.poses.pose.header
            if _has_subscribers(self._path):
                self._path.publish(Path(header=header, poses=list(self._poses)))
            if _has_subscribers(self._markers) and result.image is not None:
                self._markers.publish(pose_markers(header, result.image))
        if (
            self._map is not None
            and result.image is not None
            and _has_subscribers(self._debug_image)
        ):
            rgb = debug_image(result.image, self._map.surface)
            self._debug_image.publish(_image_message(result.status.header, rgb))

    def reset(self) -> None:
        """Forget the path."""
        self._poses.clear()

    def clear_map(self) -> None:
        """Let the map go: who comes late is not told of it any more."""
        self._map = None
        self._poses.clear()
        for publisher in (self._description, self._surface, self._mapping_trajectory):
            self._node.destroy_publisher(publisher)
        self._create_latched_publishers()


def _has_subscribers(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count())


def map_description(header: Header, map_data: MapDisplayData, path: str) -> MapDescription:
    """Return what a manifest tells of a map, as a message."""
    facts, metrics = map_data.manifest, map_data.manifest['metrics']
    corners = np.zeros((2, 3))
    if len(map_data.surface):
        points = map_data.surface.points
        corners = map_data.surface.origin_m + np.stack([points.min(0), points.max(0)])
    return MapDescription(
        header=header,
        path=path,
        built=facts['built']['date'],
        package_version=facts['built']['package_version'],
        format_version=facts['format_version'],
        field=facts['built']['field'],
        walked_pictures=len(map_data.mapping_poses),
        landmarks=metrics['landmarks'],
        surface_points=len(map_data.surface),
        lowest=_point_message(corners[0]),
        highest=_point_message(corners[1]),
        psnr_db=float(np.nan if metrics.get('psnr_db') is None else metrics['psnr_db']),
    )


def point_cloud(header: Header, surface: Surface) -> PointCloud2:
    """Return a surface as x, y, z [m] and rgb, packed as RViz and PCL expect it."""
    kind = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4')])
    rows = np.zeros(len(surface), kind)
    places = surface.origin_m + surface.points
    for axis, name in enumerate('xyz'):
        rows[name] = places[:, axis]
    red, green, blue = surface.colours.astype(np.uint32).T
    rows['rgb'] = red << 16 | green << 8 | blue
    message = PointCloud2(header=header, height=1, width=len(rows), is_dense=True)
    message.fields = [
        PointField(name=name, offset=4 * at, datatype=PointField.FLOAT32, count=1)
        for at, name in enumerate(kind.names or ())
    ]
    message.point_step, message.row_step = kind.itemsize, rows.nbytes
    message.data.frombytes(rows.tobytes())
    return message


def pose_markers(header: Header, image: ProcessedImage) -> MarkerArray:
    """Return the camera as a pyramid and the covariance of its position as an ellipsoid."""
    outcome, camera = image.outcome, image.camera
    assert isinstance(outcome, PoseEstimate)
    corners = [(0, 0), (camera.width, 0), (camera.width, camera.height), (0, camera.height)]
    rays = np.array([((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1.0)
                     for u, v in corners])  # fmt: skip
    edge = [
        _point_message(row) for row in transform_points(outcome.map_from_camera, rays * FRUSTUM_M)
    ]
    centre = _point_message(outcome.map_from_camera[:3, 3])
    lines = [end for corner in edge for end in (centre, corner)]
    lines += [end for at in range(4) for end in (edge[at], edge[(at + 1) % 4])]
    pyramid = Marker(header=header, ns='camera', type=Marker.LINE_LIST, points=lines)
    pyramid.scale.x, pyramid.color = 0.01, GREEN
    pyramid.pose.orientation.w = 1.0

    variances, axes = np.linalg.eigh(outcome.covariance[:3, :3])
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    turned = make_pose(translation=outcome.map_from_camera[:3, 3])
    turned[:3, :3] = axes
    widths = 2 * SIGMAS * np.sqrt(np.maximum(variances, 0))
    ellipsoid = Marker(header=header, ns='covariance', type=Marker.SPHERE, color=BLUE)
    ellipsoid.pose = pose_message(turned)
    # Nothing shows a robot where it was before it got lost.
    pyramid.lifetime = ellipsoid.lifetime = Duration(sec=LIFETIME_S)
    ellipsoid.scale = Vector3(x=float(widths[0]), y=float(widths[1]), z=float(widths[2]))
    return MarkerArray(markers=[pyramid, ellipsoid])


def debug_image(image: ProcessedImage, surface: Surface) -> NDArray[np.uint8]:
    """
    Return the picture and, right of it, what the map shows where it was thought to be taken.

    That is the refined pose, or the regressed one where nothing was refined; without either, the
    right half stays black. A green edge means that the pose was published, a red one that not.
    """
    camera = image.camera.downscaled_to(DEBUG_IMAGE_PX)
    size = (camera.width, camera.height)
    left = cv2.resize(image.rgb, size, interpolation=cv2.INTER_AREA)
    right = np.zeros_like(left)
    told = image.outcome.diagnostics
    at = told.regressed_pose if told.refined_pose is None else told.refined_pose
    if at is not None:
        drawn = surface.render(at, image.camera.downscaled_to(SURFACE_RENDER_PX)).rgb
        right = cv2.resize(drawn, size, interpolation=cv2.INTER_NEAREST)
    accepted = isinstance(image.outcome, PoseEstimate)
    both: NDArray[np.uint8] = np.hstack([left, right]).astype(np.uint8)
    colour = (30, 200, 60) if accepted else (220, 40, 40)
    cv2.rectangle(both, (0, 0), (both.shape[1] - 1, both.shape[0] - 1), colour, 3)
    return both


def _image_message(header: Header, rgb: NDArray[np.uint8]) -> Image:
    message = Image(header=header, height=rgb.shape[0], width=rgb.shape[1], encoding='rgb8')
    message.step = 3 * rgb.shape[1]
    message.data.frombytes(rgb.tobytes())
    return message


def _point_message(xyz: FloatArray) -> Point:
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))
