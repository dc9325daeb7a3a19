"""Tell in words what a map or a bag is."""

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.progress import format_duration

if TYPE_CHECKING:
    from nerf_reversal_ros.maps.map_folder import Map

HELP = 'tell what a map or a bag is'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('path', metavar='PATH', type=Path, help='a map or a bag')


def run(arguments: argparse.Namespace) -> None:
    """Tell."""
    from nerf_reversal_ros.maps.map_folder import MANIFEST, open_map

    path: Path = arguments.path
    if not path.exists() and not path.absolute().with_name(path.name + '.partial').exists():
        raise NerfReversalError(f'there is neither a map nor a bag at {path}')
    is_map = not path.exists() or (path / MANIFEST).exists()
    lines = map_lines(open_map(path)) if is_map else bag_lines(path)
    print('\n'.join(lines))


def depth_lines(manifest: dict[str, Any]) -> list[str]:
    """Tell how the depth of a map's bag was corrected; nothing where it was not."""
    found = manifest.get('depth_correction', {})
    if not found.get('corrected_error_m') or (found['scale'], found['offset_m']) == (1.0, 0.0):
        return []
    return [
        f'The depth of the bag was corrected: times {found["scale"]:.4f},'
        f' {found["offset_m"] * 100:+.1f} cm; its median difference from {found["points"]}'
        f' triangulated points went from {found["error_m"] * 100:.2f} cm to'
        f' {found["corrected_error_m"] * 100:.2f} cm.'
    ]


def map_lines(map_: 'Map') -> list[str]:
    """Describe a map."""
    manifest = map_.manifest
    built: dict[str, Any] = manifest.get('built', {})
    files: dict[str, dict[str, Any]] = manifest['files']
    size_mb = sum(entry['bytes'] for entry in files.values()) / 1e6
    lines = [
        f'{map_.path} is a map (format version {manifest["format_version"]}) of {size_mb:.1f} MB,'
        f' its {len(files)} files are complete and unchanged.'
    ]
    if 'date' in built:
        lines.append(f'Built {built["date"]}{_format_age(built["date"])} with version'
                     f' {built.get("package_version", "unknown")} on {built.get("device")},'
                     f' seed {built.get("seed")}.')  # fmt: skip
    if 'field' in built:
        lines.append(f'Field: {built["field"]}.')
    if built.get('seconds'):
        took = ', '.join(f'{stage} {format_duration(s)}' for stage, s in built['seconds'].items())
        lines.append(f'Building took {format_duration(sum(built["seconds"].values()))}: {took}.')
    capture = manifest.get('capture', {})
    if capture:
        counts = ', '.join(f'{n} {what}' for what, n in capture.get('counts', {}).items())
        lines.append(f'Capture {capture.get("source", "")}: {counts}.')
    lines += manifest.get('warnings', [])
    found = map_.convention
    poses = f'Poses of the bag: {found.axes}' if found.of_bag else 'Built without a bag'
    lines.append(f'{poses}; up from {found.up_source}.')
    lines += depth_lines(manifest)
    for what in ('capture_camera', 'camera'):
        if what in manifest:
            lines.append(_camera_line(what, manifest[what]))
    for name, value in manifest.get('metrics', {}).items():
        shown = f'{value:.4g}' if isinstance(value, float) else value
        lines.append(f'{name}: {"not measured" if value is None else shown}')
    lines += [f'  {entry["bytes"] / 1e6:9.3f} MB  {name}' for name, entry in sorted(files.items())]
    return lines


def bag_lines(path: Path) -> list[str]:
    """Describe a bag, and say which of the default topics it lacks."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.core.config import CaptureConfig

    with BagReader(path) as bag:
        defaults = CaptureConfig().with_topics_of(bag.count)
        wanted = {
            defaults.image_topic: 'colour',
            defaults.depth_topic: 'depth',
            defaults.camera_info_topic: 'camera_info',
            defaults.pose_topic: 'poses',
        }
        count = sum(bag.count(topic) for topic in bag.topics)
        lines = [f'{path} is a bag of {count} messages over {bag.duration_s:.1f} s:']
        for topic, kind in sorted(bag.topics.items()):
            use = f'  (default topic of {wanted[topic]})' if topic in wanted else ''
            lines.append(f'  {bag.count(topic):6d}  {topic}  {kind}{use}')
        if bag.count(defaults.image_topic):
            lines.append(_image_line(bag, defaults.image_topic))
        missing = [f'{what} {topic}' for topic, what in wanted.items() if not bag.count(topic)]
    if missing:
        lines.append(f'Missing or empty: {", ".join(missing)}; set these topics with --config.')
    else:
        lines.append('All default topics are there: it can be built from and judged on.')
    return lines


def _image_line(bag: Any, topic: str) -> str:
    from nerf_reversal_ros.bags.image_decoding import rgb_from_message
    from nerf_reversal_ros.core.errors import ImageError

    try:
        first = next(bag.messages([topic]), None)
        if first is None:
            return f'The bag says that {topic} has messages, and it has none.'
        height, width = rgb_from_message(bag.decode(first)).shape[:2]
    except ImageError as error:
        return f'The first picture cannot be read: {error}'
    return f'Pictures of {width}x{height}.'


def _camera_line(what: str, camera: dict[str, Any]) -> str:
    name = 'Camera of the regressor' if what == 'camera' else 'Camera of the capture'
    return (
        f'{name}: {camera["width"]}x{camera["height"]}, focal length {camera["fx"]:.1f},'
        f' {camera["fy"]:.1f} px.'
    )


def _format_age(date: str) -> str:
    """Return the age of an ISO 8601 date, such as `` (3 days ago)``; nothing if it is none."""
    try:
        then = datetime.fromisoformat(date.replace('Z', '+00:00'))
    except ValueError:
        return ''
    then = then if then.tzinfo else then.replace(tzinfo=timezone.utc)
    age = datetime.now(timezone.utc) - then
    if age.days > 0:
        return f' ({age.days} day{"s" if age.days > 1 else ""} ago)'
    minutes = int(age.total_seconds() // 60)
    return f' ({minutes // 60} h {minutes % 60} min ago)' if minutes >= 0 else ''
