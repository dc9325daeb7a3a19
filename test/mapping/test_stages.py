"""The names of the stages are the same in code, in builds and in the action."""

from pathlib import Path
import re

from nerf_reversal_ros.mapping.stages import BUILD_STAGES, PROGRESS_STAGES

ACTION = Path(__file__).resolve().parents[2] / 'action' / 'BuildMap.action'


def field_comment(interface, field):
    """Return the comment of a field of an interface file, with its continuation lines joined."""
    lines = iter(interface.read_text().splitlines())
    comment = next(line.partition('#')[2] for line in lines if line.startswith(f'{field} '))
    for line in lines:
        if not line.startswith(' '):
            break
        comment += line.partition('#')[2]
    return ' '.join(comment.split())


def test_the_action_lists_every_stage_that_a_build_reports():
    listed = re.split(r', | or ', field_comment(ACTION, 'string stage'))
    assert listed == list(PROGRESS_STAGES)


def test_every_stage_of_the_manifest_reports_progress_under_its_name():
    assert set(BUILD_STAGES) < set(PROGRESS_STAGES)


def test_a_build_reports_only_listed_stages(small_build):
    assert {report.stage for report in small_build.reports} <= set(PROGRESS_STAGES)
