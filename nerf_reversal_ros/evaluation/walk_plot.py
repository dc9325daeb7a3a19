"""Draw the walk of a capture: its path from above with the viewing directions, and its speed."""

import io

import matplotlib
from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.evaluation.report_plots import BLUE, FAINT, INK, PLOT_STYLE, RED

MAX_ARROWS = 120
"""Viewing directions that are drawn."""
STEP_OUTLIER = 6.0
"""A step this many times faster than the median is marked."""


def draw_walk(
    map_from_camera: FloatArray,
    stamps_ns: NDArray[np.int64],
    title: str,
    *,
    is_aligned: bool = True,
) -> bytes:
    """
    Draw the walk of a capture as PNG.

    Parameters
    ----------
    map_from_camera : (N, 4, 4) array
        Poses of the optical frame in the map, N > 1.
    stamps_ns : (N,) array
        Their stamps [ns].
    title : str
        Title of the figure.
    is_aligned : bool
        Whether the poses are in the map. If not, the two axes along which they move most are
        drawn, without viewing directions.

    Returns
    -------
    bytes
        A PNG file.
    """
    seconds = (stamps_ns - stamps_ns[0]) * 1e-9
    steps = pose_errors(map_from_camera[:-1], map_from_camera[1:])
    durations = np.maximum(np.diff(seconds), 1e-6)
    speed, turn = steps.translation / durations, np.degrees(steps.rotation) / durations
    fast = speed > STEP_OUTLIER * max(float(np.median(speed)), 0.05)
    extent = np.ptp(map_from_camera[:, :3, 3], axis=0)
    plane = [0, 1] if is_aligned else sorted(np.argsort(extent)[1:].tolist())
    names = ['xyz'[axis] for axis in plane]
    position = map_from_camera[:, plane, 3]
    with matplotlib.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(11, 5.6), layout='constrained')
        above, over_time = figure.subplots(1, 2, width_ratios=(1.1, 1))
        figure.suptitle(title, x=0.01, ha='left')
        above.plot(*position.T, color=BLUE, lw=1.5)
        shown = evenly_spaced_indices(len(position), MAX_ARROWS if is_aligned else 0)
        view = map_from_camera[shown, :2, 2]
        above.quiver(*position[shown].T, *view.T, color=FAINT, width=0.003, scale=18)
        for index in np.flatnonzero(fast):
            above.plot(*position[index : index + 2].T, color=RED, lw=2)
        above.plot(*position[0], 'o', color=INK, label='start')
        above.plot(*position[-1], 's', color=INK, label='end')
        view_name = 'From above' if is_aligned else 'Poses as recorded'
        above.set(xlabel=f'{names[0]} [m]', ylabel=f'{names[1]} [m]', title=view_name)
        above.set_aspect('equal')
        above.legend()
        over_time.plot(seconds[1:], speed, color=BLUE, lw=1.2)
        over_time.plot(seconds[1:][fast], speed[fast], 'o', color=RED, ms=4)
        over_time.set(xlabel='time [s]', ylabel='speed [m/s]', title='Speed and rate of turn')
        rate = over_time.twinx()
        rate.plot(seconds[1:], turn, color='#c2560c', lw=0.8, alpha=0.7)
        rate.set_ylabel('rate of turn [deg/s]', color='#c2560c')
        rate.grid(visible=False)
        out = io.BytesIO()
        figure.savefig(out, format='png', dpi=110)
        return out.getvalue()
