"""Memory that is not given back to the system between steps."""

import ctypes
import platform
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEEP_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Let glibc keep what is freed (up to 1 GiB) instead of returning it to the system after every array.

    Otherwise each training step and each decoded file pays for fresh pages, which on a CPU costs as much as the
    convolutions. Does nothing on other systems.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(option, KEEP_BYTES)
