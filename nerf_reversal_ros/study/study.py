"""
The study of the seed project, done right: which network, seeing what, learns positions how well.

"NeRF Reversal" (student project, Georgia Tech, 2023) trained a NeRF of one walk, rendered 14,000
views near it, compressed them by PCA, and let a CNN or an MLP tell where they were taken; it
judged them on random views of the same walk. Here the field and the networks never see one
stretch of the walk, and the networks are judged on its real pictures, in metres and degrees. A
random split is judged beside it, on as many real pictures, and called leaking wherever it is
shown.
"""

from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.capture.capture import Capture, open_capture
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write_text, remove
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.study.data import StudyData
from nerf_reversal_ros.study.estimate import training_estimate, views_estimate
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.study.training import codec_quality, train_experiment, trivial_baselines


def run_study(
    bag: Path,
    work_dir: Path,
    config: BuildConfig,
    plan: StudyPlan,
    *,
    device: str = 'auto',
    progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """
    Train a field and all networks of the plan, and judge them.

    Parameters
    ----------
    bag : Path
        Colour, depth and poses of one walk.
    work_dir : Path
        Keeps the field, the views and each finished row, for the same command to go on with.
    config : BuildConfig
        How the bag is read, the field trained and views drawn; number and size of the views are
        the plan's.
    progress : callable
        Told where the study is and, before it begins, how long the networks will take.

    Returns
    -------
    dict
        Plain JSON: ``rows`` as `train_experiment` returns them, each with ``codec_quality`` and
        ``trivial``, and what they have in common.

    Raises
    ------
    NerfReversalError
        If the bag or a setting is not fit, or the folder cannot be written.
    """
    where = resolve_device(device)
    capture = open_capture(bag, config.capture, progress=progress)
    material = StudyData(capture, work_dir, config, plan, where, progress)
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        _clear_if_stale(work_dir, capture, config, where)
        results = {row: _result_path(row, material) for row in plan.experiments()}
        missing = [row for row, path in results.items() if not path.exists()]
        if missing:
            progress(Progress('networks', 0, len(missing), training_estimate(material, missing)))
            progress(Progress('views', 0, len(missing), views_estimate(material, missing)))
        for row in missing:
            results[row].parent.mkdir(exist_ok=True)
            atomic_write_text(results[row], json.dumps(_run_experiment(row, material)))
        rows = [json.loads(path.read_text(encoding='utf-8')) for path in results.values()]
        field = material.field_metrics()
    except OSError as error:
        raise BuildError(f'cannot write to {work_dir}: {error.strerror or error}') from error
    return {
        'bag': capture.source.name,
        'package_version': __version__,
        'device': str(where),
        'seed': config.seed,
        'plan': asdict(plan),
        'field': field,
        'frames': {name: len(which) for name, which in material.split._asdict().items()},
        'rows': rows,
    }


def _result_path(row: Experiment, material: StudyData) -> Path:
    """Return where a finished row is kept, by all of the plan that it depends on."""
    name = row.name.replace(', ', '_').replace(' ', '-')
    camera = material.camera(row)
    size, rendered = f'{camera.width}x{camera.height}', material.plan.max_views(row)
    told = f'{name}_of-{rendered}_{size}_{material.plan.epochs}-epochs.json'
    return material.work_dir / 'rows' / told


def _run_experiment(row: Experiment, material: StudyData) -> dict[str, Any]:
    """Train a row and judge it."""
    pictures = material.images(row)
    code = material.codec(row, pictures.training)
    found = train_experiment(
        row,
        pictures,
        code,
        material.plan.epochs,
        device=material.device,
        seed=material.config.seed,
        progress=material.progress,
    )
    judged = {'stretch': pictures.held_out, 'leaking': pictures.leaking}
    known = pictures.training.map_from_camera
    found['trivial'] = {
        name: trivial_baselines(known, views.map_from_camera) for name, views in judged.items()
    }
    if row.compression != 'none':
        found['compression_quality'] = {
            'retained_training': [round(float(share), 5) for share in code.retained],
            **{name: codec_quality(code, views) for name, views in judged.items()},
        }
    return found


def _clear_if_stale(
    work_dir: Path, capture: Capture, config: BuildConfig, device: torch.device
) -> None:
    """Drop the field and the rows of another walk, other settings or another version."""
    request = json.dumps(
        {
            'poses': capture.map_from_camera.tolist(),
            'stamps_ns': capture.stamps_ns.tolist(),
            'config': asdict(config),
            'device': device.type,
            'version': __version__,
        }
    )
    path = work_dir / 'request.json'
    if path.exists() and path.read_text(encoding='utf-8') == request:
        return
    for name in ('rows', 'field', 'field.json', 'field.safetensors'):
        remove(work_dir / name)
    for old in work_dir.glob('views_*'):
        remove(old)
    atomic_write_text(path, request)
