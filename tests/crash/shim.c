/* Loaded into the broker before its C library (LD_PRELOAD): writes down what it does to the files below one directory, and
 * lets syncs and writes fail.
 *
 *   CRASH_DIRECTORY  the directory; everything outside is left alone
 *   CRASH_LOG        where records are appended; none if it is not set
 *   CRASH_FAULT      a file which, while it exists, holds `sync ERRNO` or `write ERRNO`: such calls then fail; with
 *                    `hang 1` syncs do not come back
 *
 * A record is a `struct record` followed by `path_bytes` of path, `other_bytes` of a second path and `data_bytes` of data. It is written when the
 * call has returned. Memory-mapped files are not seen: of SQLite that is the -shm file, which is made anew at each start.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum operation { OPEN = 1, WRITE, TRUNCATE, ALLOCATE, SYNC, SYNC_DIRECTORY, RENAME, UNLINK, MAKE_DIRECTORY, REMOVE_DIRECTORY, UNKNOWN };

struct record {
    uint32_t mark;
    uint32_t operation;
    uint32_t process;
    uint32_t file;
    uint64_t before;
    uint64_t after;
    uint64_t offset;
    uint32_t flag;
    uint32_t path_bytes;
    uint32_t other_bytes;
    uint32_t data_bytes;
};

#define MARK 0x4d494853u
#define FDS 65536
#define FLAG_CREATED 1u
#define FLAG_TRUNCATED 2u

static char directory[PATH_MAX];
static size_t directory_bytes;
static const char *fault_path;
static int log_fd = -1;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
/* The number of the open file behind each descriptor, 0 for none of ours; -1 for a directory of ours. */
static volatile int files[FDS];
static char *directories[FDS];
static int file_count;

#define REAL(result, name, ...) \
    static result (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static ssize_t write_really(int fd, const void *data, size_t bytes) {
    REAL(ssize_t, write, int, const void *, size_t);
    return real_write(fd, data, bytes);
}

static void append(const void *data, size_t bytes) {
    const char *from = data;
    while (bytes > 0) {
        ssize_t written = write_really(log_fd, from, bytes);
        if (written < 0) {
            if (errno == EINTR) continue;
            fprintf(stderr, "crash shim: cannot write its log: %s\n", strerror(errno));
            abort();
        }
        from += written;
        bytes -= (size_t)written;
    }
}

static void record(enum operation operation, int file, uint64_t before, uint64_t offset, uint32_t flag, const char *path,
                   const char *other, const void *data, size_t data_bytes) {
    if (log_fd < 0) return;
    int saved = errno;
    struct record record = {
        .mark = MARK, .operation = operation, .process = (uint32_t)getpid(), .file = (uint32_t)file, .before = before,
        .after = now(), .offset = offset, .flag = flag, .path_bytes = path ? (uint32_t)strlen(path) : 0,
        .other_bytes = other ? (uint32_t)strlen(other) : 0, .data_bytes = (uint32_t)data_bytes,
    };
    pthread_mutex_lock(&log_lock);
    append(&record, sizeof record);
    if (path) append(path, record.path_bytes);
    if (other) append(other, record.other_bytes);
    if (data_bytes) append(data, data_bytes);
    pthread_mutex_unlock(&log_lock);
    errno = saved;
}

/* The path below the directory, or NULL if it is elsewhere. `buffer` has PATH_MAX bytes. */
static const char *ours(int at, const char *path, char *buffer) {
    if (!directory_bytes || !path) return NULL;
    char whole[2 * PATH_MAX];
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else if (at >= 0 && at < FDS && directories[at]) {
        snprintf(whole, sizeof whole, "%s/%s/%s", directory, directories[at], path);
    } else if (at == AT_FDCWD) {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return NULL;
        snprintf(whole, sizeof whole, "%s/%s", here, path);
    } else {
        return NULL;
    }
    if (strncmp(whole, directory, directory_bytes) != 0) return NULL;
    if (whole[directory_bytes] != '/' && whole[directory_bytes] != '\0') return NULL;
    /* Without repeated and trailing slashes and without `.`. */
    size_t used = 0;
    for (char *save = NULL, *part = strtok_r(whole + directory_bytes, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (strcmp(part, ".") == 0) continue;
        used += (size_t)snprintf(buffer + used, PATH_MAX - used, used ? "/%s" : "%s", part);
        if (used >= PATH_MAX) return NULL;
    }
    buffer[used] = '\0';
    return buffer;
}

/* The errno with which a call of that kind is to fail now, or 0. */
static int fault(const char *kind) {
    if (!fault_path || access(fault_path, F_OK) != 0) return 0;
    FILE *file = fopen(fault_path, "re");
    if (!file) return 0;
    char word[16] = "";
    int number = 0;
    int read = fscanf(file, "%15s %d", word, &number);
    fclose(file);
    return read == 2 && strcmp(word, kind) == 0 ? number : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *wanted = getenv("CRASH_DIRECTORY");
    if (!wanted) return;
    const char *path = getenv("CRASH_LOG");
    if (path) {
        log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) {
            fprintf(stderr, "crash shim: cannot open %s: %s\n", path, strerror(errno));
            abort();
        }
    }
    fault_path = getenv("CRASH_FAULT");
    snprintf(directory, sizeof directory, "%s", wanted);
    directory_bytes = strlen(directory);
}

static int tracked(int fd) {
    return fd >= 0 && fd < FDS ? files[fd] : 0;
}

static int opened(int fd, int at, const char *path, int flags, int existed, uint64_t before) {
    char buffer[PATH_MAX];
    if (fd < 0 || fd >= FDS) return fd;
    const char *name = ours(at, path, buffer);
    files[fd] = 0;
    if (!name) return fd;
    struct stat status;
    if (fstat(fd, &status) != 0) return fd;
    if (S_ISDIR(status.st_mode)) {
        free(directories[fd]);
        directories[fd] = strdup(name);
        files[fd] = -1;
        return fd;
    }
    int file = __sync_add_and_fetch(&file_count, 1);
    files[fd] = file;
    uint32_t flag = (existed ? 0 : FLAG_CREATED) | ((flags & O_TRUNC) ? FLAG_TRUNCATED : 0);
    record(OPEN, file, before, 0, flag, name, NULL, NULL, 0);
    return fd;
}

static int exists(int at, const char *path) {
    int saved = errno;
    struct stat status;
    int found = fstatat(at, path, &status, AT_SYMLINK_NOFOLLOW) == 0;
    errno = saved;
    return found;
}

#define OPEN_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int existed = exists(at, path); \
        uint64_t before = now(); \
        return opened(real_##name(at, path, flags, mode), at, path, flags, existed, before); \
    }
#define OPEN_PATH(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int existed = exists(AT_FDCWD, path); \
        uint64_t before = now(); \
        return opened(real_##name(path, flags, mode), AT_FDCWD, path, flags, existed, before); \
    }
OPEN_PATH(open)
OPEN_PATH(open64)
OPEN_AT(openat)
OPEN_AT(openat64)

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < FDS && files[fd]) {
        files[fd] = 0;
        free(directories[fd]);
        directories[fd] = NULL;
    }
    return real_close(fd);
}

static int copied(int from, int to) {
    if (to >= 0 && to < FDS && from >= 0 && from < FDS) {
        files[to] = files[from];
        directories[to] = directories[from] ? strdup(directories[from]) : NULL;
    }
    return to;
}

int dup(int fd) {
    REAL(int, dup, int);
    return copied(fd, real_dup(fd));
}

int dup2(int fd, int to) {
    REAL(int, dup2, int, int);
    return copied(fd, real_dup2(fd, to));
}

int dup3(int fd, int to, int flags) {
    REAL(int, dup3, int, int, int);
    return copied(fd, real_dup3(fd, to, flags));
}

#define FCNTL(name) \
    int name(int fd, int command, ...) { \
        REAL(int, name, int, int, ...); \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        int result = real_##name(fd, command, argument); \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, result) : result; \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* What a write that is not positioned will write to. */
static uint64_t position(int fd) {
    int saved = errno;
    struct stat status;
    REAL(int, fcntl, int, int, ...);
    int flags = real_fcntl(fd, F_GETFL);
    uint64_t at = (flags & O_APPEND) && fstat(fd, &status) == 0 ? (uint64_t)status.st_size : (uint64_t)lseek(fd, 0, SEEK_CUR);
    errno = saved;
    return at;
}

#define FAIL(kind) \
    do { \
        int wrong = fault(kind); \
        if (wrong) { \
            errno = wrong; \
            return -1; \
        } \
    } while (0)

ssize_t write(int fd, const void *data, size_t bytes) {
    int file = tracked(fd);
    if (file <= 0) return write_really(fd, data, bytes);
    FAIL("write");
    uint64_t offset = position(fd), before = now();
    ssize_t written = write_really(fd, data, bytes);
    if (written > 0) record(WRITE, file, before, offset, 0, NULL, NULL, data, (size_t)written);
    return written;
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t bytes, offset_type offset) { \
        REAL(ssize_t, name, int, const void *, size_t, offset_type); \
        int file = tracked(fd); \
        if (file <= 0) return real_##name(fd, data, bytes, offset); \
        FAIL("write"); \
        uint64_t before = now(); \
        ssize_t written = real_##name(fd, data, bytes, offset); \
        if (written > 0) record(WRITE, file, before, (uint64_t)offset, 0, NULL, NULL, data, (size_t)written); \
        return written; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

static void record_parts(int file, uint64_t before, uint64_t offset, const struct iovec *parts, int count, ssize_t written) {
    size_t left = written > 0 ? (size_t)written : 0;
    for (int part = 0; part < count && left > 0; part++) {
        size_t bytes = parts[part].iov_len < left ? parts[part].iov_len : left;
        if (bytes) record(WRITE, file, before, offset, 0, NULL, NULL, parts[part].iov_base, bytes);
        offset += bytes;
        left -= bytes;
    }
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    int file = tracked(fd);
    if (file <= 0) return real_writev(fd, parts, count);
    FAIL("write");
    uint64_t offset = position(fd), before = now();
    ssize_t written = real_writev(fd, parts, count);
    record_parts(file, before, offset, parts, count, written);
    return written;
}

#define PWRITEV(name, offset_type) \
    ssize_t name(int fd, const struct iovec *parts, int count, offset_type offset) { \
        REAL(ssize_t, name, int, const struct iovec *, int, offset_type); \
        int file = tracked(fd); \
        if (file <= 0) return real_##name(fd, parts, count, offset); \
        FAIL("write"); \
        uint64_t before = now(); \
        ssize_t written = real_##name(fd, parts, count, offset); \
        record_parts(file, before, (uint64_t)offset, parts, count, written); \
        return written; \
    }
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define TRUNCATE_FD(name, offset_type) \
    int name(int fd, offset_type length) { \
        REAL(int, name, int, offset_type); \
        int file = tracked(fd); \
        uint64_t before = now(); \
        int result = real_##name(fd, length); \
        if (file > 0 && result == 0) record(TRUNCATE, file, before, (uint64_t)length, 0, NULL, NULL, NULL, 0); \
        return result; \
    }
TRUNCATE_FD(ftruncate, off_t)
TRUNCATE_FD(ftruncate64, off64_t)

/* Only the form that gives room: a hole that is punched is none that anybody here makes. */
#define ALLOCATE_FD(name, offset_type) \
    int name(int fd, int mode, offset_type offset, offset_type length) { \
        REAL(int, name, int, int, offset_type, offset_type); \
        int file = tracked(fd); \
        if (file > 0) FAIL("write"); \
        uint64_t before = now(); \
        int result = real_##name(fd, mode, offset, length); \
        if (file > 0 && result == 0 && mode == 0) \
            record(ALLOCATE, file, before, (uint64_t)(offset + length), 0, NULL, NULL, NULL, 0); \
        else if (file > 0 && result == 0 && mode != FALLOC_FL_KEEP_SIZE) \
            record(UNKNOWN, file, before, 0, 0, #name, NULL, NULL, 0); \
        return result; \
    }
ALLOCATE_FD(fallocate, off_t)
ALLOCATE_FD(fallocate64, off64_t)

#define POSIX_ALLOCATE(name, offset_type) \
    int name(int fd, offset_type offset, offset_type length) { \
        REAL(int, name, int, offset_type, offset_type); \
        int file = tracked(fd); \
        int wrong = file > 0 ? fault("write") : 0; \
        if (wrong) return wrong; \
        uint64_t before = now(); \
        int result = real_##name(fd, offset, length); \
        if (file > 0 && result == 0) \
            record(ALLOCATE, file, before, (uint64_t)(offset + length), 0, NULL, NULL, NULL, 0); \
        return result; \
    }
POSIX_ALLOCATE(posix_fallocate, off_t)
POSIX_ALLOCATE(posix_fallocate64, off64_t)

#define SYNC_FD(name) \
    int name(int fd) { \
        REAL(int, name, int); \
        int file = tracked(fd); \
        if (file) FAIL("sync"); \
        while (file && fault("hang")) pause(); \
        uint64_t before = now(); \
        int result = real_##name(fd); \
        if (file > 0 && result == 0) record(SYNC, file, before, 0, 0, NULL, NULL, NULL, 0); \
        if (file < 0 && result == 0) record(SYNC_DIRECTORY, 0, before, 0, 0, directories[fd], NULL, NULL, 0); \
        return result; \
    }
SYNC_FD(fsync)
SYNC_FD(fdatasync)

static int renamed(int result, int at, const char *from, int to_at, const char *to, uint64_t before) {
    char first[PATH_MAX], second[PATH_MAX];
    if (result != 0) return result;
    const char *old = ours(at, from, first), *new = ours(to_at, to, second);
    if (old && new) record(RENAME, 0, before, 0, 0, old, new, NULL, 0);
    else if (old || new) record(UNKNOWN, 0, before, 0, 0, "rename across the directory", NULL, NULL, 0);
    return result;
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    uint64_t before = now();
    return renamed(real_rename(from, to), AT_FDCWD, from, AT_FDCWD, to, before);
}

int renameat(int at, const char *from, int to_at, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    uint64_t before = now();
    return renamed(real_renameat(at, from, to_at, to), at, from, to_at, to, before);
}

int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    uint64_t before = now();
    return renamed(real_renameat2(at, from, to_at, to, flags), at, from, to_at, to, before);
}

static int named(enum operation operation, int result, int at, const char *path, uint64_t before) {
    char buffer[PATH_MAX];
    const char *name = result == 0 ? ours(at, path, buffer) : NULL;
    if (name) record(operation, 0, before, 0, 0, name, NULL, NULL, 0);
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    uint64_t before = now();
    return named(UNLINK, real_unlink(path), AT_FDCWD, path, before);
}

int unlinkat(int at, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    uint64_t before = now();
    return named((flags & AT_REMOVEDIR) ? REMOVE_DIRECTORY : UNLINK, real_unlinkat(at, path, flags), at, path, before);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    uint64_t before = now();
    return named(MAKE_DIRECTORY, real_mkdir(path, mode), AT_FDCWD, path, before);
}

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    uint64_t before = now();
    return named(MAKE_DIRECTORY, real_mkdirat(at, path, mode), at, path, before);
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    uint64_t before = now();
    return named(REMOVE_DIRECTORY, real_rmdir(path), AT_FDCWD, path, before);
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    uint64_t before = now();
    return named(UNKNOWN, real_link(from, to), AT_FDCWD, to, before);
}

/* What would write past the others: whoever reads the log then knows that it is not complete. */
#define COPY(name, ...) \
    if (result > 0 && tracked(to) > 0) record(UNKNOWN, tracked(to), 0, 0, 0, name, NULL, NULL, 0); \
    return result

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t bytes, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    ssize_t result = real_copy_file_range(from, from_at, to, to_at, bytes, flags);
    COPY("copy_file_range");
}

ssize_t sendfile(int to, int from, off_t *at, size_t bytes) {
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    ssize_t result = real_sendfile(to, from, at, bytes);
    COPY("sendfile");
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t bytes) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    ssize_t result = real_sendfile64(to, from, at, bytes);
    COPY("sendfile64");
}
