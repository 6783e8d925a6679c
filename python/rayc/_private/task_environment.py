"""What a worker's environment says about the resources that its task or actor holds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rayc._private import blas_threads
from rayc._private.environment import flag

_GPUS = "CUDA_VISIBLE_DEVICES"
_THREADS = "OMP_NUM_THREADS"


class TaskEnvironment:
    """Sets the variables that follow from resources, and takes them back.

    Variables that the user has set are left alone.
    """

    def __init__(self) -> None:
        self._set_by_us: dict[str, str] = {}
        self._before: dict[str, str | None] = {}
        self._all_cores = os.sched_getaffinity(0)
        self._cores = self._all_cores

    def apply(
        self,
        resources: Mapping[str, float],
        instances: Mapping[str, Sequence[int]],
        gpu_names: Sequence[str] | None,
    ) -> None:
        """Follow the resources of the next task, or of the actor.

        Parameters
        ----------
        resources : mapping
            The amounts that it holds.
        instances : mapping
            Which ones, of those resources that have numbers. "CPU" among them: the cores to
            run on, where workers are pinned; none: on any.
        gpu_names : sequence of str, optional
            What the driver's CUDA_VISIBLE_DEVICES calls the GPUs.
        """
        cpus = resources.get("CPU", 0.0)
        if "CPU" in instances:
            self._pin(set(instances["CPU"]) or self._all_cores)
        if blas_threads.wanted_by_environment() is None or _THREADS in self._set_by_us:
            self._set(_THREADS, str(max(1, int(cpus))))
            blas_threads.set_threads(max(1, int(cpus)))
        if flag("EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", False):
            return
        gpus = instances.get("GPU", ())
        if gpus:
            self._set(_GPUS, ",".join(gpu_names[i] if gpu_names else str(i) for i in gpus))
        elif flag("ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", False):
            self._set(_GPUS, "")
        else:
            self._take_back(_GPUS)

    def _pin(self, cores: set[int]) -> None:
        """Let all threads of this process run on these cores only."""
        if cores == self._cores:
            return
        for thread in os.listdir("/proc/self/task"):
            try:
                os.sched_setaffinity(int(thread), cores)
            except ProcessLookupError:
                pass  # it has ended just now
        self._cores = cores

    def _set(self, name: str, value: str) -> None:
        if name not in self._set_by_us:
            self._before[name] = os.environ.get(name)
        os.environ[name] = self._set_by_us[name] = value

    def _take_back(self, name: str) -> None:
        if self._set_by_us.pop(name, None) is None:
            return
        before = self._before.pop(name)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
