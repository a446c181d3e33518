"""Real servers that know users, each on a free port of this machine and with a folder of its own.

A server can be started, stopped, started again with the same users, and frozen: it then takes connections and says nothing.
`section` is what stands for it in a section [auth.NAME], `secrets` what nobody may see of it.
"""

import glob
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

START_SECS = 30
DATABASE_PASSWORD = "s3cret-of-the-database"
# In Debian, servers are not on everybody's PATH.
PLACES = ["/usr/sbin", "/usr/lib/postgresql/*/bin"]


def program(name):
    """Where a program is; none if it is not installed."""
    found = shutil.which(name)
    if found:
        return found
    candidates = [path for place in PLACES for path in sorted(glob.glob(f"{place}/{name}"))]
    return candidates[-1] if candidates else None


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, timeout=60, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def family(root):
    """A process and all that it begot."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


class Server:
    """What the servers have in common. `user` is who runs it where the tests run as root, which some refuse."""

    programs = []
    user = None
    # How the name of a user may be written otherwise, and who that is then.
    same_as_alice = []

    def __init__(self, folder, hashes):
        self.folder = folder
        self.hashes = hashes
        self.port = free_port()
        self.process = None
        os.makedirs(folder)
        if self.runs_as_other():
            account = pwd.getpwnam(self.user)
            os.chown(folder, account.pw_uid, account.pw_gid)

    @classmethod
    def missing(cls):
        """The programs that are not there."""
        return [name for name in cls.programs if not program(name)]

    def certify(self):
        """Makes a certificate for localhost that vouches for itself, and its key."""
        self.certificate, self.key = os.path.join(self.folder, "certificate.pem"), os.path.join(self.folder, "key.pem")
        if os.path.exists(self.key):
            return
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        # It is no authority, which a server's certificate may not be.
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
        command = ["openssl", "req", "-x509", *kind, *names, "-keyout", self.key, "-out", self.certificate]
        run(command, **self.as_user())

    def runs_as_other(self):
        return self.user is not None and os.geteuid() == 0

    def as_user(self):
        if not self.runs_as_other():
            return {}
        account = pwd.getpwnam(self.user)
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def begin(self, command):
        log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self.as_user()
        )
        log.close()
        self.wait()

    def wait(self):
        end = time.monotonic() + START_SECS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                with open(os.path.join(self.folder, "log")) as log:
                    raise RuntimeError(f"{type(self).__name__} did not start: {log.read()}")
            time.sleep(0.1)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.stopping)
            self.process.wait(timeout=30)

    stopping = signal.SIGTERM

    def freeze(self):
        for process in family(self.process.pid):
            os.kill(process, signal.SIGSTOP)

    def thaw(self):
        for process in family(self.process.pid):
            os.kill(process, signal.SIGCONT)

    def end(self):
        """Whatever state it is in."""
        if self.process and self.process.poll() is None:
            for process in family(self.process.pid):
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()

    def environment(self):
        return {}

    secrets = [DATABASE_PASSWORD]

    def slow_section(self):
        """One that is never answered in time; none if there is no way to ask so."""
        return None


TABLE = "CREATE TABLE users (name VARCHAR(64) PRIMARY KEY, hash VARCHAR(255), tenant VARCHAR(64), roles VARCHAR(255), site VARCHAR(64))"


def rows(hashes):
    """Alice has everything, bob a hash of another kind and nothing else, carol no password."""
    quote = lambda text: "NULL" if text is None else "'" + text.replace("'", "''") + "'"
    table = [
        ("alice", hashes["alice"], "north", "reader, writer", "oslo"),
        ("bob", hashes["bob"], None, None, None),
        ("carol", None, "north", "writer", "oslo"),
        ("dave", "no hash", "north", "writer", "oslo"),
    ]
    return ["INSERT INTO users VALUES (" + ", ".join(map(quote, row)) + ")" for row in table]


COLUMNS = "hash AS password_hash, tenant, roles, site"


class Postgres(Server):
    name = "postgres"
    programs = ["initdb", "postgres", "psql", "openssl"]
    user = "postgres"
    stopping = signal.SIGINT

    def start(self):
        data = os.path.join(self.folder, "data")
        if not os.path.exists(data):
            password = os.path.join(self.folder, "superuser")
            with open(password, "w") as file:
                file.write("of-the-superuser\n")
            options = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync"]
            run([program("initdb"), "-D", data, *options], cwd=self.folder, **self.as_user())
        self.certify()
        settings = ["-c", "ssl=on", "-c", f"ssl_cert_file={self.certificate}", "-c", f"ssl_key_file={self.key}"]
        settings += ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}"]
        self.begin([program("postgres"), "-D", data, "-p", str(self.port), *settings])
        if not hasattr(self, "is_filled"):
            grant = f"CREATE ROLE dunlin LOGIN PASSWORD '{DATABASE_PASSWORD}'; GRANT SELECT ON users TO dunlin"
            # Roles as an array, as PostgreSQL's users have them.
            arrays = "ALTER TABLE users ALTER roles TYPE text[] USING regexp_split_to_array(roles, ', *')"
            self.query("; ".join([TABLE, *rows(self.hashes), arrays, grant]))
            self.is_filled = True

    def answers(self):
        return super().answers() and self.try_query("SELECT 1")

    def psql(self, text):
        command = [program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qAtc", text]
        environment = {**os.environ, "PGPASSWORD": "of-the-superuser"}
        return subprocess.run(command, text=True, capture_output=True, timeout=30, env=environment)

    def try_query(self, text):
        return self.psql(text).returncode == 0

    def query(self, text):
        done = self.psql(text)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def remaining(self):
        return self.query("SELECT count(*) FROM users").strip()

    def environment(self):
        return {"DATABASE_PASSWORD": DATABASE_PASSWORD}

    def section(self):
        return (
            f'kind = "postgres"\nurl = "postgres://dunlin@localhost:{self.port}/postgres?sslmode=verify-full'
            f'&sslrootcert={self.certificate}"\n'
            'password = "${DATABASE_PASSWORD}"\n'
            f'query = "SELECT {COLUMNS} FROM users WHERE name = {{username}}"\n'
        )

    def slow_section(self):
        return self.section().replace("WHERE", "CROSS JOIN pg_sleep(60) AS sleep WHERE")


class MariaDb(Server):
    name = "mysql"
    programs = ["mariadbd", "mariadb-install-db", "mariadb", "openssl"]
    user = "mysql"
    # Its collations do not see the difference.
    same_as_alice = ["ALICE", "Alice", "alice ", "alic\u00e9"]

    def start(self):
        data = os.path.join(self.folder, "data")
        if not os.path.exists(data):
            options = ["--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"]
            run([program("mariadb-install-db"), *options], cwd=self.folder, **self.as_user())
        self.socket = os.path.join(self.folder, "socket")
        settings = [f"--datadir={data}", f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        self.certify()
        settings += [f"--ssl-cert={self.certificate}", f"--ssl-key={self.key}", "--require-secure-transport=ON"]
        settings += [f"--pid-file={self.folder}/pid", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"]
        self.begin([program("mariadbd"), "--no-defaults", *settings])
        if not hasattr(self, "is_filled"):
            grant = [
                f"CREATE USER dunlin@'127.0.0.1' IDENTIFIED BY '{DATABASE_PASSWORD}'",
                "GRANT SELECT ON mqtt.* TO dunlin@'127.0.0.1'",
            ]
            self.query("; ".join(["CREATE DATABASE mqtt; USE mqtt", TABLE, *rows(self.hashes), *grant]))
            self.is_filled = True

    def client(self, text):
        command = [program("mariadb"), "--no-defaults", "-S", self.socket, "-u", "root", "-Ne", text]
        return subprocess.run(command, text=True, capture_output=True, timeout=30)

    def answers(self):
        return self.client("SELECT 1").returncode == 0

    def query(self, text):
        done = self.client(text)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def remaining(self):
        return self.query("SELECT count(*) FROM mqtt.users").strip()

    def section(self):
        path = os.path.join(self.folder, "password")
        with open(path, "w") as file:
            file.write(DATABASE_PASSWORD + "\n")
        return (
            f'kind = "mysql"\nurl = "mysql://dunlin@localhost:{self.port}/mqtt?ssl-mode=VERIFY_IDENTITY'
            f'&ssl-ca={self.certificate}"\npassword = "file://{path}"\n'
            f'query = "SELECT name AS user_name, {COLUMNS} FROM users WHERE name = {{username}}"\n'
        )

    def slow_section(self):
        return self.section().replace("WHERE", "WHERE SLEEP(60) = 0 AND")


class Redis(Server):
    name = "redis"
    programs = ["redis-server", "redis-cli", "openssl"]

    def start(self):
        self.certify()
        options = ["--port", 0, "--tls-port", self.port, "--tls-cert-file", self.certificate, "--tls-key-file", self.key]
        options += ["--tls-ca-cert-file", self.certificate, "--tls-auth-clients", "no", "--bind", "127.0.0.1", "--requirepass", DATABASE_PASSWORD, "--save", "", "--dir", self.folder]
        self.begin([program("redis-server"), *map(str, options)])
        fields = ["roles", "reader writer", "tenant", "north", "site", "oslo"]
        self.client("HSET", "user:alice", "password_hash", self.hashes["alice"], *fields)
        self.client("HSET", "user:bob", "password_hash", self.hashes["bob"])
        self.client("HSET", "user:carol", "roles", "writer")
        self.client("HSET", "user:dave", "password_hash", "no hash")
        # What stands beside users, and is none.
        self.client("RPUSH", "user:alice:tokens", "x")

    def client(self, *command):
        return run([*self.cli(), *command], env={**os.environ, "REDISCLI_AUTH": DATABASE_PASSWORD})

    def cli(self):
        return [program("redis-cli"), "-h", "localhost", "-p", str(self.port), "--tls", "--cacert", self.certificate]

    def answers(self):
        environment = {**os.environ, "REDISCLI_AUTH": DATABASE_PASSWORD}
        return subprocess.run([*self.cli(), "PING"], capture_output=True, text=True, env=environment).stdout.strip() == "PONG"

    def remaining(self):
        names = self.client("KEYS", "user:*").split()
        return str(len([name for name in names if name.count(":") == 1]))

    def environment(self):
        folder = os.path.join(self.folder, "credentials")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "redis"), "w") as file:
            file.write(DATABASE_PASSWORD)
        return {"CREDENTIALS_DIRECTORY": folder}

    def section(self):
        return (
            f'kind = "redis"\nurl = "rediss://localhost:{self.port}/0"\npassword = "credential://redis"\n'
            f'ca_file = "{self.certificate}"\n'
            'key = "user:{username}"\nattributes = ["site"]\n'
        )


class Sqlite(Server):
    """A file and no server: to stop it is to take the file away, to freeze it is to write to it for long."""

    name = "sqlite"
    secrets = []

    def start(self):
        self.path = os.path.join(self.folder, "users.db")
        if os.path.exists(self.path + ".away"):
            os.rename(self.path + ".away", self.path)
            return
        with sqlite3.connect(self.path) as database:
            for statement in [TABLE, *rows(self.hashes)]:
                database.execute(statement)
        database.close()

    def stop(self):
        os.rename(self.path, self.path + ".away")

    def freeze(self):
        self.writer = sqlite3.connect(self.path, isolation_level=None)
        self.writer.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.writer.execute("BEGIN EXCLUSIVE")

    def thaw(self):
        self.writer.execute("ROLLBACK")
        self.writer.close()

    def remaining(self):
        database = sqlite3.connect(self.path)
        (count,) = database.execute("SELECT count(*) FROM users").fetchone()
        database.close()
        return str(count)

    def section(self):
        query = f"SELECT {COLUMNS} FROM users WHERE name = {{username}}"
        return f'kind = "sqlite"\npath = "{self.path}"\nquery = "{query}"\n'

    def slow_section(self):
        counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        return self.section().replace("WHERE", f"WHERE ({counting}) > 0 AND")


LDIF = """\
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: cn=searcher,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: searcher
userPassword: {password}

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Alice
o: north
l: oslo
userPassword: correct horse

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Bob
userPassword: battery staple

dn: uid=carol,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: Carol

dn: uid=dave,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: dave
cn: Twin
sn: Dave
userPassword: x

dn: cn=writer,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: writer
member: uid=alice,ou=people,dc=example,dc=org
member: uid=carol,ou=people,dc=example,dc=org
"""

SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/pid
TLSCACertificateFile {folder}/certificate.pem
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=searcher,dc=example,dc=org" read by users read by * none
database mdb
suffix dc=example,dc=org
directory {folder}/data
dbnosync
"""


class Slapd(Server):
    """Searches by StartTLS as somebody who may, then binds as the user."""

    name = "ldap"
    programs = ["slapd", "slapadd", "openssl"]
    # Names of entries and values of uid are the same in capitals and with blanks around.
    same_as_alice = ["ALICE", "Alice", "alice "]

    def start(self):
        data = os.path.join(self.folder, "data")
        if not os.path.exists(data):
            os.makedirs(data)
            self.certify()
            with open(os.path.join(self.folder, "slapd.conf"), "w") as file:
                file.write(SLAPD.format(folder=self.folder))
            run([program("slapadd"), "-f", f"{self.folder}/slapd.conf"], input=LDIF.format(password=DATABASE_PASSWORD))
        self.begin([program("slapd"), "-f", f"{self.folder}/slapd.conf", "-h", f"ldap://127.0.0.1:{self.port}", "-d", "0"])

    def remaining(self):
        return str(run([program("slapcat"), "-f", f"{self.folder}/slapd.conf"]).count("dn: uid="))

    def environment(self):
        return {"DATABASE_PASSWORD": DATABASE_PASSWORD}

    def common(self):
        return (
            f'kind = "ldap"\nurl = "ldap://localhost:{self.port}"\nstarttls = true\n'
            f'ca_file = "{self.folder}/certificate.pem"\n'
            'group_base = "ou=groups,dc=example,dc=org"\ntenant_attribute = "o"\nattributes = ["site=l"]\n'
        )

    def section(self):
        return self.common() + (
            'bind_dn = "cn=searcher,dc=example,dc=org"\nbind_password = "${DATABASE_PASSWORD}"\n'
            'base = "ou=people,dc=example,dc=org"\n'
        )


class SlapdByName(Slapd):
    """Binds as the user, whose entry's name follows from its own, without TLS on this machine."""

    name = "ldap-by-name"
    secrets = []

    def section(self):
        plain = self.common().replace("starttls = true\n", "")
        return plain + 'user_dn = "uid={username},ou=people,dc=example,dc=org"\n'


SERVERS = [Postgres, Slapd, SlapdByName, MariaDb, Redis, Sqlite]
