"""That another node has discovered what ours made is found out by asking it, over DDS."""

import contextlib

from lifecycle_msgs.srv import GetState
import rclpy
from rclpy.executors import SingleThreadedExecutor
from ros_rig import Rig, wait_until

from nerf_reversal_ros.ros.reachability import Acquaintance


def test_a_node_is_asked_until_it_answers_and_that_it_is_there_is_not_enough():
    asked = []

    def answer(request, response):
        asked.append(request)
        return response

    with contextlib.closing(Rig()) as rig:
        known = Acquaintance(rig.node, 'other')
        assert not known.made()
        other = rclpy.create_node('other', context=rig.context)
        other.create_service(GetState, '~/get_state', answer)
        executor = SingleThreadedExecutor(context=rig.context)
        executor.add_node(other)
        assert wait_until(lambda: known.offered)
        assert not wait_until(known.made, 2.5)  # nobody has spun it

        def made():
            executor.spin_once(timeout_sec=0.1)
            return known.made()

        assert wait_until(made)
        assert len(asked) > 1
        executor.shutdown()
        other.destroy_node()
