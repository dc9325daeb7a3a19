"""Publish displays for RViz: the map (latched), and markers, path and debug image of the poses."""

from collections import deque
from collections.abc import Callable, Mapping
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

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import (
    error_ellipsoid,
    FloatArray,
    make_pose,
    transform_points,
)
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.inlier_drawing import draw_inliers
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.msg import MapDescription
from nerf_reversal_ros.ros.conversions import pose_frame, pose_message
from nerf_reversal_ros.ros.image_localizer import LocalizationResult, ProcessedImage
from nerf_reversal_ros.ros.map_display import MapDisplayData
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS, NO_EVENT_CALLBACKS

try:
    from sensor_msgs_py.point_cloud2 import create_cloud
except ImportError:  # it is no part of the ROS of PyPI
    create_cloud = None

FRUSTUM_M = 0.25
"""Height of the pyramid that marks the camera [m]."""
FRUSTUM_LINE_M = 0.01
"""Width of its lines [m]."""
LIFETIME_S = 2
"""Lifetime of the markers [s]: no marker stays where the robot was before it got lost."""
DEBUG_IMAGE_PX, SURFACE_RENDER_PX = 320, 160
"""Longer side of each half of the debug image, and of the surface rendering for it [px]."""
GREEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
BLUE = ColorRGBA(r=0.2, g=0.4, b=1.0, a=0.5)
ACCEPTED_RGB, REJECTED_RGB = (30, 200, 60), (220, 40, 40)
"""Colors of the border of the debug image."""
BORDER_PX = 3


class Visualizer:
    """
    Publishes displays; no other node needs them to navigate.

    Parameters
    ----------
    node : Node
        Gives the time and makes the latched publishers.
    create_publisher : callable
        Makes the other publishers from a type, a topic, and a QoS profile or depth.
    """

    def __init__(self, node: Node, create_publisher: Callable[..., Any]) -> None:
        self._node = node
        self._map_frame = ''
        self._create_latched_publishers()
        self._path = create_publisher(Path, '~/path', 10)
        self._markers = create_publisher(MarkerArray, '~/markers', 10)
        self._debug_image = create_publisher(Image, '~/debug_image', 1)
        self._poses: deque[PoseStamped] = deque()
        self._map: MapDisplayData | None = None
        self._map_stamp = Time()

    def _create_latched_publishers(self) -> None:
        publisher = partial(self._node.create_publisher, event_callbacks=NO_EVENT_CALLBACKS)
        self._description = publisher(MapDescription, '~/map_description', LATCHED_QOS)
        self._surface = publisher(PointCloud2, '~/surface', LATCHED_QOS)
        self._mapping_trajectory = publisher(Path, '~/walk', LATCHED_QOS)
        self._coverage = publisher(PointCloud2, '~/coverage', LATCHED_QOS)

    def publish_map(
        self, map_data: MapDisplayData, path: str, map_frame: str, path_poses: int
    ) -> None:
        """
        Publish a map and clear the path of the map before.

        Parameters
        ----------
        map_data : MapDisplayData
            The map.
        path : str
            Its folder.
        map_frame : str
            Frame of all displays.
        path_poses : int
            Number of latest poses in the path from now on.
        """
        if map_data is not self._map:
            self._map_stamp = self._node.get_clock().now().to_msg()
        self._map, self._map_frame = map_data, map_frame
        self._poses = deque(maxlen=path_poses)
        header = Header(stamp=self._map_stamp, frame_id=self._map_frame)
        self._description.publish(map_description(header, map_data, path))
        self._surface.publish(surface_cloud(header, map_data.surface))
        self._coverage.publish(coverage_cloud(header, map_data.coverage))
        trajectory = [
            PoseStamped(header=header, pose=pose_message(pose)) for pose in map_data.mapping_poses
        ]
        self._mapping_trajectory.publish(Path(header=header, poses=trajectory))

    def publish_result(self, result: LocalizationResult) -> None:
        """Publish the displays of one image that have subscribers."""
        image = result.image
        if result.poses is not None:
            header = result.poses.pose.header
            if self._poses and self._poses[-1].header.frame_id != header.frame_id:
                self._poses.clear()  # a path has one frame
            self._poses.append(result.poses.pose)
            if _has_subscribers(self._path):
                self._path.publish(Path(header=header, poses=list(self._poses)))
            if _has_subscribers(self._markers) and image is not None:
                self._markers.publish(pose_markers(header, image))
        if self._map is not None and image is not None and _has_subscribers(self._debug_image):
            rgb = debug_image(image, self._map.surface_of(image.outcome.diagnostics))
            self._debug_image.publish(_image_message(result.status.header, rgb))

    def reset(self) -> None:
        """Clear the path."""
        self._poses.clear()

    def clear_map(self) -> None:
        """Release the map and stop sending it to late subscribers."""
        self._map = None
        self._poses.clear()
        latched = self._description, self._surface, self._mapping_trajectory, self._coverage
        for publisher in latched:
            self._node.destroy_publisher(publisher)
        self._create_latched_publishers()


def _has_subscribers(publisher: Any) -> bool:
    return bool(publisher.get_subscription_count())


def map_description(header: Header, map_data: MapDisplayData, path: str) -> MapDescription:
    """Describe a map by its manifest and the bounding box of its surface, as a message."""
    manifest, metrics = map_data.manifest, map_data.manifest['metrics']
    corners = np.zeros((2, 3))
    if len(map_data.surface):
        points = map_data.surface.points
        corners = map_data.surface.origin_m + np.stack([points.min(0), points.max(0)])
    return MapDescription(
        header=header,
        path=path,
        built=manifest['built']['date'],
        package_version=manifest['built']['package_version'],
        format_version=manifest['format_version'],
        field=manifest['built']['field'],
        walked_pictures=len(map_data.mapping_poses),
        landmarks=metrics['landmarks'],
        surface_points=len(map_data.surface),
        lowest=_point_message(corners[0]),
        highest=_point_message(corners[1]),
        psnr_db=float(np.nan if metrics.get('psnr_db') is None else metrics['psnr_db']),
        rooms=list(map_data.room_frames),
        room_frames=[
            pose_frame(header.frame_id, frame) for frame in map_data.room_frames.values()
        ],
    )


def surface_cloud(header: Header, surface: Surface) -> PointCloud2:
    """Convert a surface to a point cloud of x, y, z [m] and rgb."""
    return _point_cloud(header, surface.origin_m + surface.points, surface.colours, {})


def coverage_cloud(header: Header, coverage: Coverage) -> PointCloud2:
    """Convert to a point cloud of x, y, z [m], rgb, and localized and std_m of `Coverage`."""
    more = {'localized': coverage.localized, 'std_m': coverage.std_m}
    return _point_cloud(header, coverage.positions_m, coverage.colors(), more)


def _point_cloud(
    header: Header,
    points: FloatArray,
    colors: NDArray[np.uint8],
    more: Mapping[str, FloatArray],
) -> PointCloud2:
    """Pack points (N, 3), colors (N, 3) and more numbers (N,) each for RViz and PCL."""
    names = ('x', 'y', 'z', 'rgb', *more)
    rows = np.zeros(len(points), [(name, '<f4') for name in names])
    for name, column in zip('xyz', points.T, strict=True):
        rows[name] = column
    red, green, blue = colors.astype('<u4').T
    rows['rgb'] = (red << 16 | green << 8 | blue).view('<f4')
    for name, numbers in more.items():
        rows[name] = numbers
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(names)
    ]
    if create_cloud is not None:
        message: PointCloud2 = create_cloud(header, fields, rows)
    else:
        message = PointCloud2(header=header, height=1, width=len(rows), fields=fields)
        message.point_step, message.row_step = rows.dtype.itemsize, rows.nbytes
        message.data.frombytes(rows.tobytes())
    message.is_dense = True
    return message


def pose_markers(header: Header, image: ProcessedImage) -> MarkerArray:
    """Return a pyramid for the camera and an ellipsoid for the covariance of its position."""
    outcome = image.outcome
    assert isinstance(outcome, PoseEstimate)
    pyramid = _frustum_marker(header, image.camera, outcome.map_from_camera)
    ellipsoid = _ellipsoid_marker(header, outcome)
    pyramid.lifetime = ellipsoid.lifetime = Duration(sec=LIFETIME_S)
    return MarkerArray(markers=[pyramid, ellipsoid])


def _frustum_marker(header: Header, camera: Camera, map_from_camera: FloatArray) -> Marker:
    width, height = camera.width, camera.height
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    base = transform_points(map_from_camera, camera.unproject(corners, FRUSTUM_M))
    corner_points = [_point_message(corner) for corner in base]
    apex = _point_message(map_from_camera[:3, 3])
    lines = [point for corner in corner_points for point in (apex, corner)]
    for index, corner in enumerate(corner_points):
        lines += [corner, corner_points[(index + 1) % 4]]
    marker = Marker(header=header, ns='camera', type=Marker.LINE_LIST, points=lines, color=GREEN)
    marker.scale.x = FRUSTUM_LINE_M
    marker.pose.orientation.w = 1.0
    return marker


def _ellipsoid_marker(header: Header, estimate: PoseEstimate) -> Marker:
    half_axes, axes = error_ellipsoid(estimate.covariance[:3, :3])
    map_from_ellipsoid = make_pose(translation=estimate.map_from_camera[:3, 3])
    map_from_ellipsoid[:3, :3] = axes
    widths = 2 * half_axes
    marker = Marker(header=header, ns='covariance', type=Marker.SPHERE, color=BLUE)
    marker.pose = pose_message(map_from_ellipsoid)
    marker.scale = Vector3(x=float(widths[0]), y=float(widths[1]), z=float(widths[2]))
    return marker


def debug_image(image: ProcessedImage, surface: Surface | None) -> NDArray[np.uint8]:
    """
    Compose the query image and, right of it, the surface rendered at its estimated pose.

    The rendering is at the refined pose, or at the regressed one where refinement was not
    reached. Without either, or without a surface, the right half stays black. Circles mark the
    inliers, keypoints and landmarks. The border is green if the pose was accepted, and red
    otherwise.
    """
    camera = image.camera.downscaled_to(DEBUG_IMAGE_PX)
    size = (camera.width, camera.height)
    left = np.asarray(cv2.resize(image.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    right = np.zeros_like(left)
    diagnostics = image.outcome.diagnostics
    pose = diagnostics.refined_pose
    if pose is None:
        pose = diagnostics.regressed_pose
    if pose is not None and surface is not None:
        rendering = surface.render(pose, image.camera.downscaled_to(SURFACE_RENDER_PX)).rgb
        resized = cv2.resize(rendering, size, interpolation=cv2.INTER_NEAREST)
        right = np.asarray(resized, np.uint8)
    draw_inliers((left, right), diagnostics, image.camera, camera)
    both: NDArray[np.uint8] = np.hstack([left, right]).astype(np.uint8)
    color = ACCEPTED_RGB if isinstance(image.outcome, PoseEstimate) else REJECTED_RGB
    cv2.rectangle(both, (0, 0), (both.shape[1] - 1, both.shape[0] - 1), color, BORDER_PX)
    return both


def _image_message(header: Header, rgb: NDArray[np.uint8]) -> Image:
    message = Image(header=header, height=rgb.shape[0], width=rgb.shape[1], encoding='rgb8')
    message.step = 3 * rgb.shape[1]
    message.data.frombytes(rgb.tobytes())
    return message


def _point_message(xyz: FloatArray) -> Point:
    return Point(x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))
