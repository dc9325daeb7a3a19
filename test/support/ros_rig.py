"""Test rig: the node of a test, and the node under test as another process, on a real DDS."""

import array
import contextlib
import faulthandler
import importlib.util
import os
from pathlib import Path
import signal
import sys
import threading
import time

from building import SPAWNER
import cv2
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
import numpy as np
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

ROOT = Path(__file__).resolve().parents[2]
TF2_STANDIN = [] if importlib.util.find_spec('tf2_ros') else [str(ROOT / 'test/tf2_standin')]
"""Folder of a tf2_ros stand-in, if none is installed."""
PYTHONPATH = os.pathsep.join([str(ROOT), *TF2_STANDIN, *sys.path])
"""For processes: the source tree, then the path of this one, as after sourcing ROS."""
SOON_S = 10.0
"""Time for a node to end on a busy machine [s]; `interruptions` measures the time it takes."""
GRAY, DARK, RED, BLUE = (100, 100, 100), (0, 0, 0), (255, 0, 0), (0, 0, 255)


def _run_node(words, environment, folder, paths, output):
    """Run a node of `ros_small` in this process, which was forked with its modules loaded."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output.fileno(), stream.fileno())
        stream.reconfigure(write_through=True)
    output.close()
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = paths
    sys.argv = ['ros_small', *words]
    from ros_small import main

    sys.exit(main())


class Process:
    """A node as a separate process, interrupted at the end of the test."""

    def __init__(self, name, *arguments, **parameters):
        words = [name, '--ros-args']
        for key, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else value
            words += ['-p', f'{key}:={text}']
        output, its_output = SPAWNER.Pipe(duplex=False)
        self._process = SPAWNER.Process(
            target=_run_node,
            args=(
                [*words, *arguments],
                dict(os.environ),
                Path.cwd(),
                PYTHONPATH.split(os.pathsep),
                its_output,
            ),
            daemon=True,
        )
        self._process.start()
        its_output.close()
        self.lines = []
        self._reader = threading.Thread(target=self._read, args=[output], daemon=True)
        self._reader.start()

    def _read(self, output):
        with output, open(output.fileno(), encoding='utf-8', closefd=False) as lines:
            for line in lines:
                self.lines.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._send(signal.SIGINT)
        try:
            self.wait()
        except TimeoutError:
            self._send(signal.SIGABRT)  # faulthandler prints where its threads are
            self._process.join(5)
            self._process.kill()
            print(self.output)
            raise
        for noise in ('never retrieved', 'rosout', 'race condition'):  # of rclpy, at a hard end
            assert noise not in self.output, self.output

    def _send(self, number):
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(self._process.pid, number)

    @property
    def output(self):
        """Return what the process has printed so far."""
        return ''.join(self.lines)

    def interrupt(self, number=signal.SIGINT, times=1):
        """Send Ctrl-C, once or every 100 ms; return the seconds until the process ended."""
        start_s = time.monotonic()
        self._send(number)
        for _ in range(times - 1):
            time.sleep(0.1)
            self._send(number)
        self.wait()
        return time.monotonic() - start_s

    def wait(self, timeout=60):
        """Wait for the end of the process; return its exit status."""
        self._process.join(timeout)
        if self._process.is_alive():
            raise TimeoutError(f'the node has not ended within {timeout} s: {self.output}')
        self._reader.join(5)
        return self._process.exitcode

    def wait_for_output(self, text, timeout=30):
        """Wait until the process has printed a text."""
        wait_until(lambda: text in self.output or not self._process.is_alive(), timeout)
        assert text in self.output, self.output


def wait_until(condition, timeout=30):
    """Wait until a condition holds; return whether it did in time."""
    deadline_s = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


class Rig:
    """Node of a test: publishes messages, collects messages, and calls services."""

    def __init__(self, namespace=''):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('rig', context=self.context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._other_nodes = []
        self._publishers = {}
        self._clients = {}

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self):
        """Leave the graph."""
        self._executor.shutdown()
        self._thread.join()
        for node in (*self._other_nodes, self.node):
            node.destroy_node()
        self.context.try_shutdown()

    def add_parameter_node(self, name, **parameters):
        """Add a node that has only some parameters."""
        node = rclpy.create_node(name, context=self.context, namespace=self.node.get_namespace())
        for parameter, value in parameters.items():
            node.declare_parameter(parameter, value)
        self._other_nodes.append(node)
        self._executor.add_node(node)

    def collect(self, kind, topic, qos=100):
        """Return a list to which every message on a topic is appended."""
        messages = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def publish(self, topic, message):
        """Publish to subscribers that have discovered this node."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, 100)
            self._wait_for_discovery_on(self.node.resolve_topic_name(topic))
        publisher = self._publishers[topic]
        assert wait_until(lambda: publisher.get_subscription_count() > 0), (
            f'no subscriber of {topic}'
        )
        publisher.publish(message)

    def _wait_for_discovery_on(self, topic):
        """
        Wait until the subscribers of a topic have discovered the endpoints of this node.

        DDS announces endpoints in their order, and a service responds only to a client that it
        has discovered. Without this wait, a reply on a topic whose subscription here is not yet
        discovered would be lost.
        """

        def subscribers():
            infos = self.node.get_subscriptions_info_by_topic(topic)
            names = {f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in infos}
            return names - {self.node.get_fully_qualified_name()}

        unknown = '_NODE_NAME_UNKNOWN_'
        assert wait_until(lambda: subscribers() and unknown not in str(subscribers())), topic
        self.wait_for_discovery_by(*subscribers())

    def wait_for_discovery_by(self, *nodes):
        """Wait until some nodes have discovered all endpoints made by this node so far."""
        for name in nodes:
            service = f'{name}/get_parameters'
            self._clients.pop(service, None)  # a new client, announced last
            self.call(GetParameters, service)

    def call_async(self, kind, name, **fields):
        """
        Call a service of a node and return the future of its response.

        The first call waits until the node has discovered the client; the response would be lost.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            if kind is not GetParameters:
                self.wait_for_discovery_by(name.rpartition('/')[0])
        assert self._clients[name].wait_for_service(30), f'no service {name}'
        return self._clients[name].call_async(kind.Request(**fields))

    def call(self, kind, name, **fields):
        """Call a service and return its response."""
        # A response to a client not discovered yet is lost: call again.
        for _ in range(3):
            future = self.call_async(kind, name, **fields)
            if wait_until(future.done, 15):
                return future.result()
        raise AssertionError(f'{name} does not respond')

    def change_state(self, transition, node='localizer'):
        """Request a transition once, because it cannot be repeated; return its success."""
        name = f'{node}/change_state'
        future = self.call_async(ChangeState, name, transition=Transition(id=transition))
        assert wait_until(future.done, 60), f'{name} does not respond'
        return future.result().success


def compressed_image(color=GRAY, second=1, *, size=(64, 48)):
    """Return an image of one color with a stamp [s], PNG-compressed."""
    rgb = np.full((size[1], size[0], 3), color, np.uint8)
    message = CompressedImage(format='png')
    message.header.frame_id = 'camera_optical'
    message.header.stamp.sec = second
    message.data = cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()
    return message


def raw_image(color=GRAY, second=1, *, size=(64, 48)):
    """Return an image of one color with a stamp [s], uncompressed."""
    rgb = np.full((size[1], size[0], 3), color, np.uint8)
    message = Image(encoding='rgb8', width=size[0], height=size[1], step=3 * size[0])
    message.header.stamp.sec = second
    message.data = array.array('B', rgb.tobytes())
    return message


def camera_info(size=(64, 48), focal=50.0, *, frame='', second=0):
    """Return the CameraInfo of these images; without a frame it belongs to all."""
    message = CameraInfo(width=size[0], height=size[1])
    message.header.frame_id, message.header.stamp.sec = frame, second
    message.k = [focal, 0.0, size[0] / 2, 0.0, focal, size[1] / 2, 0.0, 0.0, 1.0]
    return message


def odometry(second, x_m, *, child='base_link', w=1.0):
    """Return the odometry of a robot that has driven ``x_m`` straight ahead."""
    message = Odometry(child_frame_id=child)
    message.header.frame_id = 'odom'
    message.header.stamp.sec = second
    message.pose.pose.position.x = float(x_m)
    message.pose.pose.orientation.w = w
    return message
