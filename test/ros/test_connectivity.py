"""That another node has discovered what ours made is found out by asking it, over DDS."""

import contextlib

from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from ros_rig import Rig, wait_until

from nerf_reversal_ros.ros.connectivity import DiscoveryProbe


def test_a_node_is_asked_until_it_answers_and_that_it_is_there_is_not_enough():
    asked, rooms = [], ['kitchen', 'hall']

    def answer(request, response):
        asked.append(list(request.names))
        told = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=rooms[0])
        response.values = [told]
        return response

    with contextlib.closing(Rig()) as rig:
        known = DiscoveryProbe(rig.node, 'other', 'room')
        assert not known.poll()
        other = rclpy.create_node('other', context=rig.context, start_parameter_services=False)
        other.create_service(GetParameters, '~/get_parameters', answer)
        executor = SingleThreadedExecutor(context=rig.context)
        executor.add_node(other)
        assert wait_until(lambda: known.available)
        assert not wait_until(known.poll, 2.5)  # nobody has spun it
        assert known.parameter_text('room') == ''

        def made():
            executor.spin_once(timeout_sec=0.1)
            return known.poll()

        assert wait_until(made)
        assert asked[0] == ['room']
        assert (known.parameter_text('room'), known.parameter_text('house')) == ('kitchen', '')
        rooms.reverse()
        assert wait_until(lambda: made() and known.parameter_text('room') == 'hall')
        executor.shutdown()
        other.destroy_node()
