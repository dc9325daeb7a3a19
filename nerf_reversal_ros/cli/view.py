"""
Show a map in the browser, and where photos were taken.

The page shows walls, walk and landmarks, and the field as the browser's camera sees it. A photo
that is uploaded there is localized as ``localize`` does, and never written to disk.

SOURCE is a file poses.json of localize or evaluate, whose answers are shown, or what localize
takes: photos, videos, bags. They are localized and shown as they are done. --ros shows the
outcomes of the running node /localizer. --reference shows the image of a frustum of the walk, on a
click, beside the map rendered there.

MAP is the map of one room, also of a building: FLAT/rooms/NAME.map.

The page is for this machine alone. With --share, every machine of the network may open it. Ctrl-C
ends it. viser draws it, an optional package.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
import socket
import sys
import threading
from typing import TYPE_CHECKING

from nerf_reversal_ros.cli.common_arguments import (
    add_camera_arguments,
    add_query_arguments,
    open_stated_sources,
    query_config,
)

if TYPE_CHECKING:
    from nerf_reversal_ros.capture.photo_camera import PhotoCamera
    from nerf_reversal_ros.core.config import QueryConfig
    from nerf_reversal_ros.core.outcome import Outcome
    from nerf_reversal_ros.view.answers import Answers
    from nerf_reversal_ros.view.map_page import MapPage
    from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer
    from nerf_reversal_ros.view.shown_poses import ShownPose

    Follower = Callable[[Callable[[int, Outcome], None]], AbstractContextManager[None]]

HELP = 'show a map in the browser, and where photos were taken'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    add_query_arguments(parser, source_count='*')
    add_camera_arguments(parser)
    parser.add_argument('--ros', action='store_true', help='show poses of a running localizer')
    parser.add_argument(
        '--reference',
        metavar='BUILD_BAG',
        type=Path,
        help='mapping bag of MAP, whose images are shown beside the map',
    )
    parser.add_argument('--port', type=int, default=8080, help='default: 8080; 0: a free one')
    parser.add_argument(
        '--share', action='store_true', help='let other machines open the page, too'
    )


def run(arguments: argparse.Namespace) -> None:
    """Open the page, fill it, and keep it open until Ctrl-C."""
    from nerf_reversal_ros.capture.photo_camera import parse_photo_camera
    from nerf_reversal_ros.maps.opening import open_room_map
    from nerf_reversal_ros.view.answers import Answers
    from nerf_reversal_ros.view.map_page import MapPage
    from nerf_reversal_ros.view.mapping_images import MappingImages
    from nerf_reversal_ros.view.page_server import open_server
    from nerf_reversal_ros.view.photo_localizer import PhotoLocalizer

    camera = parse_photo_camera(arguments.camera, arguments.fov)
    map_ = open_room_map(arguments.map)
    config = query_config(map_, arguments)
    localizer = PhotoLocalizer(map_, config.localizer, camera)
    follow = _localizer_follower() if arguments.ros else None
    localized = _localized_images(arguments.sources, camera, config, localizer)
    bag = arguments.reference
    images = None if bag is None else MappingImages(map_, bag, config.capture)
    answers = Answers()
    server = open_server(arguments.port, is_shared=arguments.share)
    print(f'opening {arguments.map}', file=sys.stderr, flush=True)
    shown = answers if arguments.sources or follow else None
    page = MapPage(server, map_, localizer, images=images, answers=shown)
    try:
        with _live_poses(answers, follow) if follow else nullcontext():
            _tell(page, server.get_port(), arguments.share)
            for answer in localized:
                answers.add([answer])
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close()


def _localized_images(
    words: list[str], camera: 'PhotoCamera', config: 'QueryConfig', localizer: 'PhotoLocalizer'
) -> 'Iterator[ShownPose]':
    """Return the poses of a file, or what localizes the images of sources; check them first."""
    from nerf_reversal_ros.view.shown_poses import read_poses

    if len(words) == 1 and Path(words[0]).suffix.lower() == '.json':
        return iter(read_poses(Path(words[0])))
    sources = open_stated_sources(words, camera, config.capture)
    return (answer for source in sources for answer in localizer.localize_source(source))


def _localizer_follower() -> 'Follower':
    """Import what follows the running localizer."""
    from nerf_reversal_ros.core import remedies
    from nerf_reversal_ros.core.errors import ConfigError

    try:
        from nerf_reversal_ros.ros.pose_listener import follow_localizer
    except ImportError as error:
        raise ConfigError(
            f'live poses need ROS 2, which cannot be imported ({error}): {remedies.SOURCE_ROS}'
        ) from error
    return follow_localizer


def _live_poses(answers: 'Answers', follow: 'Follower') -> AbstractContextManager[None]:
    """Show the outcomes of the running localizer meanwhile."""
    from nerf_reversal_ros.view.shown_poses import ShownPose

    return follow(
        lambda stamp_ns, outcome: answers.add([ShownPose(f'{stamp_ns / 1e9:.3f} s', outcome)])
    )


def _tell(page: 'MapPage', port: int, is_shared: bool) -> None:
    """Print where the page is, and who may open it."""
    shared = page.shared
    if shared.missing_field:
        print(shared.missing_field)
    print(f'http://localhost:{port} shows the map until Ctrl-C', flush=True)
    if is_shared:
        seen = 'the room' if shared.images is None else 'the room and the images of its walk'
        print(
            f'http://{socket.gethostname()}:{port} is the page on other machines: whoever reaches'
            f' it sees {seen}, and may upload photos, without a password or encryption',
            flush=True,
        )
