"""The listener of a page receives what the localizer publishes, in the frame of the map folder."""

from geometry_msgs.msg import PoseWithCovarianceStamped
import pytest
from ros_rig import Rig, wait_until
from std_msgs.msg import Header

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.pose_listener import follow_localizer


def test_poses_and_reasons_arrive_without_the_placement_of_the_map(capfd):
    rig, outcomes = Rig(), {}
    try:
        rig.add_parameter_node('localizer', map_from_nerf='1 0 0 90')

        def publish():
            pose = PoseWithCovarianceStamped(header=Header())
            pose.pose.pose.position.x, pose.pose.pose.position.y = 1.0, 2.0
            pose.pose.pose.orientation.w = 1.0
            status = LocalizerStatus(reason=LocalizerStatus.LOW_CONTRAST, detail='contrast 1.0')
            status.header.stamp.sec = 8
            rig.publish('localizer/status', status)
            for second, room in ((7, ''), (9, 'hall')):
                pose.header.stamp.sec = second
                rig.publish('localizer/sensor_pose', pose)
                accepted = LocalizerStatus(header=pose.header, accepted=True, room=room)
                rig.publish('localizer/status', accepted)
            return len(outcomes) == 2

        with follow_localizer(lambda stamp_ns, outcome: outcomes.update({stamp_ns: outcome})):
            assert wait_until(publish)
    finally:
        rig.close()
    estimate, rejection = outcomes[7_000_000_000], outcomes[8_000_000_000]
    assert isinstance(estimate, PoseEstimate)
    # (2, 0) of the map folder is turned by 90 deg to (0, 2), and moved to (1, 2).
    assert estimate.map_from_camera[:3, 3] == pytest.approx([2, 0, 0])
    assert isinstance(rejection, Rejection)
    assert 9_000_000_000 not in outcomes  # in no frame of a map folder
    told = 'the localizer answers in the room hall of a building, whose poses are not shown'
    assert f'{told}: {remedies.LOCALIZE_IN_SHOWN_MAP}' in capfd.readouterr().err
    assert rejection.reason is RejectionReason.LOW_CONTRAST
