"""
From a bag to a map, one call a stage; a killed build goes on where it stopped.

Stages: capture, field, synthesis, atlas, regressor, calibration. Each but the first and the last,
which are quick, leaves its result in the map's staging folder and is marked there, so that a later
run with the same bag and settings skips it.
"""

from dataclasses import asdict
from datetime import datetime, timezone
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.atlas import Atlas
from nerf_reversal_ros.bag import Bag
from nerf_reversal_ros.build_stages import (
    atlas_stage,
    Build,
    calibration_stage,
    field_stage,
    regressor_stage,
    synthesis_stage,
)
from nerf_reversal_ros.calibration_fitting import LEAST_POSES
from nerf_reversal_ros.capture import open_capture
from nerf_reversal_ros.compression_training import refuse_too_many_components
from nerf_reversal_ros.config import BuildConfig, RegressorConfig
from nerf_reversal_ros.devices import resolve_device
from nerf_reversal_ros.errors import ConfigError
from nerf_reversal_ros.fields import FIELDS, OF_RUN
from nerf_reversal_ros.fields.nerfstudio_config import read_config
from nerf_reversal_ros.fields.nerfstudio_library import require_nerfstudio
from nerf_reversal_ros.map_store import Map, MapWriter
from nerf_reversal_ros.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.run_walk import walk_through_run
from nerf_reversal_ros.walk import Walk

LEAST_COVERAGE = 0.5
"""A field that shows less of the held-out pictures gets a warning."""
FEW_LANDMARKS = 200
"""A map with fewer landmarks than this gets a warning."""
ONLY_RENDERS = (
    'warning: the map was made of renders and no camera picture was localized: the probability and'
    ' the covariance of poses are those of other rooms; give a BAG of the same room'
)
"""Of the map of a run of nerfstudio without a bag."""


def build_map(
    bag: Path | None,
    map_dir: Path,
    config: BuildConfig,
    *,
    device: str = 'auto',
    field: str = 'voxel',
    positions: Path | None = None,
    progress: ProgressCallback = silent,
    overwrite: bool = False,
) -> Map:
    """
    Build the map of one walk, or of a run of nerfstudio.

    Parameters
    ----------
    bag : Path or None
        rosbag2 with colour, depth and poses. A run of nerfstudio needs none: with one, of the same
        room, lengths and frame of the map are those of the bag, and its pictures adjust
        landmarks, teach the regressor and calibrate.
    map_dir : Path
        Folder to be written; what is unfinished lies in ``<map_dir>.partial`` until then.
    config : BuildConfig
        All settings.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    field : str
        Which kind of radiance field, one of `FIELDS`, or ``nerfstudio:`` and the config.yml of a
        run that somebody else trained.
    positions : Path, optional
        With a run, instead of a bag: known positions of its cameras, see
        `alignment.read_positions`.
    progress : callable
        Told where the build is.
    overwrite : bool
        Replace an existing map once the new one is complete.

    Raises
    ------
    ConfigError, CaptureError, BuildError
        When a setting, the bag, or the result is not fit; the message says what to do.
    """
    run = Path(field.removeprefix(OF_RUN)) if field.startswith(OF_RUN) else None
    if run is None and field not in FIELDS:
        raise ConfigError(
            f'field must be one of {", ".join(FIELDS)}, {OF_RUN}CONFIG.yml, got {field!r}'
        )
    where = resolve_device(device)
    if field != 'voxel':
        require_nerfstudio()
    _refuse_wrong_sources(bag, run, positions, field)
    sources = [Path(source) for source in (bag, *_files_of(run), positions) if source is not None]
    fingerprint = _fingerprint(sources, config, field, where)
    # Of a run the folders <experiment>/<method>/<time>, for the last one may be named as any.
    source = sources[0].name if bag is not None else '/'.join(sources[0].absolute().parts[-4:-1])
    with MapWriter(map_dir, fingerprint, overwrite=overwrite) as writer:
        if writer.note:
            progress(Progress('capture', 0, 1, writer.note))
        with writer.timed('capture'):
            if run is None:
                assert bag is not None
                walk = _walk_with_camera(bag, config, progress)
            else:
                walk = walk_through_run(
                    run,
                    bag,
                    positions,
                    config,
                    device=where,
                    work_dir=writer.work_dir / 'run',
                    progress=progress,
                )
            _refuse_before_long_work(walk, config)
        build = Build(writer, walk, config, where, progress)
        with writer.timed('field'):
            room, field_report = field_stage(build, field if run is None else 'voxel')
        warnings = walk.warnings + _field_warnings(field_report, config, field)
        _tell(warnings, 'field', progress)
        with writer.timed('synthesis'):
            views = synthesis_stage(build, room)
        with writer.timed('atlas'):
            atlas, surface = atlas_stage(build, room, views)
        warnings += (sparse := _atlas_warnings(atlas))
        _tell(sparse, 'atlas', progress)
        with writer.timed('regressor'):
            regressor = regressor_stage(build, room, views)
        with writer.timed('calibration'):
            calibration, metrics = calibration_stage(build, atlas, surface, regressor)
        warnings += (blind := _calibration_warnings(walk, metrics))
        _tell(blind, 'calibration', progress)
        np.savez_compressed(writer.path('walked_poses.npz'), map_from_camera=walk.poses)
        training = {
            'field': {key: field_report[key] for key in ('step', 'loss')},
            'synthesis': {'kept': len(views), 'rejected': views.rejected},
            **_regressor_curves(regressor.report, config.regressor),
        }
        writer.path('training.json').write_text(json.dumps(training), encoding='utf-8')
        # That of a run is of its renders, not of a bag's depth.
        corrected = 'depth_correction' if run is None else 'render_depth_correction'
        measured = {k: v for k, v in field_report.items() if not isinstance(v, (list, dict))}
        return writer.finish(
            {
                'built': {
                    'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
                    'seed': config.seed,
                    'package_version': __version__,
                    'device': str(where),
                    'field': field,
                    'seconds': {s: round(took, 2) for s, took in writer.seconds.items()},
                    'config': asdict(config),
                },
                'camera': regressor.camera.as_dict(),
                'capture_camera': walk.camera.as_dict(),
                'convention': walk.convention.as_dict(),
                corrected: field_report['depth_correction'],
                'capture': {'source': source, 'counts': walk.pictures.counts},
                'calibration': calibration.as_dict(),
                'warnings': warnings,
                'metrics': {
                    **walk.metrics,
                    **measured,
                    'synthetic_views': len(views),
                    'landmarks': len(atlas),
                    'surface_points': len(surface),
                    **metrics,
                },
            }
        )


def _refuse_wrong_sources(
    bag: Path | None, run: Path | None, positions: Path | None, field: str
) -> None:
    """Refuse what is no bag, no run, or goes not together, before anything is written."""
    if run is None and bag is None:
        raise ConfigError(f'a field of kind {field} is built from a bag: give one')
    if run is None and positions is not None:
        raise ConfigError(
            f'known positions are of cameras of a run of nerfstudio, and the field is {field}:'
            f' leave them out, or give --field {OF_RUN}CONFIG.yml'
        )
    if bag is not None and positions is not None:
        raise ConfigError('a bag and known positions both tell the lengths of a map: give one')
    if run is not None:
        read_config(run)
    if bag is not None:
        with Bag(Path(bag)):
            pass


def _files_of(run: Path | None) -> list[Path]:
    """Return the files of a run of nerfstudio that decide what it shows."""
    if run is None:
        return []
    beside = run.parent / 'dataparser_transforms.json'
    return [run, *sorted(run.parent.rglob('step-*.ckpt')), *([beside] * beside.exists())]


def _fingerprint(
    sources: list[Path], config: BuildConfig, field: str, device: torch.device
) -> dict[str, Any]:
    files = [
        file
        for source in sources
        for file in (sorted(source.rglob('*')) if source.is_dir() else [source])
        if file.is_file()
    ]
    return {
        'bag': [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files],
        'config': asdict(config),
        'field': field,
        'device': device.type,
        'version': __version__,
    }


def _walk_with_camera(bag: Path, config: BuildConfig, progress: ProgressCallback) -> Walk:
    """Return the walk of a bag, which a field is fitted to and everything else learns from."""
    capture = open_capture(bag, config.capture, progress=progress)
    share = config.field.validation_share
    return Walk(capture, capture, capture.camera, capture.convention, share)


def _refuse_before_long_work(walk: Walk, config: BuildConfig) -> None:
    """Find out now what the regressor's stage would be refused for."""
    views = config.synthesis.views + int(np.sum(~walk.held_out))
    camera = walk.camera.shrunk_to(config.synthesis.width)
    values = 3 * camera.width * camera.height
    refuse_too_many_components(config.regressor.components, views, values)


def _tell(warnings: list[str], stage: str, progress: ProgressCallback) -> None:
    for warning in warnings:
        progress(Progress(stage, 1, 1, warning))


def _field_warnings(report: dict[str, Any], config: BuildConfig, field: str) -> list[str]:
    """Return sentences about a field that is worse than a map should rest on."""
    remedy = {
        'voxel': 'walk slower, in better light, or check the poses and the depth',
        'nerfacto': 'train longer (nerfstudio.steps), on a GPU, or record depth',
        'depth-nerfacto': 'train longer (nerfstudio.steps), on a GPU, or check the depth',
    }.get(field, 'train the run longer, or on more pictures')
    found = []
    psnr_db, least = report.get('psnr_db'), config.field.min_psnr_db
    if psnr_db is not None and psnr_db < least:
        found.append(
            f'reaches {psnr_db:.1f} dB on held-out frames, less than the {least} dB of'
            ' field.min_psnr_db'
        )
    coverage = report.get('coverage')
    if coverage is not None and coverage < LEAST_COVERAGE:
        found.append(f'shows only {coverage:.0%} of the held-out frames')
    return [
        f'warning: the field {what}: expect few pictures to be localized; {remedy}'
        for what in found
    ]


def _atlas_warnings(atlas: Atlas) -> list[str]:
    """Return a sentence about an atlas that few pictures will find enough landmarks in."""
    if len(atlas) >= FEW_LANDMARKS:
        return []
    return [
        f'warning: the renders of the field agree on {len(atlas)} landmarks only (fewer than'
        f' {FEW_LANDMARKS}): expect few pictures to be localized; walk where there is texture, in'
        ' better light'
    ]


def _calibration_warnings(walk: Walk, metrics: dict[str, Any]) -> list[str]:
    """Return a sentence about a map that could not learn how good its answers are."""
    if walk.real is None:
        return [ONLY_RENDERS]
    if metrics['calibration_right'] >= LEAST_POSES:
        return []
    return [
        f'warning: {metrics["calibration_right"]} held-out pictures were localized rightly (fewer'
        f' than {LEAST_POSES}): the probability and the covariance of poses are those of other'
        ' rooms; record a longer walk, or raise field.validation_share'
    ]


def _regressor_curves(report: dict[str, Any], config: RegressorConfig) -> dict[str, Any]:
    """Return the regressor's report under the names that the report draws curves from."""
    history: list[dict[str, float]] = report['history']
    return {
        'regressor': {
            'epoch': list(range(1, len(history) + 1)),
            'train_loss': [epoch['loss'] for epoch in history],
            'val_translation_m': [epoch['validation_translation_m'] for epoch in history],
            'val_rotation_deg': [epoch['validation_rotation_deg'] for epoch in history],
            'mean_pose': report['mean_pose'],
        },
        'vae' if config.compression == 'vae' else 'pca': {
            'retained_variance': report['retained_variance']
        },
    }
