"""Memory that is kept between steps, or given back to the system."""

import ctypes
import platform
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h
KEEP_BYTES = 1 << 30


def keep_freed_memory(one_heap: bool = False) -> None:
    """Let glibc keep what is freed (up to 1 GiB) instead of returning it to the system after every array.

    Otherwise each training step and each decoded file pays for fresh pages, which on a CPU costs as much as the
    convolutions. Does nothing on other systems.

    Parameters
    ----------
    one_heap : all threads share the main one's, since the others' return much in any case.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(option, KEEP_BYTES)
        if one_heap:
            libc.mallopt(M_ARENA_MAX, 1)


def return_freed_memory() -> None:
    """Give the system back what arrays have left; glibc keeps much of it otherwise. Does nothing on other systems."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
