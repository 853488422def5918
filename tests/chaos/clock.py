"""A wrong clock: the time of day that a process reads is off by so much, in whatever language it asks. Durations are right, as in life.

It takes a C compiler, and the loader of Linux; where either is missing, clocks are right.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: What the loader is asked to load first, and by how much.
PRELOAD, SKEW = "LD_PRELOAD", "CLOCK_SKEW_S"

# A semaphore's deadline is given by the clock that was read and kept by the kernel's, which is right: it is turned back.
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long skew(void) { const char *told = getenv("CLOCK_SKEW_S"); return told ? atol(told) : 0; }

int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(clock, at);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += skew();
  return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  static int (*real)(sem_t *, const struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "sem_timedwait");
  struct timespec turned = *until;
  turned.tv_sec -= skew();
  return real(semaphore, &turned);
}
"""


def build(folder: Path) -> Path | None:
    """The library that does it, or None where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(_SOURCE)
    words = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    done = subprocess.run(words, capture_output=True, check=False)
    return library if done.returncode == 0 else None


def shift(library: str, seconds: float) -> None:
    """Begin this process again with a wrong clock, unless it has one: commands of the product hand on no environment but their own."""
    if library and seconds and os.environ.get(PRELOAD) != library:
        os.execve(sys.executable, sys.orig_argv, os.environ | {PRELOAD: library, SKEW: str(int(seconds))})
