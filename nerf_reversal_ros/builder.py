"""
From a bag to a map, one call a stage; a killed build goes on where it stopped.

Stages: capture, field, synthesis, atlas, regressor, calibration. Each but the first and the last,
which are quick, leaves its result in the map's staging folder and is marked there, so that a later
run with the same bag and settings skips it.
"""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.atlas import Atlas, build_atlas, spread_poses
from nerf_reversal_ros.atlas_adjustment import adjust_atlas
from nerf_reversal_ros.bag import Bag
from nerf_reversal_ros.calibration import Calibration
from nerf_reversal_ros.calibration_fitting import (
    BARE,
    calibrate,
    collect,
    LEAST_POSES,
    OPEN,
    variants,
)
from nerf_reversal_ros.capture import Capture, open_capture
from nerf_reversal_ros.compression_training import refuse_too_many_components
from nerf_reversal_ros.config import BuildConfig, RegressorConfig
from nerf_reversal_ros.depth_calibration import calibrate_depth
from nerf_reversal_ros.devices import resolve_device
from nerf_reversal_ros.errors import BuildError, ConfigError
from nerf_reversal_ros.fields import FIELDS, OF_RUN
from nerf_reversal_ros.fields.baking import bake
from nerf_reversal_ros.fields.nerfstudio_config import read_config
from nerf_reversal_ros.fields.nerfstudio_library import require_nerfstudio
from nerf_reversal_ros.fields.training_data import held_out_frames, load_training_data
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.hardening import Shot
from nerf_reversal_ros.localization import Localizer
from nerf_reversal_ros.map_store import Map, MapWriter
from nerf_reversal_ros.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.regressor import PoseRegressor
from nerf_reversal_ros.regressor_training import real_views, train_regressor
from nerf_reversal_ros.run_walk import RunWalk, walk_through_run
from nerf_reversal_ros.surface import sample_surface, Surface
from nerf_reversal_ros.synthesis import synthesize_views, Views

FEW_LANDMARKS = 200
"""A map with fewer landmarks than this gets a warning."""
CALIBRATION_FRAMES = 40
"""So many held-out frames, at most, are localized to calibrate."""
ONLY_RENDERS = (
    'warning: the map was made of renders and no camera picture was localized: the probability and'
    ' the covariance of poses are those of other rooms, and psnr_db is against renders'
)
"""Of the map of a run of nerfstudio."""


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
        room, lengths and frame of the map are those of the bag.
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
    told_of = sources[0] if run is None or bag is not None else run.parent
    with MapWriter(map_dir, fingerprint, overwrite=overwrite) as writer:
        if writer.note:
            progress(Progress('capture', 0, 1, writer.note))
        with writer.timed('capture'):
            if run is None:
                assert bag is not None
                capture = open_capture(bag, config.capture, progress=progress)
                walk = RunWalk(capture, capture.convention, [], {})
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
                capture = walk.capture
            _refuse_before_long_work(capture, config)
        with writer.timed('field'):
            kind = field if run is None else 'voxel'
            room, field_report = _field_stage(writer, kind, capture, config, where, progress)
        depth_correction = field_report.pop('depth_correction')
        warnings = walk.warnings + _field_warnings(field_report, config)
        _tell(warnings, 'field', progress)
        with writer.timed('synthesis'):
            views = _synthesis_stage(writer, room, capture, config, progress)
        with writer.timed('atlas'):
            atlas, surface = _atlas_stage(writer, room, views, capture, config, progress)
        warnings += (sparse := _atlas_warnings(atlas))
        _tell(sparse, 'atlas', progress)
        with writer.timed('regressor'):
            regressor = _regressor_stage(writer, room, views, capture, config, where, progress)
        with writer.timed('calibration'):
            calibration, metrics = (
                _calibration_stage(atlas, surface, regressor, capture, config, progress)
                if run is None
                else (Calibration(), {'calibration_poses': 0, 'calibration_right': 0})
            )
        blind = _calibration_warnings(metrics) if run is None else [ONLY_RENDERS]
        warnings += blind
        _tell(blind, 'calibration', progress)
        walked = capture.map_from_camera
        np.savez_compressed(writer.path('walked_poses.npz'), map_from_camera=walked)
        training = {
            'field': {key: field_report[key] for key in ('step', 'loss')},
            'synthesis': {'kept': len(views), 'rejected': views.rejected},
            **_regressor_curves(regressor.report, config.regressor),
        }
        writer.path('training.json').write_text(json.dumps(training), encoding='utf-8')
        measured = {k: v for k, v in field_report.items() if not isinstance(v, list)}
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
                'capture_camera': capture.camera.as_dict(),
                'convention': walk.convention.as_dict(),
                'depth_correction': depth_correction,
                'capture': {'source': told_of.name, 'counts': capture.counts},
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


def _refuse_before_long_work(capture: Capture, config: BuildConfig) -> None:
    """Find out now what the regressor's stage would be refused for."""
    held_out = held_out_frames(len(capture), config.field.validation_share)
    views = config.synthesis.views + int(np.sum(~held_out))
    camera = capture.camera.shrunk_to(config.synthesis.width)
    values = 3 * camera.width * camera.height
    refuse_too_many_components(config.regressor.components, views, values)


def _field_stage(
    writer: MapWriter,
    field: str,
    capture: Capture,
    config: BuildConfig,
    device: torch.device,
    progress: ProgressCallback,
) -> tuple[VoxelField, dict[str, Any]]:
    path = writer.path('field.safetensors')
    if not writer.done('field'):
        work_dir = writer.work_dir / 'field'
        work_dir.mkdir(exist_ok=True)
        training = np.flatnonzero(~held_out_frames(len(capture), config.field.validation_share))
        correction = calibrate_depth(capture, training, progress)
        room, report = _trained(
            field, capture.with_depth(correction), config, device, work_dir, progress
        )
        room.save(path)
        writer.mark('field', {**report, 'depth_correction': asdict(correction)})
    # What is stored is what the robot will use, so that is what later stages use too.
    return VoxelField.load(path, device), writer.info('field')


def _trained(
    field: str,
    capture: Capture,
    config: BuildConfig,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback,
) -> tuple[VoxelField, dict[str, Any]]:
    """Train a field of the wanted kind; one of nerfstudio is baked into a voxel field."""
    if field == 'voxel':
        return train_voxel_field(
            capture,
            config.field,
            device=device,
            seed=config.seed,
            work_dir=work_dir,
            progress=progress,
        )
    from nerf_reversal_ros.fields.nerfstudio_training import train_nerfacto
    from nerf_reversal_ros.fields.nerfstudio_uncertainty import nerfacto_uncertainty

    if field == 'depth-nerfacto' and not capture.has_depth:
        raise BuildError(
            'the capture has no depth, which depth-nerfacto learns from: take --field nerfacto,'
            ' or record with a LiDAR or an RGB-D camera'
        )
    data = load_training_data(capture, config.field.validation_share, work_dir, progress)
    original, report = train_nerfacto(
        data,
        field,
        config.nerfstudio,
        device=device,
        seed=config.seed,
        work_dir=work_dir,
        progress=progress,
    )
    uncertainty = None
    if config.nerfstudio.max_std_m > 0:
        progress(Progress('uncertainty', 0, 1))
        uncertainty = nerfacto_uncertainty(original, data)
        progress(Progress('uncertainty', 1, 1))
    room, baked = bake(
        original,
        data,
        config,
        device=device,
        work_dir=work_dir / 'baking',
        uncertainty=uncertainty,
        progress=progress,
    )
    return room, {**report, **baked}


def _tell(warnings: list[str], stage: str, progress: ProgressCallback) -> None:
    for warning in warnings:
        progress(Progress(stage, 1, 1, warning))


def _field_warnings(report: dict[str, Any], config: BuildConfig) -> list[str]:
    """Return sentences about a field that is worse than a map should rest on."""
    psnr_db, least = report.get('psnr_db'), config.field.min_psnr_db
    if psnr_db is None or psnr_db >= least:
        return []
    return [
        f'warning: the field reaches {psnr_db:.1f} dB on held-out frames, less than the'
        f' {least} dB of field.min_psnr_db: expect few pictures to be localized; walk slower, in'
        ' better light, or check the poses and the depth'
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


def _calibration_warnings(metrics: dict[str, Any]) -> list[str]:
    """Return a sentence about a map that could not learn how good its answers are."""
    if metrics['calibration_right'] >= LEAST_POSES:
        return []
    return [
        f'warning: {metrics["calibration_right"]} held-out pictures were localized rightly (fewer'
        f' than {LEAST_POSES}): the probability and the covariance of poses are those of other'
        ' rooms; record a longer walk, or raise field.validation_share'
    ]


def _synthesis_stage(
    writer: MapWriter,
    room: VoxelField,
    capture: Capture,
    config: BuildConfig,
    progress: ProgressCallback,
) -> Views:
    held_out = held_out_frames(len(capture), config.field.validation_share)
    views = synthesize_views(
        room,
        capture.map_from_camera[~held_out],
        capture.camera.shrunk_to(config.synthesis.width),
        config.synthesis,
        seed=config.seed,
        work_dir=writer.work_dir / 'views',
        progress=progress,
    )
    writer.mark('synthesis')
    return views


def _atlas_stage(
    writer: MapWriter,
    room: VoxelField,
    views: Views,
    capture: Capture,
    config: BuildConfig,
    progress: ProgressCallback,
) -> tuple[Atlas, Surface]:
    paths = writer.path('atlas.safetensors'), writer.path('surface.safetensors')
    if not writer.done('atlas'):
        held_out = held_out_frames(len(capture), config.field.validation_share)
        possible = np.concatenate([capture.map_from_camera[~held_out], views.map_from_camera])
        chosen = possible[spread_poses(possible, config.atlas.views)]
        camera = capture.camera.shrunk_to(config.atlas.size)
        rendered = []
        for done, pose in enumerate(chosen, start=1):
            rendered.append((room.render(pose[None], camera)[0], pose))
            progress(Progress('atlas', done, len(chosen)))
        training = np.flatnonzero(~held_out)
        adjust_atlas(build_atlas(rendered, camera), capture, training, progress).save(paths[0])
        sample_surface(rendered, camera).save(paths[1])
        writer.mark('atlas')
    return Atlas.load(paths[0]), Surface.load(paths[1])


def _regressor_stage(
    writer: MapWriter,
    room: VoxelField,
    views: Views,
    capture: Capture,
    config: BuildConfig,
    device: torch.device,
    progress: ProgressCallback,
) -> PoseRegressor:
    path = writer.path('regressor.safetensors')
    if not writer.done('regressor'):
        camera = capture.camera.shrunk_to(config.synthesis.width)
        held_out = held_out_frames(len(capture), config.field.validation_share)
        pictures = real_views(capture, camera, room)
        regressor = train_regressor(
            views,
            pictures.part(~held_out),
            pictures.part(held_out),
            camera,
            config.regressor,
            device=device,
            seed=config.seed,
            progress=progress,
        )
        regressor.save(path)
        writer.mark('regressor')
    return PoseRegressor.load(path, device)


def _calibration_stage(
    atlas: Atlas,
    surface: Surface,
    regressor: PoseRegressor,
    capture: Capture,
    config: BuildConfig,
    progress: ProgressCallback,
) -> tuple[Calibration, dict[str, Any]]:
    """Localize held-out frames, easy and hard, and learn from the errors that they show."""
    walked = capture.map_from_camera[:, :3, 3]
    localizer = Localizer(atlas, surface, regressor, walked, BARE, OPEN)
    held_out = np.flatnonzero(held_out_frames(len(capture), config.field.validation_share))
    places = np.linspace(0, max(0, len(held_out) - 1), min(CALIBRATION_FRAMES, len(held_out)))
    chosen = held_out[places.astype(int)]

    def shots() -> Iterator[Shot]:
        for done, index in enumerate(chosen, start=1):
            frame = capture.frame(int(index))
            yield from variants(
                Shot(frame.rgb, frame.camera, frame.map_from_camera), config.seed + int(index)
            )
            progress(Progress('calibration', done, len(chosen)))

    return calibrate(collect(localizer, shots()))


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
