"""
Render a flat: a mapping walk of each room, test walks through several, and the truth.

Run from the top of the repository::

    python -m demo.flat --out FOLDER --work FOLDER --rooms 8 --seed 1
    python -m demo.flat --out demo/bags/flat --work FOLDER --rooms 2     # the pair for tests

Rendered frames are kept in the working folder. Bags that are there already are left as they are,
so that a killed run goes on where it was.
"""

import argparse
import json

from demo.flat.recordings import PAIR, plan, specify, worlds
from demo.flat.truth import describe, FILE_NAME
from demo.render_room import Draft, FrameStore, parse_arguments, write_bag


def main() -> None:
    """Read the arguments and write the truth and all bags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--rooms', type=int, default=8, help=f'rooms; {PAIR}: without a corridor')
    parser.add_argument('--seed', type=int, default=1, help='another seed is another flat')
    parser.add_argument('--scale', type=int, default=1, help='2: half the size, for a draft')
    parser.add_argument('--every', type=int, default=1, help='10: a tenth of the frames')
    arguments = parse_arguments(parser)
    try:
        flat = plan(arguments.rooms, arguments.seed)
    except ValueError as error:
        parser.error(f'--rooms: {error}')
    spec = specify(flat)
    walks = {name: recording.trajectory() for name, recording in spec.recordings.items()}
    world_from_flat = worlds(flat, walks)
    truth = json.dumps(describe(flat, walks, world_from_flat, arguments.every), indent=1)
    file = arguments.out / FILE_NAME
    if file.exists() and file.read_text() != truth:
        parser.error(f'{arguments.out} holds another flat: give --out another folder')
    arguments.out.mkdir(parents=True, exist_ok=True)
    file.write_text(truth)
    work = arguments.work / f'{arguments.rooms}_{arguments.seed}'
    work.mkdir(exist_ok=True)
    draft = Draft(arguments.samples, arguments.scale, arguments.every)
    store = FrameStore(spec, work, draft)
    for name in spec.recordings:
        if not (arguments.out / name).exists():
            write_bag(store, name, arguments.out / name, world_from_flat[name])


if __name__ == '__main__':
    main()
