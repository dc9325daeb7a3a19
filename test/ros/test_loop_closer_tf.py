"""Loop closer and TF over DDS: odometry from TF, and map -> odom on TF."""

import contextlib

from driving import loop_trajectory, simulate_odometry
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from ros_rig import Process, wait_until

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.msg import LoopClosure
from nerf_reversal_ros.ros.conversions import matrix_from_pose, pose_message, stamp_from_ns

pytest.importorskip('tf2_msgs.msg', reason='`make setup` builds it for the tests')
pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

from tf_rig import matrix_of, TfRig

START_NS, STEP_NS = 5_000_000_000, 100_000_000


class Driver(TfRig):
    """Publishes drifting odometry and ground-truth poses, for loop closers of some names."""

    def __init__(self, *names, by_topic=True, by_tf=True):
        super().__init__()
        self._by_topic, self._by_tf = by_topic, by_tf
        self.map_from_base_gt = loop_trajectory(40)
        self.odometry = simulate_odometry(self.map_from_base_gt)
        self.names = names
        self.closures = {name: self.collect(LoopClosure, f'{name}/closures') for name in names}
        self.corrected = {name: self.collect(Odometry, f'{name}/odometry') for name in names}
        self.corrections = {
            name: self.collect(TransformStamped, f'{name}/map_from_odom') for name in names
        }

    def publish_step(self, k):
        """Publish the odometry of one step."""
        message = Odometry(child_frame_id='base_link')
        message.header.frame_id, message.header.stamp = 'odom', self.stamp(k)
        message.pose.pose = pose_message(self.odometry[k])
        if self._by_topic:
            self.publish('odom', message)
        if self._by_tf:
            self.publish_odometry((START_NS + k * STEP_NS) / 1e9, self.odometry[k])

    def publish_pose(self, k):
        """Publish the ground-truth pose of one step; wait for a closure of each loop closer."""
        message = PoseWithCovarianceStamped()
        message.header.frame_id, message.header.stamp = 'map', self.stamp(k)
        message.pose.pose = pose_message(self.map_from_base_gt[k])
        message.pose.covariance = np.diag([1e-5] * 3 + [1e-6] * 3).ravel()
        counts = {name: len(closures) for name, closures in self.closures.items()}
        self.publish('nerf_pose_with_covariance', message)
        assert wait_until(
            lambda: all(len(self.closures[name]) > counts[name] for name in self.names)
        ), 'no closure'

    @staticmethod
    def stamp(k):
        return stamp_from_ns(START_NS + k * STEP_NS)


@contextlib.contextmanager
def loop_closers(driver, **parameters):
    """Run a loop closer of each name with its parameters; close the driver at the end."""
    with contextlib.ExitStack() as stack:
        stack.callback(driver.close)
        processes = [
            stack.enter_context(
                Process('loop_closer', '-r', f'__node:={name}', reliability='reliable', **own)
            )
            for name, own in parameters.items()
        ]
        driver.wait_for_discovery_by(*parameters)
        yield processes


def test_odometry_from_tf_and_from_the_topic_give_the_same_corrections():
    driver = Driver('by_topic', 'by_tf')
    with loop_closers(driver, by_topic={}, by_tf={'odometry_source': 'tf'}) as (_, by_tf):
        by_tf.wait_for_output('TF has no transform odom <- base_link')
        assert f'publish the odometry on TF or {remedies.ODOMETRY_TOPIC}' in by_tf.output
        driver.publish_step(0)
        driver.publish_pose(0)
        for k in range(1, 40):
            driver.publish_step(k)
            for corrected in driver.corrected.values():
                assert wait_until(
                    lambda corrected=corrected, k=k: (
                        corrected and corrected[-1].header.stamp == driver.stamp(k)
                    )
                )
            if k % 10 == 0:
                driver.publish_pose(k)
        first, second = (driver.corrected[name][-1] for name in driver.names)
        assert matrix_from_pose(first.pose.pose) == pytest.approx(
            matrix_from_pose(second.pose.pose), abs=1e-9
        )
        assert second.pose.covariance == pytest.approx(first.pose.covariance, rel=1e-6)
        corrections = [matrix_of(driver.corrections[name][-1].transform) for name in driver.names]
        assert corrections[0] == pytest.approx(corrections[1], abs=1e-9)
        assert [len(closures) for closures in driver.closures.values()] == [4, 4]
        assert not driver.broadcasters()  # publish_tf is false


def test_map_to_odom_on_tf_follows_the_correction_on_the_topic_smoothly():
    driver = Driver('closer', by_tf=False)
    parameters = {'publish_tf': True, 'tf_rate_hz': 0.0, 'tf_smoothing': 0.25}
    with loop_closers(driver, closer=parameters):
        closures = 0
        for k in range(31):
            driver.publish_step(k)
            if k % 15 == 0:
                before = driver.map_from_odom if driver.broadcasts else None
                driver.publish_pose(k)
                closures += 1
                assert wait_until(lambda n=closures: len(driver.broadcasts) == n)
                map_from_odom = matrix_of(driver.corrections['closer'][-1].transform)
                exact = map_from_odom @ driver.odometry[k]
                broadcast = driver.map_from_odom @ driver.odometry[k]
                if before is None:
                    assert broadcast == pytest.approx(exact, abs=1e-6)
                    assert broadcast == pytest.approx(driver.map_from_base_gt[0], abs=1e-3)
                    continue
                drift = exact[:3, 3] - (before @ driver.odometry[k])[:3, 3]
                assert 0.02 < np.linalg.norm(drift) < 0.3  # m
                assert exact[:3, 3] - broadcast[:3, 3] == pytest.approx(0.75 * drift, abs=1e-6)


def test_map_to_odom_on_tf_is_reset_when_a_bag_is_played_again():
    driver = Driver('closer', by_topic=False)
    parameters = {'publish_tf': True, 'tf_jump_poses': 100, 'odometry_source': 'tf'}
    with loop_closers(driver, closer=parameters) as (process,):

        def broadcasts_ground_truth(k):
            driver.publish_step(k)
            driver.publish_pose(k)
            expected = pytest.approx(driver.map_from_base_gt[k], abs=1e-3)
            return wait_until(
                lambda: driver.broadcasts and driver.map_from_odom @ driver.odometry[k] == expected
            )

        assert broadcasts_ground_truth(20)
        driver.map_from_base_gt[:, 0, 3] += 5.0  # a jump that would need 100 poses
        driver.publish_step(2)
        process.wait_for_output('the stamps of the odometry went back')
        assert broadcasts_ground_truth(2)
