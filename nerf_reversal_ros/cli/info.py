"""Describe a map, a building or a bag: content, origin, and topics that are missing."""

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.progress import format_duration

if TYPE_CHECKING:
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.maps.building_folder import Building
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'describe a map, a building or a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('path', metavar='PATH', type=Path, help='map folder, building or bag')


def run(arguments: argparse.Namespace) -> None:
    """Print the description."""
    from nerf_reversal_ros.maps.building_folder import is_building, open_building
    from nerf_reversal_ros.maps.map_folder import MANIFEST, open_map

    path: Path = arguments.path
    if not path.exists() and not path.absolute().with_name(path.name + '.partial').exists():
        raise NerfReversalError(f'there is no map and no bag at {path}: give an existing path')
    is_map = not path.exists() or (path / MANIFEST).exists()
    if is_building(path):
        lines = building_lines(open_building(path))
    else:
        lines = map_lines(open_map(path)) if is_map else bag_lines(path)
    print('\n'.join(lines))


def depth_lines(manifest: dict[str, Any]) -> list[str]:
    """Describe the depth correction of a mapping bag; nothing if there was none."""
    depth = manifest.get('depth_correction', {})
    if not depth.get('corrected_error_m') or (depth['scale'], depth['offset_m']) == (1.0, 0.0):
        return []
    return [
        f'The depth of the bag was corrected: times {depth["scale"]:.4f},'
        f' {depth["offset_m"] * 100:+.1f} cm; its median difference from {depth["points"]}'
        f' triangulated points changed from {depth["error_m"] * 100:.2f} cm to'
        f' {depth["corrected_error_m"] * 100:.2f} cm.'
    ]


def map_lines(map_: 'Map') -> list[str]:
    """Describe a map."""
    manifest = map_.manifest
    files: dict[str, dict[str, Any]] = manifest['files']
    size_mb = sum(entry['bytes'] for entry in files.values()) / 1e6
    lines = [
        f'{map_.path} is a map (format version {manifest["format_version"]}) of {size_mb:.1f} MB,'
        f' its {len(files)} files are complete and unchanged.',
        _half_line(map_, size_mb),
        *_build_lines(manifest.get('built', {})),
    ]
    if capture := manifest.get('capture', {}):
        counts = ', '.join(f'{count} {name}' for name, count in capture.get('counts', {}).items())
        lines.append(f'Capture {capture.get("source", "")}: {counts}.')
    lines += manifest.get('warnings', [])
    convention = map_.convention
    poses = f'Poses of the bag: {convention.axes}' if convention.of_bag else 'Built without a bag'
    lines.append(f'{poses}; up from {convention.up_source}.')
    lines += depth_lines(manifest)
    if 'capture_camera' in manifest:
        lines.append(_camera_line('capture', manifest['capture_camera']))
    if 'camera' in manifest:
        lines.append(_camera_line('regressor', manifest['camera']))
    for name, value in manifest.get('metrics', {}).items():
        text = f'{value:.4g}' if isinstance(value, float) else value
        lines.append(f'{name}: {"not measured" if value is None else text}')
    lines += [f'  {entry["bytes"] / 1e6:9.3f} MB  {name}' for name, entry in sorted(files.items())]
    return lines


def building_lines(building: 'Building') -> list[str]:
    """Describe a building, its rooms and its links; rooms that cannot be opened say why."""
    lines, total_mb = [], 0.0
    for room in building.rooms.values():
        try:
            map_ = room.open()
        except NerfReversalError as error:
            lines.append(f'  {room.name}: {error}')
            continue
        size_mb = sum(entry['bytes'] for entry in map_.manifest['files'].values()) / 1e6
        total_mb += size_mb
        place = 'in the frame map'
        if room.building_from_room is None:
            place = 'linked to no other, poses in a frame of its own'
        lines.append(f'  {room.name}: {map_.path}, {size_mb:.1f} MB, {place}')
    taken = sum(bool(link.get('taken')) for link in building.links)
    views_mb = building.manifest['views']['bytes'] / 1e6
    return [
        f'{building.path} is a building (format version {building.manifest["format_version"]}) of'
        f' {len(building.rooms)} rooms, {total_mb:.1f} MB, and {views_mb:.1f} MB of view'
        ' descriptors:',
        *lines,
        f'{taken} of {len(building.links)} links between rooms were taken.',
    ]


def _half_line(map_: 'Map', size_mb: float) -> str:
    """Say how much of a map a robot needs."""
    from nerf_reversal_ros.maps.map_export import robot_files

    robot_mb = sum(robot_files(map_).values()) / 1e6
    if robot_mb == size_mb:
        return 'It is without its field, as a robot needs it.'
    return (
        f'A robot needs {robot_mb:.1f} MB of it, all but the field of {size_mb - robot_mb:.1f} MB:'
        f' {remedies.EXPORT_FOR_ROBOT}.'
    )


def _build_lines(built: dict[str, Any]) -> list[str]:
    """Describe date, version, field and times of a build, as far as they are known."""
    lines = []
    if 'date' in built:
        version, device = built.get('package_version', 'unknown'), built.get('device')
        age = _format_age(built['date'])
        lines.append(
            f'Built {built["date"]}{age} with version {version} on {device},'
            f' seed {built.get("seed")}.'
        )
    if 'field' in built:
        lines.append(f'Field: {built["field"]}.')
    if seconds := built.get('seconds'):
        stages = ', '.join(f'{stage} {format_duration(s)}' for stage, s in seconds.items())
        lines.append(f'The build took {format_duration(sum(seconds.values()))}: {stages}.')
    return lines


def bag_lines(path: Path) -> list[str]:
    """Describe a bag, and list the default topics that are missing."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.core.capture_config import CaptureConfig

    with BagReader(path) as bag:
        defaults = CaptureConfig().with_topics_of(bag.count)
        required = {
            defaults.image_topic: 'color',
            defaults.depth_topic: 'depth',
            defaults.camera_info_topic: 'camera_info',
            defaults.pose_topic: 'poses',
        }
        count = sum(bag.count(topic) for topic in bag.topics)
        lines = [f'{path} is a bag of {count} messages over {bag.duration_s:.1f} s:']
        for topic, kind in sorted(bag.topics.items()):
            use = f'  (default topic of {required[topic]})' if topic in required else ''
            lines.append(f'  {bag.count(topic):6d}  {topic}  {kind}{use}')
        lines += [f'Note: {warning}.' for warning in bag.warnings]
        if bag.count(defaults.image_topic):
            lines.append(_image_line(bag, defaults.image_topic))
        missing = [f'{name} {topic}' for topic, name in required.items() if not bag.count(topic)]
    if missing:
        lines.append(f'Missing or empty: {", ".join(missing)}; {remedies.TOPICS}.')
    else:
        lines.append(
            'All default topics are present; `nerf-reversal check` says what a build makes of it.'
        )
    return lines


def _image_line(bag: 'BagReader', topic: str) -> str:
    """Describe the images of a bag by the first one."""
    from nerf_reversal_ros.bags.image_decoding import rgb_from_message
    from nerf_reversal_ros.core.errors import ImageError

    try:
        first = next(bag.messages([topic]), None)
        if first is None:
            return f'The index of the bag counts messages of {topic}, but it has none.'
        height, width = rgb_from_message(bag.decode(first)).shape[:2]
    except ImageError as error:
        return f'The first image cannot be read: {error}'
    return f'Images of {width}x{height}.'


def _camera_line(owner: str, camera: dict[str, Any]) -> str:
    size = f'{camera["width"]}x{camera["height"]}'
    focal_length = f'{camera["fx"]:.1f}, {camera["fy"]:.1f} px'
    return f'Camera of the {owner}: {size}, focal length {focal_length}.'


def _format_age(date: str) -> str:
    """Return the age of an ISO 8601 date, such as `` (3 days ago)``; nothing if invalid."""
    try:
        built = datetime.fromisoformat(date.replace('Z', '+00:00'))
    except ValueError:
        return ''
    built = built if built.tzinfo else built.replace(tzinfo=timezone.utc)
    age = datetime.now(timezone.utc) - built
    if age.days > 0:
        return f' ({age.days} day{"s" if age.days > 1 else ""} ago)'
    minutes = int(age.total_seconds() // 60)
    return f' ({minutes // 60} h {minutes % 60} min ago)' if minutes >= 0 else ''
