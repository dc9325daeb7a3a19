"""
Evaluate a map on other days, beside the peers: other light, moved furniture, people.

    python benchmark/days.py MAP MAPPING DAYS [--days NAME ...] [--baselines NAMES]
        [--out FILE.json]

MAP was built from the bag MAPPING. DAYS holds a folder for each day with its bag ``test``, as
``python -m demo.render_days`` writes it. Baselines localize the same images in the same run.
*Incorrect* are accepted poses beyond 10 cm or 5 deg.
"""

import argparse
from pathlib import Path

from results import add_out_argument, Column, ResultTable, write_results
from room import evaluate_maps, method_blocks, METHOD_NAMES, REGRESSOR, scaled

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.evaluate import baseline_names
from nerf_reversal_ros.maps.map_folder import open_map

COLUMNS = (
    'day',
    'method',
    Column('images'),
    Column('localized'),
    Column('within 5 cm 5 deg', '%', 1),
    Column('median', 'cm', 2),
    Column('worst', 'cm', 2),
    Column('worst', 'deg', 2),
    Column('incorrect'),
)
PEERS = 'sift_pnp,hloc_sift'
NOT_COMPARED = (REGRESSOR, METHOD_NAMES['nearest_reference'])
"""Rows of ``benchmark/room.py`` that are no method to choose."""


def main() -> None:
    """Evaluate day after day, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('mapping', type=Path, help='the bag that MAP was built from')
    parser.add_argument('days', type=Path, help='folder of the days')
    parser.add_argument('--days', dest='names', nargs='+', help='default: all in the folder')
    parser.add_argument(
        '--baselines', type=baseline_names, default=PEERS, help=f'default: {PEERS}'
    )
    add_out_argument(parser)
    args = parser.parse_args()
    names = args.names or sorted(path.parent.name for path in args.days.glob('*/test'))
    if not names:
        parser.error(f'{args.days} holds no day: render them with python -m demo.render_days')
    map_ = open_map(args.map)
    table, notes = ResultTable('A map on other days', COLUMNS), []
    with ProgressConsole() as console:
        for name in names:
            test = args.days / name / 'test'
            (metrics,) = evaluate_maps([map_], test, args.mapping, args.baselines, console)
            for method, block in method_blocks(metrics).items():
                if method not in NOT_COMPARED:
                    table.add_row(name, method, *day_cells(block))
            reasons = ', '.join(f'{count} {why}' for why, count in metrics['rejected'].items())
            notes.append(f'{name}: rejected {reasons or "none"}.')
    for note in notes:
        print(note)
    write_results(args.out, 'One room on other days', table, notes=notes)


def day_cells(block: dict) -> list[float | None]:
    """Return the figures of a method on one day."""
    return [
        block['images'],
        block['published'],
        100 * block['recall']['5cm_5deg'],
        scaled(block['median_translation_m'], 100),
        scaled(block['worst_published_translation_m'], 100),
        block['worst_published_rotation_deg'],
        block['wrong_published'],
    ]


if __name__ == '__main__':
    main()
