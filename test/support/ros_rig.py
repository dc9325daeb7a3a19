"""A test's own node, and the node under test as a process beside it, on a real DDS."""

import array
import contextlib
import importlib.util
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

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
"""Where the nodes find a tf2_ros, if none is installed."""
PYTHONPATH = os.pathsep.join([str(ROOT), *TF2_STANDIN, *sys.path])
"""Of processes: the source tree, then all that this one finds, as where ROS was sourced."""
SOON_S = 10.0
"""A node has ended by then, on a busy machine too; `interruptions` measures how long it takes."""
GREY, DARK, RED, BLUE = (100, 100, 100), (0, 0, 0), (255, 0, 0), (0, 0, 255)


class Process:
    """A node as a process of its own; ends with the test."""

    def __init__(self, name, *arguments, **parameters):
        command = [sys.executable, str(ROOT / 'test/support/ros_small.py'), name, '--ros-args']
        for key, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else value
            command += ['-p', f'{key}:={text}']
        environment = {**os.environ, 'PYTHONPATH': PYTHONPATH, 'PYTHONUNBUFFERED': '1'}
        self._process = subprocess.Popen(
            [*command, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self.ended()
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    @property
    def output(self):
        """What it printed so far."""
        return ''.join(self.lines)

    def interrupt(self, number=signal.SIGINT, times=1):
        """Send Ctrl-C, once or every 100 ms; return the seconds it took to end."""
        started = time.monotonic()
        self._process.send_signal(number)
        for _ in range(times - 1):
            time.sleep(0.1)
            self._process.send_signal(number)
        self.ended()
        return time.monotonic() - started

    def ended(self, timeout=60):
        """Wait for its end; return its exit status."""
        status = self._process.wait(timeout)
        self._reader.join(5)
        return status

    def says(self, text, timeout=30):
        """Wait until it has printed a text."""
        wait_until(lambda: text in self.output or self._process.poll() is not None, timeout)
        assert text in self.output, self.output


def wait_until(condition, timeout=30):
    """Wait until a condition holds, and say so when it does not in time."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Rig:
    """The test's own node: publishes pictures and collects what comes back."""

    def __init__(self, namespace=''):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('rig', context=self.context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._others = []
        self._publishers = {}
        self._clients = {}

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self):
        """Leave the graph."""
        self._executor.shutdown()
        self._thread.join()
        for node in (*self._others, self.node):
            node.destroy_node()
        self.context.try_shutdown()

    def stand_in(self, name, **parameters):
        """Add a node that has nothing but some parameters."""
        node = rclpy.create_node(name, context=self.context, namespace=self.node.get_namespace())
        for parameter, value in parameters.items():
            node.declare_parameter(parameter, value)
        self._others.append(node)
        self._executor.add_node(node)

    def collect(self, kind, topic, qos=100):
        """Return a list that grows by every message on a topic."""
        messages = []
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def publish(self, topic, message):
        """Publish, to subscribers that are there and know this node."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(type(message), topic, 100)
            self._is_known_on(self.node.resolve_topic_name(topic))
        publisher = self._publishers[topic]
        assert wait_until(lambda: publisher.get_subscription_count() > 0), f'nobody on {topic}'
        publisher.publish(message)

    def _is_known_on(self, topic):
        """
        Wait until the subscribers of a topic have discovered what this node has made so far.

        DDS announces endpoints in their order, and a service answers only a client that it has
        discovered. Without this, an answer published to a subscription of this node that the
        other side has not discovered yet is lost.
        """

        def subscribers():
            found = self.node.get_subscriptions_info_by_topic(topic)
            names = {f'{info.node_namespace.rstrip("/")}/{info.node_name}' for info in found}
            return names - {self.node.get_fully_qualified_name()}

        unknown = '_NODE_NAME_UNKNOWN_'
        assert wait_until(lambda: subscribers() and unknown not in str(subscribers())), topic
        self.knows(*subscribers())

    def knows(self, *nodes):
        """Wait until some nodes have discovered what this one has made so far."""
        for name in nodes:
            service = f'{name}/get_parameters'
            self._clients.pop(service, None)  # a new one, announced after all else
            self.call(GetParameters, service)

    def ask(self, kind, name, **fields):
        """
        Call a service of a node and return the future of its response.

        The first time the node is made to know the client: else the response may be lost.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
            if kind is not GetParameters:
                self.knows(name.rpartition('/')[0])
        assert self._clients[name].wait_for_service(30), f'no service {name}'
        return self._clients[name].call_async(kind.Request(**fields))

    def call(self, kind, name, **fields):
        """Call a service and return its response."""
        # A response to a client that the server has not discovered yet is lost, so ask again.
        for _ in range(3):
            future = self.ask(kind, name, **fields)
            if wait_until(future.done, 15):
                return future.result()
        raise AssertionError(f'{name} does not answer')

    def change(self, transition, node='localizer'):
        """Ask a node for a transition, once, for it cannot be made twice; tell whether it was."""
        name = f'{node}/change_state'
        future = self.ask(ChangeState, name, transition=Transition(id=transition))
        assert wait_until(future.done, 60), f'{name} does not answer'
        return future.result().success


def picture(colour=GREY, second=1, *, size=(64, 48)):
    """A picture of one colour, taken at some second."""
    rgb = np.full((size[1], size[0], 3), colour, np.uint8)
    message = CompressedImage(format='png')
    message.header.frame_id = 'camera_optical'
    message.header.stamp.sec = second
    message.data = cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()
    return message


def raw_picture(colour=GREY, second=1, *, size=(64, 48)):
    """The same as an uncompressed Image."""
    rgb = np.full((size[1], size[0], 3), colour, np.uint8)
    message = Image(encoding='rgb8', width=size[0], height=size[1], step=3 * size[0])
    message.header.stamp.sec = second
    message.data = array.array('B', rgb.tobytes())
    return message


def camera_info(size=(64, 48), focal=50.0):
    """The CameraInfo of these pictures."""
    message = CameraInfo(width=size[0], height=size[1])
    message.k = [focal, 0.0, size[0] / 2, 0.0, focal, size[1] / 2, 0.0, 0.0, 1.0]
    return message


def odometry(second, x_m, *, child='base_link', w=1.0):
    """Odometry of a robot that drove straight on so far."""
    message = Odometry(child_frame_id=child)
    message.header.frame_id = 'odom'
    message.header.stamp.sec = second
    message.pose.pose.position.x = float(x_m)
    message.pose.pose.orientation.w = w
    return message
