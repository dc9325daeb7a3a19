"""The builder node over DDS: an action with progress, or a build at once."""

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
    """Make a bag of so many steps of 20 ms."""

    def made(steps):
        (tmp_path / 'bag').write_text(str(steps))
        return str(tmp_path / 'bag')

    return made


def sent(client, feedback=None, **goal):
    future = client.send_goal_async(BuildMap.Goal(**goal), feedback)
    assert wait_until(future.done)
    return future.result()


def finished(handle):
    future = handle.get_result_async()
    assert wait_until(future.done)
    return future.result().status, future.result().result


def test_a_build_reports_its_progress_and_where_the_map_is(client, bag, tmp_path):
    reports = []
    goal = {'bag': bag(80), 'map': str(tmp_path / 'map')}
    handle = sent(client, lambda message: reports.append(message.feedback), **goal)
    status, result = finished(handle)
    assert (status, result.success) == (GoalStatus.STATUS_SUCCEEDED, True), result.message
    assert result.map == str((tmp_path / 'map').resolve())
    assert result.psnr_db == 25.5
    assert (tmp_path / 'map').is_dir()
    # 80 steps of 20 ms are 1.6 s: the first, one or more in between, and the last.
    assert 3 <= len(reports) <= 20
    assert (reports[0].stage, reports[0].done, reports[0].total) == ('counting', 0, 80)
    assert reports[0].note == 'auto voxel seed 0'
    assert reports[0].eta_s < 0
    assert reports[1].eta_s > 0
    assert reports[-1].fraction == 1.0


def test_the_time_left_is_by_what_was_done_since_the_stage_began():
    reporter = FeedbackThrottle(period_s=0.0)
    for stage, done, now_s, left_s in (
        ('field', 500, 0.0, -1.0),  # resumed
        ('field', 600, 10.0, 40.0),
        ('field', 1000, 50.0, 0.0),
        ('atlas', 250, 100.0, -1.0),
        ('atlas', 500, 105.0, 10.0),
    ):
        assert reporter.feedback(Progress(stage, done, 1000), now_s).eta_s == left_s


def test_one_build_at_a_time_and_a_cancelled_one_is_resumed_by_the_same_goal(
    client, bag, tmp_path
):
    goal = {'bag': bag(300), 'map': str(tmp_path / 'map')}
    handle = sent(client, **goal)
    assert handle.accepted
    assert not sent(client, **goal).accepted
    partial = tmp_path / 'map.partial'
    assert wait_until(lambda: partial.exists() and partial.read_text() > '')
    wait_until(handle.cancel_goal_async().done)
    status, result = finished(handle)
    assert (status, result.success) == (GoalStatus.STATUS_CANCELED, False)
    assert result.message == 'cancelled: the same goal resumes the build'
    partial.write_text('299')
    status, result = finished(sent(client, **goal))
    assert (status, result.success) == (GoalStatus.STATUS_SUCCEEDED, True)


@pytest.mark.parametrize(
    ('goal', 'sentence'),
    [
        ({'bag': 'none', 'map': 'map'}, 'there is no bag none: record one'),
        ({'bag': 'none'}, 'the goal needs a bag to read and a map to write'),
        ({'bag': 'none', 'map': 'map', 'config': 'no.yaml'}, 'cannot read the settings no.yaml'),
    ],
)
def test_a_build_that_fails_says_why_and_the_next_goal_is_taken(client, goal, sentence):
    status, result = finished(sent(client, **goal))
    assert status == GoalStatus.STATUS_ABORTED
    assert sentence in result.message


def test_with_bag_and_map_it_builds_at_once_and_ends(bag, tmp_path):
    given = {'bag': bag(5), 'map': tmp_path / 'map', 'device': 'cpu'}
    with Process('builder', **given) as process:
        assert process.ended() == 0
        assert f'built the map {(tmp_path / "map").resolve()}' in process.output
        assert 'counting 0 %' in process.output
    with Process('builder', **{**given, 'bag': 'none'}) as process:
        assert process.ended() == 1
        assert 'there is no bag none: record one' in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_build_and_it_says_that_it_can_be_resumed(bag, tmp_path, number):
    with Process('builder', bag=bag(3000), map=tmp_path / 'map') as process:
        process.says('counting 0 %')
        assert process.interrupt(number, times=3) < SOON_S
        assert process.ended() == 1
        assert 'interrupted: the same command resumes the build' in process.output
        assert 'Traceback' not in process.output
    assert int((tmp_path / 'map.partial').read_text()) > 0
    assert not (tmp_path / 'map').exists()
