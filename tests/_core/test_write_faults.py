"""Faults while a file is written: it is written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("safetensors")

import bptt
from bptt._core.tensor_files import remove_leftovers
from child_process import check_done, compile_library, run_code

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="injects faults as Linux allows")

# Calls on files below the directory BPTT_FAULTS, of which the one with the number `fault_at` fails:
# with the error `fault_errno`, after half of the bytes of a write, or by killing the process if
# that is 0.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

int fault_at = 0, fault_errno = 0, fault_calls = 0;
static char ours[1024];

static int within(const char *path) {
  const char *folder = getenv("BPTT_FAULTS");
  return fault_at != 0 && folder != NULL && path != NULL &&
         strncmp(path, folder, strlen(folder)) == 0;
}
static int fails(void) {
  if (++fault_calls != fault_at) return 0;
  if (fault_errno == 0) kill(getpid(), SIGKILL);
  errno = fault_errno;
  return 1;
}
static int is_ours(int file) { return file >= 0 && file < 1024 && ours[file] && fault_at != 0; }

static int opened(const char *name, const char *path, int flags, mode_t mode) {
  if (within(path) && fails()) return -1;
  int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
  int file = next(path, flags, mode);
  if (file >= 0 && file < 1024) ours[file] = within(path);
  return file;
}
int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened("open", path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  return opened("open64", path, flags, mode);
}
ssize_t write(int file, const void *bytes, size_t count) {
  ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (is_ours(file) && ++fault_calls == fault_at) {
    next(file, bytes, count / 2);
    if (fault_errno == 0) kill(getpid(), SIGKILL);
    errno = fault_errno;
    return -1;
  }
  return next(file, bytes, count);
}
int fsync(int file) {
  int (*next)(int) = dlsym(RTLD_NEXT, "fsync");
  return is_ours(file) && fails() ? -1 : next(file);
}
int close(int file) {
  int (*next)(int) = dlsym(RTLD_NEXT, "close");
  const int failed = is_ours(file) && fails(), error = errno;
  if (file >= 0 && file < 1024) ours[file] = 0;
  const int result = next(file);
  if (!failed) return result;
  errno = error;
  return -1;
}
int rename(const char *from, const char *to) {
  int (*next)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
  return within(to) && fails() ? -1 : next(from, to);
}
"""

CHILD = """
import ctypes, errno, os, sys
from pathlib import Path
import numpy as np
import bptt

shim = ctypes.CDLL(None)
at, error, calls = (ctypes.c_int.in_dll(shim, "fault_" + n) for n in ("at", "errno", "calls"))
path = Path(os.environ["BPTT_FAULTS"]) / "model"
modules = [{"m": bptt.LSTM(20, 40, seed=i)} for i in (0, 1)]

def save(number):
    bptt.save_modules(path, modules[number])
    return path.read_bytes()

new, old = save(1), save(0)
assert new != old

def attempt(number, code):
    error.value, calls.value, at.value = code, 0, number
    try:
        bptt.save_modules(path, modules[1])
    except OSError as caught:
        assert caught.errno == code, caught
        done = False
    else:
        done = True
    count, at.value = calls.value, 0
    return done, count
"""

FAIL = (
    CHILD
    + """
for code in (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT):
    save(0)
    count = attempt(-1, code)[1]
    assert count >= 6, count  # open, write, fsync, close, rename, and those of the directory
    refused = 0
    for number in range(1, count + 1):
        save(0)
        done, _ = attempt(number, code)
        refused += not done
        content = path.read_bytes()
        assert content == new if done else content in (old, new)
        assert os.listdir(path.parent) == ["model"]
        bptt.load_modules(path)
    assert refused >= 5, refused
print("done")
"""
)

KILL = (
    CHILD
    + """
save(0)
Path(sys.argv[2]).write_bytes(old)
Path(sys.argv[3]).write_bytes(new)
attempt(int(sys.argv[1]), 0)
print("done")
"""
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile SHIM to a library that can be preloaded."""
    return compile_library(SHIM, tmp_path_factory.mktemp("shim"))


def run(code: str, shim: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    return run_code(code, *arguments, LD_PRELOAD=str(shim), BPTT_FAULTS=str(folder))


def test_every_call_fails_once(shim, tmp_path):
    """With a full disk, an error of the device, missing rights and an exceeded quota."""
    child = run(FAIL, shim, tmp_path)
    check_done(child)


def test_killed_at_every_call(shim, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    old, new = tmp_path / "old", tmp_path / "new"
    found = set()
    for number in range(1, 30):
        child = run(KILL, shim, folder, number, old, new)
        content = (folder / "model").read_bytes()
        assert content in (old.read_bytes(), new.read_bytes())
        found.add(content)
        if child.returncode == 0:
            break
        assert child.returncode == -9, child.stderr
    assert child.stdout == "done\n"
    assert number > 6
    assert len(found) == 2


WRITER = """
import sys, time
import bptt

modules = {"m": bptt.LSTM(20, 40, seed=int(sys.argv[2]))}
end = time.monotonic() + 1.5
while time.monotonic() < end:
    bptt.save_modules(sys.argv[1], modules)
print("done")
"""


def test_two_writers_at_once(tmp_path):
    """And a third process that removes what killed ones have left."""
    path = tmp_path / "model"
    expected = {}
    for seed in (0, 1):
        bptt.save_modules(path, {"m": bptt.LSTM(20, 40, seed=seed)})
        expected[path.read_bytes()] = seed
    left = tmp_path / ".model.0badcafe.tmp"
    left.write_bytes(b"half")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(seed)], stdout=subprocess.PIPE, text=True
        )
        for seed in (0, 1)
    ]
    found = set()
    while any(writer.poll() is None for writer in writers):
        found.add(expected[path.read_bytes()])
        bptt.load_modules(path)
        remove_leftovers(path)
    assert [writer.communicate()[0] for writer in writers] == ["done\n"] * 2
    assert found == {0, 1}
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
