/* Numbers and names every call by which a process changes a directory, and kills the process at one of them.

   Preloaded (LD_PRELOAD) it stands between a program and the C library, so it also sees what SQLite does. It does nothing
   until `crash_arm` is called. A point is a call, the path that it is about and how often that came before:

       fsync broodline.db.files/digits/staging/000002.1/weights #1

   so it has the same name in every run, whichever thread comes first. What has been flushed is copied aside, so that a test
   can put together what would be left if the power failed. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONGEST 4608
#define NAMES 16384

enum moment { NEVER, BEFORE, WITHIN, AFTER };

static char root[LONGEST], flushed[LONGEST], wanted[LONGEST];
static enum moment when;
static int armed, trace = -1;
static struct { char *name; int count; } seen[NAMES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Names the points of this process from now on, and dies at one of them.

   root_: only calls about what is beneath it count.  trace_: the file that names are appended to, or NULL.
   flushed_: the directory for copies of what is flushed, or NULL.  wanted_, when_: where to die, or NULL and NEVER. */
void crash_arm(const char *root_, const char *trace_, const char *flushed_, const char *wanted_, int when_) {
    snprintf(root, sizeof root, "%s", root_);
    snprintf(flushed, sizeof flushed, "%s", flushed_ ? flushed_ : "");
    snprintf(wanted, sizeof wanted, "%s", wanted_ ? wanted_ : "");
    when = wanted_ ? (enum moment)when_ : NEVER;
    trace = trace_ ? (int)syscall(SYS_openat, AT_FDCWD, trace_, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    armed = 1;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Writes the path of what `path`, relative to an open directory, names; 0 if it is not beneath the root. */
static int beneath_at(int directory, const char *path, char *relative) {
    char whole[2 * LONGEST], link[64];
    size_t length = 0;
    if (!armed)
        return 0;
    if (path[0] != '/') {
        ssize_t got;
        snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
        got = readlink(link, whole, LONGEST - 1);
        if (got < 0)
            return 0;
        whole[got] = 0;
        length = (size_t)got;
        if (path[0])
            whole[length++] = '/';
    }
    snprintf(whole + length, sizeof whole - length, "%s", path);
    length = strlen(root);
    if (strncmp(whole, root, length) || (whole[length] != '/' && whole[length] != 0))
        return 0;
    snprintf(relative, LONGEST, "%s", whole[length] ? whole + length + 1 : ".");
    return 1;
}

static int beneath(int descriptor, char *relative) { return beneath_at(descriptor, "", relative); }

/* Sessions are random, HOST@ and 32 digits: each is called SESSION. */
static void without_sessions(char *path) {
    for (char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t length = strcspn(part, "/");
        if (length >= 32 && strspn(part + length - 32, "0123456789abcdef") >= 32) {
            memcpy(part, "SESSION", 7);
            memmove(part + 7, part + length, strlen(part + length) + 1);
        }
    }
}

/* How often a name has come, this time included. */
static int counted(const char *name) {
    unsigned long place = 5381;
    int count;
    for (const char *c = name; *c; c++)
        place = place * 33 + (unsigned char)*c;
    pthread_mutex_lock(&lock);
    for (place %= NAMES; seen[place].name && strcmp(seen[place].name, name); place = (place + 1) % NAMES)
        ;
    if (!seen[place].name)
        seen[place].name = strdup(name);
    count = ++seen[place].count;
    pthread_mutex_unlock(&lock);
    return count;
}

/* Comes to a point, and dies if it is to die before it; returns what is to be done in or after it. */
static enum moment come_to(const char *call, char *path) {
    char name[2 * LONGEST];
    int length, number;
    without_sessions(path);
    length = snprintf(name, sizeof name, "%s %s", call, path);
    number = counted(name);
    length += snprintf(name + length, sizeof name - length, " #%d", number);
    if (trace >= 0) {
        name[length] = '\n';
        syscall(SYS_write, trace, name, length + 1);
        name[length] = 0;
    }
    if (when == NEVER || strcmp(name, wanted))
        return NEVER;
    if (when == BEFORE)
        die();
    return when;
}

#define POINT(call, is_beneath, act)                                        \
    do {                                                                    \
        char relative[LONGEST];                                             \
        int error, counts = (is_beneath);                                   \
        enum moment then = counts ? come_to(call, relative) : NEVER;        \
        __typeof__(act) result = act;                                       \
        error = errno;                                                      \
        if (then == AFTER)                                                  \
            die();                                                          \
        errno = error;                                                      \
        return result;                                                      \
    } while (0)

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What is written. A write can be torn: half of it arrives. */

ssize_t write(int fd, const void *data, size_t size) {
    char relative[LONGEST];
    enum moment then = beneath(fd, relative) ? come_to("write", relative) : NEVER;
    ssize_t written = syscall(SYS_write, fd, data, then == WITHIN ? size / 2 : size);
    if (then != NEVER)
        die();
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    char relative[LONGEST];
    enum moment then = beneath(fd, relative) ? come_to("write", relative) : NEVER;
    ssize_t written = syscall(SYS_pwrite64, fd, data, then == WITHIN ? size / 2 : size, offset);
    if (then != NEVER)
        die();
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) { POINT("write", beneath(fd, relative), REAL(writev)(fd, parts, count)); }

int ftruncate64(int fd, off64_t size) { POINT("truncate", beneath(fd, relative), REAL(ftruncate64)(fd, size)); }

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Files and directories that come and go. */

static int changes(int flags) { return flags & (O_CREAT | O_TRUNC); }

static int opened(int directory, const char *path, int flags, mode_t mode) {
    POINT("open", changes(flags) && beneath_at(directory, path, relative), (int)syscall(SYS_openat, directory, path, flags, mode));
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

#define OPEN(name, large)                                       \
    int name(const char *path, int flags, ...) {                \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = mode_of(flags, rest);                     \
        va_end(rest);                                           \
        return opened(AT_FDCWD, path, flags | large, mode);     \
    }
#define OPENAT(name, large)                                     \
    int name(int directory, const char *path, int flags, ...) { \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = mode_of(flags, rest);                     \
        va_end(rest);                                           \
        return opened(directory, path, flags | large, mode);    \
    }
OPEN(open, 0)
OPEN(open64, O_LARGEFILE)
OPENAT(openat, 0)
OPENAT(openat64, O_LARGEFILE)

int rename(const char *from, const char *to) { POINT("rename", beneath_at(AT_FDCWD, from, relative), REAL(rename)(from, to)); }

int renameat(int one, const char *from, int other, const char *to) {
    POINT("rename", beneath_at(one, from, relative), REAL(renameat)(one, from, other, to));
}

int link(const char *from, const char *to) { POINT("link", beneath_at(AT_FDCWD, to, relative), REAL(link)(from, to)); }

int unlink(const char *path) { POINT("unlink", beneath_at(AT_FDCWD, path, relative), REAL(unlink)(path)); }

int unlinkat(int directory, const char *path, int flags) {
    POINT(flags & AT_REMOVEDIR ? "rmdir" : "unlink", beneath_at(directory, path, relative), REAL(unlinkat)(directory, path, flags));
}

int rmdir(const char *path) { POINT("rmdir", beneath_at(AT_FDCWD, path, relative), REAL(rmdir)(path)); }

int mkdir(const char *path, mode_t mode) { POINT("mkdir", beneath_at(AT_FDCWD, path, relative), REAL(mkdir)(path, mode)); }

int mkdirat(int directory, const char *path, mode_t mode) {
    POINT("mkdir", beneath_at(directory, path, relative), REAL(mkdirat)(directory, path, mode));
}

int flock(int fd, int operation) { POINT("flock", beneath(fd, relative), REAL(flock)(fd, operation)); }

/* Flushes. What is flushed is copied to `flushed`, under the number of the file and the time of its birth: numbers are used again. */

static int key_of(int directory, const char *name, char *key, int size, unsigned *kind) {
    struct statx told;
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(directory, name, flags, STATX_TYPE | STATX_INO | STATX_BTIME, &told))
        return -1;
    *kind = told.stx_mode & S_IFMT;
    snprintf(key, size, "%llu.%lld.%u", (unsigned long long)told.stx_ino, (long long)told.stx_btime.tv_sec, told.stx_btime.tv_nsec);
    return 0;
}

/* The key of what a path names, for tests. */
int crash_key(const char *path, char *key, int size) {
    unsigned kind;
    return key_of(AT_FDCWD, path, key, size, &kind);
}

static void copy_file(int from, int to) {
    char data[65536];
    off64_t at = 0;
    for (ssize_t got; (got = syscall(SYS_pread64, from, data, sizeof data, at)) > 0; at += got)
        syscall(SYS_write, to, data, (size_t)got);
}

static void copy_names(const char *path, int to) {
    char line[LONGEST], key[96];
    unsigned kind;
    DIR *open = opendir(path);
    for (struct dirent *each; open && (each = readdir(open));)
        if (strcmp(each->d_name, ".") && strcmp(each->d_name, "..") && !key_of(dirfd(open), each->d_name, key, sizeof key, &kind))
            syscall(SYS_write, to, line, (size_t)snprintf(line, sizeof line, "%c %s %s\n", kind == S_IFDIR ? 'd' : 'f', key, each->d_name));
    if (open)
        closedir(open);
}

static void keep_flushed(int fd) {
    static int copies;
    char key[96], path[2 * LONGEST], beside[2 * LONGEST + 16], self[64];
    unsigned kind;
    int from, to;
    if (!*flushed || key_of(fd, "", key, sizeof key, &kind))
        return;
    snprintf(path, sizeof path, "%s/%s", flushed, key);
    snprintf(beside, sizeof beside, "%s.%d~", path, __sync_fetch_and_add(&copies, 1));
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    to = (int)syscall(SYS_openat, AT_FDCWD, beside, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (kind == S_IFDIR)
        copy_names(self, to);
    else if ((from = (int)syscall(SYS_openat, AT_FDCWD, self, O_RDONLY)) >= 0) {
        copy_file(from, to);
        syscall(SYS_close, from);
    }
    syscall(SYS_close, to);
    syscall(SYS_renameat2, AT_FDCWD, beside, AT_FDCWD, path, 0);
}

static int flush(int fd, long number) {
    char relative[LONGEST];
    int counts = beneath(fd, relative), failed;
    enum moment then = counts ? come_to("fsync", relative) : NEVER;
    failed = (int)syscall(number, fd);
    if (counts && !failed)
        keep_flushed(fd);
    if (then == AFTER)
        die();
    return failed;
}

int fsync(int fd) { return flush(fd, SYS_fsync); }

int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }
