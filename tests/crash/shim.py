"""Builds `shim.c`, and gives the environment in which it is loaded."""

import os
import pathlib
import subprocess

import environment

FLAGS = ["-O2", "-Wall", "-Wextra", "-Werror"]


def compiled(source, built, *options):
    """Made again when its source is newer."""
    source = environment.HERE / source
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", *FLAGS, *options, "-o", fresh, source, "-ldl", "-lpthread"], check=True)
        fresh.replace(built)
    return built


def library():
    return compiled("shim.c", environment.FOLDER / "shim.so", "-shared", "-fPIC")


def variables(directory, log=None, fault=None):
    found = {"LD_PRELOAD": str(library()), "CRASH_DIRECTORY": str(pathlib.Path(directory).resolve())}
    if log:
        found["CRASH_LOG"] = str(log)
    if fault:
        found["CRASH_FAULT"] = str(fault)
    return found
