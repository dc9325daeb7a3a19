"""
Install with pip; colcon reads package.xml and builds CMakeLists.txt instead.

Where a ROS 2 with rosidl is at hand (a sourced setup file, or the ros-* wheels in this Python),
the CMake project is built as well, so that nerf_reversal_ros.msg, .srv and .action can be
imported, the nodes can be started and the package is in the ament index. Without one, the library
and the command line are installed alone. NERF_REVERSAL_ROS_INTERFACES=0 or 1 decides instead.
"""

import os
from pathlib import Path
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

HERE = Path(__file__).resolve().parent
NAME = 'nerf_reversal_ros'


def ros_prefixes() -> list[str]:
    """Return the prefixes of a sourced ROS 2, else the one of this Python and its wheels."""
    sourced = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    return sourced or [sys.prefix]


def with_interfaces() -> bool:
    """Tell whether the messages can be, or by the user's word must be, built."""
    wish = os.environ.get('NERF_REVERSAL_ROS_INTERFACES', 'auto')
    if wish in ('0', '1'):
        return wish == '1'
    return shutil.which('cmake') is not None and any(
        Path(prefix, 'share', 'rosidl_default_generators', 'cmake').is_dir()
        for prefix in ros_prefixes()
    )


class BuildWithInterfaces(build_py):
    """Build the CMake project too and hand what it installs to pip."""

    def run(self) -> None:
        """Copy the modules, then what CMake made."""
        super().run()
        if not with_interfaces() or self.editable_mode:
            return
        work = Path(self.get_finalized_command('build').build_temp).resolve() / 'cmake'
        stage = work / 'stage'
        shutil.rmtree(stage, ignore_errors=True)
        self._cmake(work, stage)
        shutil.copytree(stage / 'python' / NAME, Path(self.build_lib) / NAME, dirs_exist_ok=True)
        shutil.rmtree(stage / 'python')
        (stage / 'bin' / 'nerf-reversal').unlink()  # pip makes its own from the entry point
        rows: dict[str, list[str]] = {}
        for path in sorted(stage.rglob('*')):
            if path.is_file():
                rows.setdefault(str(path.parent.relative_to(stage)), []).append(str(path))
        self.distribution.data_files = sorted(rows.items())

    @staticmethod
    def _cmake(work: Path, stage: Path) -> None:
        env = dict(os.environ, AMENT_PREFIX_PATH=os.pathsep.join(ros_prefixes()))
        env['PATH'] = os.pathsep.join([str(Path(sys.executable).parent), env.get('PATH', '')])
        configure = [
            'cmake',
            *('-S', str(HERE), '-B', str(work)),
            '-DBUILD_TESTING=OFF',
            '-DCMAKE_BUILD_TYPE=Release',
            f'-DCMAKE_INSTALL_PREFIX={stage}',
            f'-DCMAKE_PREFIX_PATH={";".join(ros_prefixes())}',
            f'-DCMAKE_PROJECT_INCLUDE={HERE / "cmake" / "ros_wheels.cmake"}',
            f'-DPython3_EXECUTABLE={sys.executable}',
            '-DPYTHON_INSTALL_DIR=python',
        ]
        subprocess.check_call(configure, env=env)
        subprocess.check_call(['cmake', '--build', str(work), '--parallel'], env=env)
        subprocess.check_call(['cmake', '--install', str(work)], env=env)


class BinaryWhereInterfaces(Distribution):
    """Mark the wheel as made for one machine where it holds compiled messages."""

    def has_ext_modules(self) -> bool:
        """Tell whether compiled code is inside."""
        return with_interfaces()


setup(
    distclass=BinaryWhereInterfaces,
    cmdclass={'build_py': BuildWithInterfaces},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *(
            (f'share/{NAME}/{d}', sorted(str(p) for p in Path(d).iterdir() if p.is_file()))
            for d in ('config', 'launch', 'rviz')
            if Path(d).is_dir()
        ),
    ],
)
