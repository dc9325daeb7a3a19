"""Builder node over DDS: an action with progress, or a build at the start of the node."""

import signal

from action_msgs.msg import GoalStatus
import pytest
from rclpy.action import ActionClient
from ros_rig import Process, Rig, SOON_S, wait_until

from nerf_reversal_ros.action import BuildMap
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.ros.builder_node import FeedbackThrottle


@pytest.fixture(scope='module')
def builder():
    with Process('builder') as process:
        yield process


@pytest.fixture
def client(builder):
    rig = Rig()
    client = ActionClient(rig.node, BuildMap, 'builder/build')
    assert client.wait_for_server(30), builder.output
    yield client
    client.destroy()
    rig.close()


@pytest.fixture
def bag(tmp_path):
    """Return a function that writes a bag for a build of some steps of 20 ms."""

    def write_bag(steps):
        (tmp_path / 'bag').write_text(str(steps))
        return str(tmp_path / 'bag')

    return write_bag


def send_goal(client, feedback=None, **goal):
    future = client.send_goal_async(BuildMap.Goal(**goal), feedback)
    assert wait_until(future.done)
    return future.result()


def wait_for_result(handle):
    future = handle.get_result_async()
    assert wait_until(future.done)
    return future.result().status, future.result().result


def test_a_build_sends_feedback_and_returns_the_path_of_the_map(client, bag, tmp_path):
    feedback = []
    goal = {'bag': bag(80), 'map': str(tmp_path / 'map')}
    handle = send_goal(client, lambda message: feedback.append(message.feedback), **goal)
    status, result = wait_for_result(handle)
    assert (status, result.success) == (GoalStatus.STATUS_SUCCEEDED, True), result.message
    assert result.map == str((tmp_path / 'map').resolve())
    assert result.psnr_db == 25.5
    assert (tmp_path / 'map').is_dir()
    # 80 steps of 20 ms take 1.6 s: the first, at least one in between, and the last.
    assert 3 <= len(feedback) <= 20
    assert (feedback[0].stage, feedback[0].done, feedback[0].total) == ('counting', 0, 80)
    assert feedback[0].note == 'auto voxel seed 0'
    assert feedback[0].eta_s < 0
    assert feedback[1].eta_s > 0
    assert feedback[-1].fraction == 1.0


def test_the_remaining_time_follows_from_the_units_done_since_the_stage_began():
    throttle = FeedbackThrottle(period_s=0.0)
    for stage, done, now_s, remaining_s in (
        ('field', 500, 0.0, -1.0),  # resumed
        ('field', 600, 10.0, 40.0),
        ('field', 1000, 50.0, 0.0),
        ('atlas', 250, 100.0, -1.0),
        ('atlas', 500, 105.0, 10.0),
    ):
        assert throttle.feedback(Progress(stage, done, 1000), now_s).eta_s == remaining_s


def test_builds_run_one_at_a_time_and_the_same_goal_resumes_a_canceled_one(client, bag, tmp_path):
    goal = {'bag': bag(300), 'map': str(tmp_path / 'map')}
    handle = send_goal(client, **goal)
    assert handle.accepted
    assert not send_goal(client, **goal).accepted
    partial = tmp_path / 'map.partial'
    assert wait_until(lambda: partial.exists() and partial.read_text() > '')
    wait_until(handle.cancel_goal_async().done)
    status, result = wait_for_result(handle)
    assert (status, result.success) == (GoalStatus.STATUS_CANCELED, False)
    assert result.message == 'canceled: send the same goal to resume the build'
    partial.write_text('299')
    status, result = wait_for_result(send_goal(client, **goal))
    assert (status, result.success) == (GoalStatus.STATUS_SUCCEEDED, True)


@pytest.mark.parametrize(
    ('goal', 'message'),
    [
        ({'bag': 'none', 'map': 'map'}, 'there is no bag none: record one'),
        ({'bag': 'none'}, 'the goal has no bag or no map: set both'),
        ({'bag': 'none', 'map': 'map', 'config': 'no.yaml'}, 'cannot read the settings no.yaml'),
    ],
)
def test_a_failed_build_returns_the_reason_and_the_next_goal_is_accepted(client, goal, message):
    status, result = wait_for_result(send_goal(client, **goal))
    assert status == GoalStatus.STATUS_ABORTED
    assert message in result.message


def test_with_bag_and_map_the_node_builds_and_ends(bag, tmp_path):
    parameters = {'bag': bag(5), 'map': tmp_path / 'map', 'device': 'cpu'}
    with Process('builder', **parameters) as process:
        assert process.wait() == 0
        assert f'built the map {(tmp_path / "map").resolve()}' in process.output
        assert 'counting 0 %' in process.output
    with Process('builder', **{**parameters, 'bag': 'none'}) as process:
        assert process.wait() == 1
        assert 'there is no bag none: record one' in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_build_and_the_log_tells_how_to_resume_it(bag, tmp_path, number):
    with Process('builder', bag=bag(3000), map=tmp_path / 'map') as process:
        process.wait_for_output('counting 0 %')
        assert process.interrupt(number, times=3) < SOON_S
        assert process.wait() == 1
        assert 'interrupted: run the same command to resume the build' in process.output
        assert 'Traceback' not in process.output
    assert int((tmp_path / 'map.partial').read_text()) > 0
    assert not (tmp_path / 'map').exists()


def test_ctrl_c_ends_a_build_of_an_action_and_the_node_leaves_the_graph(bag, tmp_path):
    rig = Rig()
    with Process('builder', '-r', '__node:=other') as process:
        client = ActionClient(rig.node, BuildMap, 'other/build')
        assert client.wait_for_server(30), process.output
        stages = []
        goal = {'bag': bag(3000), 'map': str(tmp_path / 'map')}
        send_goal(client, lambda message: stages.append(message.feedback.stage), **goal)
        assert wait_until(lambda: stages)
        assert process.interrupt() < SOON_S
        assert process.wait() == 1
        assert 'interrupted: run the same command to resume the build' in process.output
        assert 'Traceback' not in process.output
    assert wait_until(lambda: 'other' not in rig.node.get_node_names(), timeout=5)
    assert int((tmp_path / 'map.partial').read_text()) > 0
    assert not (tmp_path / 'map').exists()
    client.destroy()
    rig.close()
