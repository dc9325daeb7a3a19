"""What a job takes of a machine."""

from dataclasses import dataclass

from nerf_reversal_ros.core.validated_config import setting, ValidatedConfig

DEFAULT_RAY_CPUS = 2
"""CPU cores of a job on Ray if the plan does not say: a build uses two well."""


@dataclass(frozen=True)
class Resources(ValidatedConfig):
    """What a job takes; all but `cpus` concern Ray alone."""

    cpus: int = setting(
        0,
        f'CPU cores, and threads of the build; 0: {DEFAULT_RAY_CPUS} on Ray, else all',
        low=0,
        high=1024,
    )
    gpus: float = setting(0.0, 'GPUs, or a fraction of one', low=0.0, high=64.0)
    memory_gb: float = setting(3.0, 'memory that Ray sets aside [GB]', low=0.0, high=4096.0)
    retries: int = setting(
        3, 'how often a job is repeated whose worker was killed or lost', low=0, high=100
    )

    @property
    def ray_cpus(self) -> int:
        """CPU cores on Ray."""
        return self.cpus or DEFAULT_RAY_CPUS

    @property
    def by_ray_name(self) -> dict[str, float]:
        """The same by the names of Ray; memory in bytes."""
        return {'CPU': float(self.ray_cpus), 'GPU': self.gpus, 'memory': self.memory_gb * 1e9}


def one_core(device: str, memory_gb: float) -> Resources:
    """Return the resources of work that keeps one core busy, with a GPU if the device is one."""
    return Resources(cpus=1, gpus=1.0 if device == 'cuda' else 0.0, memory_gb=memory_gb)
