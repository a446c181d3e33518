"""Installs the clients into the target folder, once, with retries: a registry may be busy."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent / "target").resolve()
FOLDER = TARGET / "interop"

INSTALL_SECS = 600
ATTEMPTS = 3


def run(command, **options):
    """Runs an installation; its output is shown when it fails for the last time."""
    for attempt in range(1, ATTEMPTS + 1):
        done = subprocess.run(
            command, timeout=INSTALL_SECS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        if done.returncode == 0:
            return
        time.sleep(5 * attempt)
    sys.exit(f"could not run {' '.join(map(str, command))}:\n{done.stdout}")


def paho_driver():
    return [python(), HERE / "drivers" / "paho_driver.py"]


def gmqtt_driver():
    return [python(), HERE / "drivers" / "gmqtt_driver.py"]


def mqttjs_driver():
    folder = FOLDER / "node"
    wanted = (HERE / "package.json").read_text()
    installed = folder / "package.json"
    if not (folder / "node_modules").exists() or installed.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        installed.write_text(wanted)
        run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], cwd=folder)
    return ["node", HERE / "drivers" / "mqttjs_driver.mjs", folder]


def rumqttc_driver():
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    run(["cargo", "build", "--quiet", "--locked", "--manifest-path", HERE / "rumqttc" / "Cargo.toml"], env=environment)
    return [TARGET / "debug" / "interop-rumqttc"]


def quic_client():
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    run(["cargo", "build", "--quiet", "--locked", "--manifest-path", HERE / "quic" / "Cargo.toml"], env=environment)
    return TARGET / "debug" / "interop-quic"


def mosquitto_clients():
    debian_packages({tool: "mosquitto-clients" for tool in ["mosquitto_pub", "mosquitto_sub", "mosquitto_rr"]})


def debian_packages(packages):
    """Installs what is missing, given as the program and the package that has it."""
    missing = sorted({package for program, package in packages.items() if not shutil.which(program)})
    if missing:
        as_root = ["env"] if os.geteuid() == 0 else ["sudo", "env"]
        run([*as_root, "apt-get", "update", "-q"])
        run([*as_root, "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", *missing])


def python():
    """The interpreter of a virtual environment that holds what requirements.txt names."""
    folder = FOLDER / "venv"
    python = folder / "bin" / "python"
    wanted = (HERE / "requirements.txt").read_text()
    installed = folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != wanted:
        run([sys.executable, "-m", "venv", "--clear", folder])
        run([python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"])
        installed.write_text(wanted)
    return python
