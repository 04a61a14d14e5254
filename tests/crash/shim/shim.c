// Stands between a store and its files (LD_PRELOAD), for the campaigns in ../src alone.
//
// What: records every change to files under RC_SHIM_DIR, and every sync, in the order they happened, into RC_SHIM_LOG;
// and makes calls fail while the byte in RC_SHIM_CONTROL says so. Why: only what happens between a store and the kernel
// tells what a power cut may leave. How: one lock is held over the call and its record, so that the order is the
// true one. What the process writes to its standard output is recorded too: these are its acknowledgements.
//
// A record: kind, then three numbers of eight bytes (file, offset, length of data), then the data.
//   O path (offset: 1 made, 2 emptied)  W data  T (offset: new size)  S sync  D path of a synced directory
//   R from\0to  L from\0to  U path  M path  V path  A standard output  X what this shim does not know how to record
// A file is its inode's number. Control: 1 no space for new blocks, 2 no space for any write, 3 EIO on writes and
// syncs, 4 EIO on syncs. RC_SHIM_NOSYNC: syncs are not recorded, as if the store made none (to see the check fail).
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX];
static size_t dir_len;
static int log_fd = -1;
static int no_sync;
static volatile unsigned char *control;
static uint64_t known[65536]; // inode numbers under dir
static size_t known_count;

#define REAL(name) ({ static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); real; })

__attribute__((constructor)) static void start(void) {
    const char *d = getenv("RC_SHIM_DIR"), *l = getenv("RC_SHIM_LOG"), *c = getenv("RC_SHIM_CONTROL");
    no_sync = getenv("RC_SHIM_NOSYNC") != NULL;
    if (!d) return;
    snprintf(dir, sizeof dir, "%s", d);
    dir_len = strlen(dir);
    if (l) log_fd = syscall(SYS_openat, AT_FDCWD, l, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (c) {
        int fd = syscall(SYS_openat, AT_FDCWD, c, O_RDWR | O_CLOEXEC, 0);
        if (fd >= 0) {
            void *at = REAL(mmap)(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
            if (at != MAP_FAILED) control = at;
            syscall(SYS_close, fd);
        }
    }
}

static void put(const void *data, size_t len) {
    while (len > 0) {
        long n = syscall(SYS_write, log_fd, data, len);
        if (n <= 0) abort();
        data = (const char *)data + n;
        len -= (size_t)n;
    }
}

static void record(char kind, uint64_t file, uint64_t offset, const void *data, size_t len) {
    if (log_fd < 0) return;
    int saved = errno;
    unsigned char head[25] = {(unsigned char)kind};
    uint64_t length = len;
    memcpy(head + 1, &file, 8);
    memcpy(head + 9, &offset, 8);
    memcpy(head + 17, &length, 8);
    put(head, sizeof head);
    put(data, len);
    errno = saved;
}

static void record_two(char kind, const char *from, const char *to) {
    char both[2 * PATH_MAX];
    size_t a = strlen(from) + 1, b = strlen(to);
    memcpy(both, from, a);
    memcpy(both + a, to, b);
    record(kind, 0, 0, both, a + b);
}

static int under(const char *path) { return dir_len && strncmp(path, dir, dir_len) == 0; }

// The absolute path, without following a last link.
static const char *absolute(int at, const char *path, char *buffer) {
    if (path[0] == '/') return path;
    char link[64], base[PATH_MAX];
    ssize_t n;
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return path;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        if ((n = readlink(link, base, sizeof base - 1)) < 0) return path;
        base[n] = 0;
    }
    snprintf(buffer, PATH_MAX, "%s/%s", base, path);
    return buffer;
}

static int is_known(uint64_t ino) {
    for (size_t i = 0; i < known_count; i++)
        if (known[i] == ino) return 1;
    return 0;
}

// Whether it is a file under dir; then `state` is filled.
static int watched(int fd, struct stat *state) {
    return dir_len && fd != log_fd && fstat(fd, state) == 0 && S_ISREG(state->st_mode) && is_known(state->st_ino);
}

static int fault(void) { return control ? *control : 0; }

// How many of `len` bytes at `offset` may be written; -1 with errno when none.
static ssize_t allowed(int fd, const struct stat *state, off_t offset, size_t len) {
    switch (fault()) {
    case 1: {
        off_t here = lseek(fd, 0, SEEK_CUR), hole = offset;
        if (offset < state->st_size && lseek(fd, offset, SEEK_DATA) == offset) hole = lseek(fd, offset, SEEK_HOLE);
        lseek(fd, here, SEEK_SET);
        if (hole > offset) return (size_t)(hole - offset) < len ? hole - offset : (ssize_t)len;
        errno = ENOSPC;
        return -1;
    }
    case 2: errno = ENOSPC; return -1;
    case 3: errno = EIO; return -1;
    default: return (ssize_t)len;
    }
}

static int open_at(int at, const char *given, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *path = absolute(at, given, buffer);
    if (!under(path)) return (int)syscall(SYS_openat, at, given, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat state;
    int there = stat(path, &state) == 0;
    int fd;
    if (!there && (flags & O_CREAT) && (fault() == 1 || fault() == 2 || fault() == 3)) {
        errno = fault() == 3 ? EIO : ENOSPC;
        fd = -1;
    } else {
        fd = (int)syscall(SYS_openat, at, given, flags, mode);
    }
    int saved = errno;
    if (fd >= 0 && fstat(fd, &state) == 0 && S_ISREG(state.st_mode)) {
        if (!is_known(state.st_ino)) {
            if (known_count == sizeof known / sizeof *known) abort();
            known[known_count++] = state.st_ino;
        }
        record('O', state.st_ino, there ? (flags & O_TRUNC ? 2 : 0) : 1, path, strlen(path));
    }
    errno = saved;
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) ({ mode_t m = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, flags); m = va_arg(a, mode_t); va_end(a); } m; })
int open(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags, MODE(flags)); }
int open64(const char *path, int flags, ...) { return open_at(AT_FDCWD, path, flags | O_LARGEFILE, MODE(flags)); }
int openat(int at, const char *path, int flags, ...) { return open_at(at, path, flags, MODE(flags)); }
int openat64(int at, const char *path, int flags, ...) { return open_at(at, path, flags | O_LARGEFILE, MODE(flags)); }
int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static ssize_t write_at(int fd, const void *data, size_t len, off_t offset, int positioned) {
    struct stat state;
    if (fd == 1 && !positioned && dir_len) {
        // Recorded first: whoever reads it knows that it happened.
        pthread_mutex_lock(&lock);
        record('A', 0, 0, data, len);
        ssize_t n = syscall(SYS_write, fd, data, len);
        pthread_mutex_unlock(&lock);
        return n;
    }
    if (!watched(fd, &state))
        return positioned ? syscall(SYS_pwrite64, fd, data, len, offset) : syscall(SYS_write, fd, data, len);
    pthread_mutex_lock(&lock);
    fstat(fd, &state);
    if (!positioned) offset = fcntl(fd, F_GETFL) & O_APPEND ? state.st_size : lseek(fd, 0, SEEK_CUR);
    ssize_t n = allowed(fd, &state, offset, len);
    if (n >= 0) {
        n = positioned ? syscall(SYS_pwrite64, fd, data, (size_t)n, offset) : syscall(SYS_write, fd, data, (size_t)n);
        if (n > 0) record('W', state.st_ino, (uint64_t)offset, data, (size_t)n);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return n;
}

ssize_t write(int fd, const void *data, size_t len) { return write_at(fd, data, len, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) { return write_at(fd, data, len, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) { return write_at(fd, data, len, offset, 1); }

// The first part only: callers go on with the rest.
ssize_t writev(int fd, const struct iovec *parts, int count) {
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write_at(fd, parts[i].iov_base, parts[i].iov_len, 0, 0);
    return 0;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    for (int i = 0; i < count; i++)
        if (parts[i].iov_len) return write_at(fd, parts[i].iov_base, parts[i].iov_len, offset, 1);
    return 0;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }

int ftruncate(int fd, off_t size) {
    struct stat state;
    if (!watched(fd, &state)) return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int result;
    if (fault() == 3 || (fault() == 2 && size > state.st_size)) {
        errno = fault() == 3 ? EIO : ENOSPC;
        result = -1;
    } else {
        result = (int)syscall(SYS_ftruncate, fd, size);
        if (result == 0) record('T', state.st_ino, (uint64_t)size, "", 0);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int truncate(const char *path, off_t size) {
    int fd = open_at(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int result = ftruncate(fd, size);
    close(fd);
    return result;
}
int truncate64(const char *path, off64_t size) { return truncate(path, size); }

static int sync_file(int fd, long call) {
    struct stat state;
    if (!dir_len || fstat(fd, &state) != 0) return (int)syscall(call, fd);
    char link[64], path[PATH_MAX];
    int is_dir = S_ISDIR(state.st_mode);
    if (is_dir) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n < 0 ? 0 : n] = 0;
    }
    if (!(is_dir ? under(path) || strncmp(dir, path, strlen(path)) == 0 : watched(fd, &state)))
        return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    int result = 0;
    if (fault() == 3 || fault() == 4) {
        errno = EIO;
        result = -1;
    } else if (!no_sync) {
        // The record is the sync: what holds these files is memory.
        record(is_dir ? 'D' : 'S', state.st_ino, 0, path, is_dir ? strlen(path) : 0);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

// Promises nothing after a power cut (see its manual page), so it is no sync.
int sync_file_range(int fd, off64_t offset, off64_t len, unsigned flags) {
    if (fault() == 3 || fault() == 4) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_sync_file_range, fd, offset, len, flags);
}

static int renamed(char kind, int from_at, const char *from, int to_at, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    const char *source = absolute(from_at, from, a), *target = absolute(to_at, to, b);
    int mine = under(source) || under(target);
    pthread_mutex_lock(&lock);
    int result;
    if (mine && (fault() == 2 || fault() == 3)) {
        errno = fault() == 3 ? EIO : ENOSPC;
        result = -1;
    } else {
        result = (int)(kind == 'R' ? syscall(SYS_renameat2, from_at, from, to_at, to, flags)
                                   : syscall(SYS_linkat, from_at, from, to_at, to, flags));
        if (mine && result == 0) record_two(flags && kind == 'R' ? 'X' : kind, source, target);
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int rename(const char *from, const char *to) { return renamed('R', AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed('R', a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed('R', a, from, b, to, (int)flags); }
int link(const char *from, const char *to) { return renamed('L', AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return renamed('L', a, from, b, to, flags); }

static int named(char kind, int at, const char *given, long call, int last) {
    char buffer[PATH_MAX];
    const char *path = absolute(at, given, buffer);
    pthread_mutex_lock(&lock);
    int result;
    if (under(path) && kind == 'M' && fault() >= 1 && fault() <= 3) {
        errno = fault() == 3 ? EIO : ENOSPC;
        result = -1;
    } else {
        result = (int)syscall(call, at, given, last);
        if (result == 0 && under(path)) record(kind, 0, 0, path, strlen(path));
    }
    int saved = errno;
    pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}
int unlink(const char *path) { return named('U', AT_FDCWD, path, SYS_unlinkat, 0); }
int unlinkat(int at, const char *path, int flags) { return named(flags & AT_REMOVEDIR ? 'V' : 'U', at, path, SYS_unlinkat, flags); }
int rmdir(const char *path) { return named('V', AT_FDCWD, path, SYS_unlinkat, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return named('M', AT_FDCWD, path, SYS_mkdirat, (int)mode); }
int mkdirat(int at, const char *path, mode_t mode) { return named('M', at, path, SYS_mkdirat, (int)mode); }

int fallocate(int fd, int mode, off_t offset, off_t len) {
    struct stat state;
    if (!watched(fd, &state)) return (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (fault() >= 1 && fault() <= 3) {
        errno = fault() == 3 ? EIO : ENOSPC;
        return -1;
    }
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_fallocate, fd, mode, offset, len);
    if (result == 0 && mode != 0) record('X', state.st_ino, 0, "fallocate", 9);
    else if (result == 0 && offset + len > state.st_size) record('T', state.st_ino, (uint64_t)(offset + len), "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int fallocate64(int fd, int mode, off64_t offset, off64_t len) { return fallocate(fd, mode, offset, len); }
int posix_fallocate(int fd, off_t offset, off_t len) { return fallocate(fd, 0, offset, len) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t offset, off64_t len) { return posix_fallocate(fd, offset, len); }

// What would change files unseen. SQLite's index of its log (-shm) is mapped, and made anew after a crash.
void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset) {
    struct stat state;
    if (fd >= 0 && (flags & MAP_SHARED) && (prot & PROT_WRITE) && watched(fd, &state))
        record('X', state.st_ino, 0, "mmap", 4);
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, offset);
}
void *mmap64(void *at, size_t len, int prot, int flags, int fd, off64_t offset) { return mmap(at, len, prot, flags, fd, offset); }

ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len, unsigned flags) {
    struct stat state;
    if (watched(out, &state)) {
        errno = EXDEV; // callers fall back to reading and writing
        return -1;
    }
    return syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags);
}
ssize_t sendfile(int out, int in, off_t *offset, size_t len) {
    struct stat state;
    if (watched(out, &state)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_sendfile, out, in, offset, len);
}
