"""Discovery by another node is detected by a response of its parameter service, over DDS."""

import contextlib

from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from ros_rig import Rig, wait_until

from nerf_reversal_ros.ros.connectivity import DiscoveryProbe


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
