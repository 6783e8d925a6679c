"""What this machine has, as far as this process may use it."""

from __future__ import annotations

import os

from rayc._private.options import check_amount

OBJECT_STORE_BYTES_MIN = 75 * 1024 * 1024
_OBJECT_STORE_BYTES_MAX = 200 * 10**9
_OBJECT_STORE_SHARE = 0.3
_SHM_SHARE_MAX = 0.95
_SHM_CAP_BYTES_MIN = 10 * 10**9
_CGROUP_ROOT = "/sys/fs/cgroup"


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def _own_cgroups() -> dict[str, str]:
    """Return this process's group by controller; "" stands for version 2."""
    groups = {}
    for line in (_read("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path
    return groups


def _folders_up(mount: str, path: str) -> list[str]:
    """Return the folders of a group and of those around it, which limit it too."""
    folders = [mount]
    for part in path.strip("/").split("/"):
        if part and part != "..":
            folders.append(f"{folders[-1]}/{part}")
    return [folder for folder in reversed(folders) if os.path.isdir(folder)]


def _cpu_quota() -> float | None:
    """Return how many CPUs the groups around this process may use at a time."""
    groups = _own_cgroups()
    quotas = []
    for folder in _folders_up(_CGROUP_ROOT, groups.get("", "/")):
        fields = (_read(f"{folder}/cpu.max") or "").split()
        if len(fields) == 2 and fields[0] != "max" and int(fields[1]) > 0:
            quotas.append(int(fields[0]) / int(fields[1]))
    for mount in (f"{_CGROUP_ROOT}/cpu", f"{_CGROUP_ROOT}/cpu,cpuacct"):
        for folder in _folders_up(mount, groups.get("cpu", "/")):
            quota = int(_read(f"{folder}/cpu.cfs_quota_us") or -1)
            period = int(_read(f"{folder}/cpu.cfs_period_us") or 0)
            if quota > 0 and period > 0:
                quotas.append(quota / period)
    return min(quotas, default=None)


def _cpuset_size() -> int | None:
    """Return the size of the set of CPUs that the group around this process may use."""
    groups = _own_cgroups()
    places = [
        (_CGROUP_ROOT, groups.get("", "/"), "cpuset.cpus.effective"),
        (f"{_CGROUP_ROOT}/cpuset", groups.get("cpuset", "/"), "cpuset.effective_cpus"),
    ]
    for mount, path, name in places:
        for folder in _folders_up(mount, path):
            text = _read(f"{folder}/{name}")
            if text:
                return _count_list(text)
    return None


def _count_list(text: str) -> int:
    """Count the numbers of a list such as "0-3,8"."""
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def cpu_count() -> int:
    """Return how many CPUs this process may use: by affinity, cgroup quota and cpuset."""
    counts: list[float] = [len(os.sched_getaffinity(0))]
    for limit in (_cpu_quota(), _cpuset_size()):
        if limit is not None:
            counts.append(limit)
    return max(1, int(min(counts)))


def visible_gpus() -> list[str] | None:
    """Return the names in CUDA_VISIBLE_DEVICES, or None if it is not set."""
    text = os.environ.get("CUDA_VISIBLE_DEVICES")
    if text is None:
        return None
    if text.strip() in ("", "-1", "NoDevFiles"):
        return []
    return [name.strip() for name in text.split(",") if name.strip()]


def gpu_count() -> int:
    """Return how many GPUs this process may use."""
    try:
        installed = len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        installed = 0
    visible = visible_gpus()
    return installed if visible is None else min(installed, len(visible))


def accelerator_type() -> str | None:
    """Return the kind of GPU that is installed, e.g. "A100"; None if there is none."""
    folder = "/proc/driver/nvidia/gpus"
    try:
        gpus = sorted(os.listdir(folder))
    except OSError:
        return None
    for gpu in gpus:
        for line in (_read(f"{folder}/{gpu}/information") or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                # e.g. "NVIDIA A100-SXM4-40GB" or "Tesla V100-SXM2-16GB"
                words = [w for w in value.split() if w not in ("NVIDIA", "Tesla", "GeForce")]
                return words[0].split("-")[0].upper() if words else None
    return None


def available_memory_bytes() -> int:
    """Return how much memory is free for this process, by machine and cgroup."""
    free = []
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    groups = _own_cgroups()
    places = [
        (_CGROUP_ROOT, groups.get("", "/"), "memory.max", "memory.current"),
        (
            f"{_CGROUP_ROOT}/memory",
            groups.get("memory", "/"),
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
    ]
    for mount, path, limit_name, usage_name in places:
        for folder in _folders_up(mount, path):
            limit, usage = _read(f"{folder}/{limit_name}"), _read(f"{folder}/{usage_name}")
            if limit and usage and limit.isdigit() and usage.isdigit() and int(limit) < 1 << 60:
                free.append(int(limit) - int(usage))
    return max(0, min(free, default=1 << 30))


def default_object_store_bytes(available_bytes: int) -> int:
    """Return the size of the object store for so much free memory."""
    try:
        shm = os.statvfs("/dev/shm")
        shm_bytes = shm.f_frsize * shm.f_blocks
    except OSError:
        shm_bytes = 0
    shm_cap = max(int(_SHM_SHARE_MAX * shm_bytes), _SHM_CAP_BYTES_MIN)
    size = min(int(_OBJECT_STORE_SHARE * available_bytes), shm_cap, _OBJECT_STORE_BYTES_MAX)
    return max(OBJECT_STORE_BYTES_MIN, size)


def check_node_resources(resources: object) -> dict[str, int]:
    """Check `init`'s argument `resources`, and return those above zero."""
    if not isinstance(resources, dict):
        raise TypeError(f"resources must be a dict, not {resources!r}")
    checked = {}
    for name, amount in resources.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"the keys of resources must be names, and one is {name!r}")
        if name in ("CPU", "GPU", "memory", "object_store_memory"):
            argument = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "_memory"}.get(name, name)
            raise AssertionError(f"resources must not contain {name!r}: use init({argument}=...)")
        if name == "node:__internal_head__":
            raise ValueError(f"{name!r} is a reserved resource name")
        checked[name] = whole_amount(f"resources[{name!r}]", amount)
    return {name: amount for name, amount in checked.items() if amount > 0}


def whole_amount(name: str, amount: object) -> int:
    """Check the amount of a resource of a whole node: a whole number from 0 on."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"{name} must be a number, not {amount!r}")
    check_amount(name, amount)
    if float(amount) != int(amount):
        raise ValueError(f"{name} must be a whole number for a node, and is {amount!r}")
    return int(amount)
