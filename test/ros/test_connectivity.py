"""Discovery by another node is detected by a response of its parameter service, over DDS."""

import contextlib

import pytest
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from ros_rig import Rig, wait_until
from sensor_msgs.msg import CompressedImage, Image

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.ros.connectivity import DiscoveryProbe, subscription_problem


@pytest.mark.parametrize(
    ('published', 'expected', 'remedy'),
    [
        (CompressedImage, Image, remedies.COMPRESSED_TRANSPORT),
        (Image, CompressedImage, remedies.RAW_TRANSPORT),
    ],
)
def test_images_of_another_type_are_told_with_the_transport_that_fits(published, expected, remedy):
    with contextlib.closing(Rig()) as rig:
        rig.node.create_publisher(published, '/image', 1)
        assert wait_until(lambda: rig.node.count_publishers('/image'))
        qos = QoSProfile(depth=1)
        assert subscription_problem(rig.node, '/image', expected, qos).endswith(f': {remedy}')
        assert subscription_problem(rig.node, '/image', published, qos) == ''


def test_a_probe_repeats_its_request_until_the_other_node_responds():
    requests, rooms = [], ['kitchen', 'hall']

    def get_parameters(request, response):
        requests.append(list(request.names))
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=rooms[0])
        response.values = [value]
        return response

    with contextlib.closing(Rig()) as rig:
        probe = DiscoveryProbe(rig.node, 'other', 'room')
        assert not probe.poll()
        other = rclpy.create_node('other', context=rig.context, start_parameter_services=False)
        other.create_service(GetParameters, '~/get_parameters', get_parameters)
        executor = SingleThreadedExecutor(context=rig.context)
        executor.add_node(other)
        assert wait_until(lambda: probe.available)
        assert not wait_until(probe.poll, 2.5)  # the node exists, but is not spun
        assert probe.parameter_text('room') == ''

        def poll_and_spin():
            executor.spin_once(timeout_sec=0.1)
            return probe.poll()

        assert wait_until(poll_and_spin)
        assert requests[0] == ['room']
        assert (probe.parameter_text('room'), probe.parameter_text('house')) == ('kitchen', '')
        rooms.reverse()
        assert wait_until(lambda: poll_and_spin() and probe.parameter_text('room') == 'hall')
        executor.shutdown()
        other.destroy_node()
