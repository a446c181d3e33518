"""An authority by openssl: certificates for servers and devices, and a list of the revoked ones."""

import pathlib
import subprocess

OPENSSL_SECS = 30

CONFIG = """
[ca]
default_ca = here
[here]
dir = {folder}
database = {folder}/index.txt
serial = {folder}/serial
crlnumber = {folder}/crlnumber
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
"""


def openssl(*arguments, **options):
    """What it printed; an error of it is one of ours."""
    done = subprocess.run(["openssl", *map(str, arguments)], timeout=OPENSSL_SECS, text=True, capture_output=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}:\n{done.stderr}")
    return done.stdout


class Authority:
    """All its files are in one folder."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.file = self.folder / "ca.pem"
        self.list = self.folder / "ca.crl"
        self._config = self.folder / "openssl.cnf"
        self._config.write_text(CONFIG.format(folder=self.folder))
        (self.folder / "index.txt").write_text("")
        (self.folder / "serial").write_text("1000\n")
        (self.folder / "crlnumber").write_text("01\n")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.folder / "ca.key"]
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,cRLSign"]
        openssl("req", "-x509", *key, "-out", self.file, "-days", "30", "-subj", f"/CN={name}", *extensions)
        self.publish()

    def issue(self, name, file=None, expired=False):
        """Certificate and key; with the same `file` they take the place of those before."""
        file = file or name
        chain, key, request = (self.folder / f"{file}.{kind}" for kind in ("pem", "key", "csr"))
        new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{key}.new"]
        openssl("req", *new, "-out", request, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1")
        times = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"] if expired else []
        openssl("ca", "-batch", "-notext", "-config", self._config, "-in", request, "-out", f"{chain}.new", *times)
        pathlib.Path(f"{key}.new").rename(key)
        pathlib.Path(f"{chain}.new").rename(chain)
        return chain, key

    def revoke(self, chain):
        openssl("ca", "-config", self._config, "-revoke", chain)
        self.publish()

    def publish(self):
        openssl("ca", "-config", self._config, "-gencrl", "-out", f"{self.list}.new")
        pathlib.Path(f"{self.list}.new").rename(self.list)
