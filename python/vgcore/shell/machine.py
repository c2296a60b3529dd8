"""What a speed depends on: the processor, the system, how busy they are, and what vgcore was installed as."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import vgcore

#: Variables that keep vgcore, or a library that it is compared with, to fewer instructions or threads than there are.
LIMITS = (
    *("VGCORE_ISA", "VGCORE_NUM_THREADS"),
    *("NPY_DISABLE_CPU_FEATURES", "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
    *("MKL_ENABLE_INSTRUCTIONS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "ONEDNN_MAX_CPU_ISA"),
    *("ATEN_CPU_CAPABILITY", "TORCHINDUCTOR_CPP_MARCH", "XLA_FLAGS"),
)
CPUINFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def facts() -> dict[str, Any]:
    """The machine, as plain JSON; None for what this system does not say.

    Returns:
        `cpu`, `cpu_flags` (of those that vgcore has code for), `virtual` (whether it is a virtual machine),
        `memory_gb`, `system`, `architecture`, `governor` (how the clock is chosen, such as `"performance"`) and
        `limits`, the variables of `LIMITS` that are set.

    >>> found = facts()
    >>> isinstance(found["cpu"], str), found["system"] == platform.system()
    (True, True)
    """
    cpuinfo = _text(CPUINFO)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)", cpuinfo, re.MULTILINE)
    known = flags[1].split() if flags else []
    return {
        "cpu": _processor(cpuinfo),
        "cpu_flags": [flag for flag in ("avx2", "avx512f", "asimd") if flag in known],
        "virtual": "hypervisor" in known if "fpu" in known else None,  # processors of ARM do not tell
        "memory_gb": _memory(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "governor": _text(GOVERNOR).strip() or None,
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
    }


def load() -> float | None:
    """Processes that run or want to, in the mean of the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def installed_as() -> dict[str, str | None]:
    """The tag of the wheel that this vgcore came in, and its commit where pip took it from a repository; else None."""
    try:
        found = metadata.distribution("vgcore")
    except metadata.PackageNotFoundError:
        return {"wheel": None, "commit": None}
    # A checkout on the path of Python comes before what is installed, which then says nothing of it.
    if Path(str(found.locate_file("vgcore"))).resolve() != Path(vgcore.__file__).resolve().parent:
        return {"wheel": None, "commit": None}
    tags = re.findall(r"^Tag: (\S+)", found.read_text("WHEEL") or "", re.MULTILINE)
    source = json.loads(found.read_text("direct_url.json") or "{}")
    return {"wheel": " ".join(tags) or None, "commit": source.get("vcs_info", {}).get("commit_id")}


def _text(path: Path) -> str:
    """What the system says in a file of its own; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _processor(cpuinfo: str) -> str:
    """The name of the processor, with the numbers of its model: a virtual machine often hides the rest of the name."""
    if platform.system() == "Darwin":
        return subprocess.check_output(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    found = dict(re.findall(r"^([\w ]+?)\s*: (.+)$", cpuinfo.split("\n\n", maxsplit=1)[0], re.MULTILINE))
    name = found.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{short} {found[key]}" for key, short in (("cpu family", "family"), ("model", "model")) if key in found]
    if "CPU part" in found:
        numbers.append(f"implementer {found.get('CPU implementer')} part {found['CPU part']}")
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _memory() -> float | None:
    """Gigabytes (2^30 bytes) of memory."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return None
