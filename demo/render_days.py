"""
Render the demo room on other days: a mapping walk and a test walk of each.

Run from the top of the repository::

    python -m demo.render_days --out demo_output/days --work /tmp/days_work
    python -m demo.render_days --days night sofa --tests-only --out days --work /tmp/days_work

All bags are in the world of ``demo/bags/walk``, so that a map of that can be judged by them.
"""

import argparse

from demo import sensors
from demo.days import day_spec, DAYS
from demo.render_room import Draft, FrameStore, parse_arguments, write_bag
from demo.rooms.demo_room import SPEC


def main() -> None:
    """Read the arguments and write the bags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--days', nargs='+', choices=DAYS, default=list(DAYS), metavar='DAY')
    parser.add_argument('--tests-only', action='store_true', help='leave out the mapping walks')
    parser.add_argument('--scale', type=int, default=1, help='2: half the size, for a draft')
    parser.add_argument('--every', type=int, default=1, help='10: a tenth of the frames')
    arguments = parse_arguments(parser)
    draft = Draft(arguments.samples, arguments.scale, arguments.every)
    origin = SPEC.recordings['walk'].trajectory().room_from_camera[0, :3, 3]
    world_from_room = sensors.arkit_from_room(origin)
    for day in arguments.days:
        work = arguments.work / day
        work.mkdir(parents=True, exist_ok=True)
        store = FrameStore(day_spec(day), work, draft)
        for name in ('test',) if arguments.tests_only else ('walk', 'test'):
            write_bag(store, name, arguments.out / day / name, world_from_room)


if __name__ == '__main__':
    main()
