"""
Declare the parameters of a node from the dataclasses that define its settings.

rclpy ignores an undeclared parameter, so that a typo in a YAML file goes unnoticed. This module
compares every given name with the known ones and rejects an unknown one, unless a params file
gives it to all nodes.
"""

from collections.abc import Callable, Iterable
import dataclasses
import difflib
import sys
import threading
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.ros.live_config import Live
from nerf_reversal_ros.ros.params_files import names_under_wildcards

T = TypeVar('T')

_ROS_PARAMETERS = ('use_sim_time', 'start_type_description_service')
_ROS_QOS_PREFIXES = ('qos_overrides./clock', 'qos_overrides./parameter_events')


class NodeParameters:
    """
    Declares the settings of some dataclasses as parameters of one node, and keeps their values.

    Parameters
    ----------
    node : Node
        Made with ``automatically_declare_parameters_from_overrides=True``, which makes unknown
        names visible.
    classes : types
        Dataclasses of settings; no name may be in two of them.
    allow_read_only : callable, optional
        Returns whether read-only settings may change at present, as before a lifecycle node is
        configured; None: they never change.

    Raises
    ------
    ConfigError
        On an unknown name (with the nearest known one) or an invalid value. Unknown names that
        params files give under a wildcard alone are logged in one warning.
    """

    def __init__(
        self, node: Node, *classes: type, allow_read_only: Callable[[], bool] | None = None
    ) -> None:
        self._node, self._allow_read_only = node, allow_read_only
        self._internal_thread: int | None = None
        self.lock = threading.RLock()
        """Lock held while a parameter is set."""
        self._settings = {item.name: item for cls in classes for item in dataclasses.fields(cls)}
        given = _read_overrides(node)
        of_others = names_under_wildcards(sys.argv) & given.keys() - self._settings.keys()
        if of_others:
            told = [f'{name}{_suggestion(name, self._settings)}' for name in sorted(of_others)]
            node.get_logger().warning(
                'parameters that a params file gives to all nodes are unknown here and ignored:'
                f' {", ".join(told)}'
            )
        _check_known(given.keys() - of_others, list(self._settings))
        self._configs: dict[type, Any] = {
            cls: config_from_dict(
                cls, {k: v for k, v in given.items() if k in _setting_names(cls)}
            )
            for cls in classes
        }
        for name in given:
            node.undeclare_parameter(name)
        for config in self._configs.values():
            for item in dataclasses.fields(config):
                value = getattr(config, item.name)
                # Not the override, which may be an integer where a float is declared.
                descriptor = _descriptor(item, read_only_may_change=allow_read_only is not None)
                node.declare_parameter(item.name, value, descriptor, ignore_override=True)
        node.add_on_set_parameters_callback(self._on_set)

    def get(self, cls: type[T]) -> T:
        """Return a snapshot of the present settings of one of the dataclasses."""
        config: T = self._configs[cls]
        return config

    def live(self, cls: type[T]) -> Live[T]:
        """Return access to the settings of one of the dataclasses that follows their changes."""
        return Live(lambda: self.get(cls))

    def set_internal(self, name: str, value: Any) -> None:
        """Set a parameter from inside the node, even a read-only one."""
        with self.lock:
            self._internal_thread = threading.get_ident()
            try:
                result = self._node.set_parameters([Parameter(name, value=value)])[0]
            finally:
                self._internal_thread = None
        if not result.successful:
            raise ConfigError(result.reason)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        with self.lock:
            return self._set(parameters)

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        changes = {p.name: p.value for p in parameters if p.name not in _ROS_PARAMETERS}
        try:
            _check_known(changes, list(self._settings))
            for name in changes:
                self._check_read_only(name)
            configs = {
                cls: dataclasses.replace(
                    config, **{k: v for k, v in changes.items() if k in _setting_names(cls)}
                )
                for cls, config in self._configs.items()
            }
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._configs = configs
        return SetParametersResult(successful=True)

    def _check_read_only(self, name: str) -> None:
        if not self._settings[name].metadata['read_only']:
            return
        if self._allow_read_only is None:
            raise ConfigError(
                f'{name} cannot change while the node runs: restart it with another value'
            )
        if not self._allow_read_only() and self._internal_thread != threading.get_ident():
            raise ConfigError(
                f'{name} cannot change while the node is configured: clean it up, set {name}, and'
                ' configure it again'
            )


def _setting_names(cls: type) -> list[str]:
    return [item.name for item in dataclasses.fields(cls)]


def _read_overrides(node: Node) -> dict[str, Any]:
    return {
        name: node.get_parameter(name).value
        for name in node.get_parameters_by_prefix('')
        if name not in _ROS_PARAMETERS and not name.startswith(_ROS_QOS_PREFIXES)
    }


def _suggestion(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f': did you mean {matches[0]}?' if matches else ''


def _check_known(given: Iterable[str], known: list[str]) -> None:
    for name in sorted(given):
        if name.startswith('qos_overrides.'):
            raise ConfigError(f'{name} is not supported: {remedies.RELIABILITY}')
        if name not in known:
            remedy = _suggestion(name, known) or f': known are {", ".join(known)}'
            raise ConfigError(f'unknown parameter {name}{remedy}')


def _descriptor(
    item: 'dataclasses.Field[Any]', *, read_only_may_change: bool
) -> ParameterDescriptor:
    meta = item.metadata
    low, high = meta['low'], meta['high']
    descriptor = ParameterDescriptor(description=meta['description'])
    if read_only_may_change and meta['read_only']:
        descriptor.description += ' (may change while the node is unconfigured)'
    else:
        descriptor.read_only = meta['read_only']
    if meta['choices']:
        descriptor.additional_constraints = f'one of {", ".join(meta["choices"])}'
    if low is not None and high is not None:
        if isinstance(item.default, float):
            limits = FloatingPointRange(from_value=float(low), to_value=float(high))
            descriptor.floating_point_range = [limits]
        else:
            limits = IntegerRange(from_value=int(low), to_value=int(high), step=1)
            descriptor.integer_range = [limits]
    elif low is not None:  # tools could not draw a slider for a range without an upper end
        descriptor.additional_constraints = f'at least {low}'
    return descriptor
