"""Test node of a robot with TF: extrinsics, odometry and images out, map -> odom in."""

import time

from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
import numpy as np
from rclpy.time import Time
from ros_rig import compressed_image, Rig, wait_until
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS

EXTRINSICS = make_pose(Rotation.from_euler('xyz', (-100, 5, -80), degrees=True), (0.3, -0.1, 0.5))
"""base_from_camera."""
ODOM_FROM_BASE = make_pose(
    Rotation.from_euler('xyz', (2, -3, 140), degrees=True), (20.0, -7.0, 0.1)
)


def pose_numbers(matrix):
    """Return x y z qx qy qz qw of a pose (4, 4)."""
    return [*matrix[:3, 3], *Rotation.from_matrix(matrix[:3, :3]).as_quat()]


def transform_message(parent, child, second, parent_from_child):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = Time(nanoseconds=round(second * 1e9)).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z, q.x, q.y, q.z, q.w = map(float, pose_numbers(parent_from_child))
    return message


def matrix_of(transform):
    t, q = transform.translation, transform.rotation
    return make_pose(Rotation.from_quat([q.x, q.y, q.z, q.w]), (t.x, t.y, t.z))


class TfRig(Rig):
    """Publishes odometry and extrinsics on TF and images, and collects map -> odom."""

    def __init__(self, namespace='', topic='/tf'):
        super().__init__(namespace)
        self._topic = topic
        self._static = self.node.create_publisher(TFMessage, f'{topic}_static', LATCHED_QOS)
        self.broadcasts = []
        """Each message map -> odom, and the time of its arrival [s]."""
        self.node.create_subscription(TFMessage, topic, self._on_tf, 100)
        self.statuses = self.collect(LocalizerStatus, 'localizer/status')
        self.poses = self.collect(PoseWithCovarianceStamped, 'nerf_pose_with_covariance')

    def _on_tf(self, message):
        edges = [edge for edge in message.transforms if edge.child_frame_id.endswith('odom')]
        self.broadcasts += [(edge, time.time()) for edge in edges]

    @property
    def map_from_odom(self):
        return matrix_of(self.broadcasts[-1][0].transform)

    def publish_static(self, *edges):
        """Publish transforms (parent, child, parent_from_child) on /tf_static, latched."""
        messages = [transform_message(parent, child, 0, pose) for parent, child, pose in edges]
        self._static.publish(TFMessage(transforms=messages))

    def publish_odometry(
        self, second, odom_from_base=ODOM_FROM_BASE, odom='odom', base='base_link'
    ):
        edge = transform_message(odom, base, second, odom_from_base)
        self.publish(self._topic, TFMessage(transforms=[edge]))

    def localize(self, x_m, second):
        """Publish an image of a camera at x_m, y 0.2 and z 0.3 m; return its status."""
        count = len(self.statuses)
        self.publish('image/compressed', compressed_image((round(100 * x_m), 20, 30), second))
        assert wait_until(lambda: len(self.statuses) > count), 'no status'
        return self.statuses[-1]

    def localize_with_odometry(self, x_m, second):
        """Publish odometry and an image, and return the map -> odom that follows."""
        count = len(self.broadcasts)
        self.publish_odometry(second)
        self.localize(x_m, second)
        assert wait_until(lambda: len(self.broadcasts) > count), 'nothing on TF'
        return self.map_from_odom

    def broadcasters(self):
        """Return the names of the other nodes that publish on TF."""
        topic = self.node.resolve_topic_name(self._topic)
        infos = self.node.get_publishers_info_by_topic(topic)
        return {info.node_name for info in infos} - {self.node.get_name()}


def map_from_base_at(x_m):
    """Return map_from_base of a robot with EXTRINSICS whose camera is at x_m."""
    return make_pose(None, (x_m, 0.2, 0.3)) @ np.linalg.inv(EXTRINSICS)


def map_from_odom_at(x_m):
    """Return map_from_odom of the same robot at ODOM_FROM_BASE."""
    return map_from_base_at(x_m) @ np.linalg.inv(ODOM_FROM_BASE)
