"""Builds `shim.c`, and gives the environment in which it is loaded."""

import os
import pathlib
import subprocess

import environment

SOURCE = pathlib.Path(__file__).resolve().parent / "shim.c"


def library():
    """The compiled shim, made again when its source is newer."""
    built = environment.FOLDER / "shim.so"
    if not built.exists() or built.stat().st_mtime < SOURCE.stat().st_mtime:
        built.parent.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", fresh, SOURCE, "-ldl", "-lpthread"],
            check=True,
        )
        fresh.replace(built)
    return built


def variables(directory, log=None, fault=None):
    found = {"LD_PRELOAD": str(library()), "CRASH_DIRECTORY": str(pathlib.Path(directory).resolve())}
    if log:
        found["CRASH_LOG"] = str(log)
    if fault:
        found["CRASH_FAULT"] = str(fault)
    return found
