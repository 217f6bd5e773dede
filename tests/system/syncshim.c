/* Records what a program does to the files below one folder, and what it says to its TCP peers, in one order.
 *
 *     gcc -shared -fPIC -O2 -o syncshim.so syncshim.c -lpthread
 *     env LD_PRELOAD=…/syncshim.so SYNCSHIM_FOLDER=/real/path SYNCSHIM_LOG=/elsewhere/log  program …
 *
 * It stands before the C library's calls and makes the system calls itself (Linux, 64 bits). The log is a row of
 * records, each a `struct head` in the machine's byte order, then a name and then data:
 *
 *     O  a file was opened, or a folder: number = inode, offset = 1 if it was made by this, else 0; name
 *     W  bytes were written to a file:   number = inode, offset, data
 *     T  a file was cut or stretched:    number = inode, offset = its length now
 *     B  a sync begins:                  number = inode of a file or folder, offset = number of this sync
 *     E  that sync has ended well:       the same
 *     U  a name was removed:             name
 *     R  a name was changed:             name, data = the new name
 *     S  bytes were given to a TCP peer: number = inode of the socket, data
 *
 * Names are relative to the folder, which itself is ".". Files named *-shm are left out: they are memory that SQLite
 * shares, and rebuilds.
 *
 * What the order says. A write and a send are done and recorded under one lock. A sync is not, or a send could not
 * overtake it: its E stands in the log some time after the system call returned, and before the program knows. So a
 * send that stands after an E was made after that sync had ended, and what the program sends because a sync
 * ended stands after its E. Nothing here remembers descriptors: what one stands for is asked of the kernel each
 * time, so no way of making them can be missed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(long) == 8, "offsets are passed to the kernel in one register");

struct head {
    uint64_t kind, number, offset, name_size, data_size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char folder[PATH_MAX];
static size_t folder_size;
static uint64_t syncs;

static void give_up(const char *what) {
    fprintf(stderr, "syncshim: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("SYNCSHIM_FOLDER"), *log = getenv("SYNCSHIM_LOG");
    if (!path || !log)
        return;
    folder_size = strlen(path);
    if (folder_size >= sizeof folder)
        give_up("SYNCSHIM_FOLDER");
    memcpy(folder, path, folder_size + 1);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        give_up("SYNCSHIM_LOG");
}

/* Under the lock. A record that is cut short would make nonsense of all behind it. */
static void record(char kind, uint64_t number, uint64_t offset, const char *name, const void *data, size_t size) {
    int before = errno;
    struct head head = {(uint64_t)kind, number, offset, strlen(name), size};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)name, head.name_size}, {(void *)data, size}};
    ssize_t whole = (ssize_t)(sizeof head + head.name_size + size);
    if (syscall(SYS_writev, log_fd, parts, 3L) != whole)
        give_up("the log cannot be written");
    errno = before;
}

/* The part of a path that is below the folder; NULL if it is not below, or of no interest. */
static const char *below(const char *path) {
    if (strncmp(path, folder, folder_size))
        return NULL;
    path += folder_size;
    if (!*path)
        return ".";
    size_t size = strlen(path);
    if (*path != '/' || (size > 4 && !strcmp(path + size - 4, "-shm")))
        return NULL;
    return path + 1;
}

/* Make a path absolute, as far as that goes by its spelling. */
static const char *locate(int dir, const char *path, char *space) {
    if (*path == '/')
        return below(path);
    char link[64];
    if (dir == AT_FDCWD)
        strcpy(link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t size = readlink(link, space, PATH_MAX - 1);
    if (size < 0)
        return NULL;
    space[size] = 0;
    if (size + strlen(path) + 2 > PATH_MAX)
        return NULL;
    space[size] = '/';
    strcpy(space + size + 1, path);
    return below(space);
}

/* What a descriptor stands for: 'f' a file or folder of ours, 's' a TCP connection, 0 anything else. */
static char look(int fd, uint64_t *inode, char *space, const char **name) {
    int before = errno;
    char answer = 0;
    struct stat about;
    if (log_fd < 0 || fstat(fd, &about))
        goto done;
    *inode = about.st_ino;
    if (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, space, PATH_MAX - 1);
        if (size > 0) {
            space[size] = 0;
            if ((*name = below(space)))
                answer = 'f';
        }
    } else if (S_ISSOCK(about.st_mode)) {
        int type = 0, domain = 0;
        socklen_t size = sizeof type;
        if (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) &&
            !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) && type == SOCK_STREAM &&
            (domain == AF_INET || domain == AF_INET6))
            answer = 's';
    }
done:
    errno = before;
    return answer;
}

/* Opening. */

static int open_and_tell(int dir, const char *path, int flags, mode_t mode) {
    char space[PATH_MAX];
    const char *name;
    uint64_t inode;
    struct stat about;
    int before = errno;
    int is_new = (flags & O_CREAT) && log_fd >= 0 && fstatat(dir, path, &about, 0) != 0;
    errno = before;
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && look(fd, &inode, space, &name) == 'f') {
        pthread_mutex_lock(&lock);
        record('O', inode, (uint64_t)is_new, name, NULL, 0);
        if (flags & O_TRUNC)
            record('T', inode, 0, "", NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return fd;
}

static mode_t mode_of(int flags, va_list more) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
}

#define OPEN(name)                                   \
    int name(const char *path, int flags, ...) {     \
        va_list more;                                \
        va_start(more, flags);                       \
        mode_t mode = mode_of(flags, more);          \
        va_end(more);                                \
        return open_and_tell(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT(name)                                      \
    int name(int dir, const char *path, int flags, ...) { \
        va_list more;                                     \
        va_start(more, flags);                            \
        mode_t mode = mode_of(flags, more);               \
        va_end(more);                                     \
        return open_and_tell(dir, path, flags, mode);     \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return open_and_tell(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* What programs call that were compiled with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags) { return open_and_tell(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_and_tell(AT_FDCWD, path, flags, 0); }
int __openat_2(int dir, const char *path, int flags) { return open_and_tell(dir, path, flags, 0); }
int __openat64_2(int dir, const char *path, int flags) { return open_and_tell(dir, path, flags, 0); }

/* Writing and sending. `call` is made under the lock if its order matters; `offset` is -1 where the file knows it. */
#define DO(fd, call, at, data)                                                                            \
    uint64_t inode;                                                                                       \
    char space[PATH_MAX];                                                                                 \
    const char *name = "";                                                                                \
    char what = look(fd, &inode, space, &name);                                                           \
    if (!what)                                                                                            \
        return call;                                                                                      \
    pthread_mutex_lock(&lock);                                                                            \
    ssize_t done = call;                                                                                  \
    if (done > 0) {                                                                                       \
        off_t start = (at);                                                                               \
        if (what == 's')                                                                                  \
            record('S', inode, 0, "", data, (size_t)done);                                                \
        else                                                                                              \
            record('W', inode, (uint64_t)(start < 0 ? lseek(fd, 0, SEEK_CUR) - done : start), "", data, (size_t)done); \
    }                                                                                                     \
    pthread_mutex_unlock(&lock);                                                                          \
    return done

ssize_t write(int fd, const void *data, size_t size) { DO(fd, syscall(SYS_write, fd, data, size), -1, data); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    DO(fd, syscall(SYS_pwrite64, fd, data, size, offset), offset, data);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return pwrite(fd, data, size, offset); }
ssize_t send(int fd, const void *data, size_t size, int flags) {
    DO(fd, syscall(SYS_sendto, fd, data, size, (long)flags, NULL, 0L), -1, data);
}
ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size) {
    DO(fd, syscall(SYS_sendto, fd, data, size, (long)flags, to, (long)to_size), -1, data);
}

/* The pieces of a vector in one, for the record. */
static char *join(const struct iovec *parts, size_t count) {
    size_t size = 1;
    for (size_t i = 0; i < count; i++)
        size += parts[i].iov_len;
    char *whole = malloc(size), *end = whole;
    if (!whole)
        give_up("no memory");
    for (size_t i = 0; i < count; i++)
        if (parts[i].iov_len)
            end = (char *)memcpy(end, parts[i].iov_base, parts[i].iov_len) + parts[i].iov_len;
    return whole;
}

static ssize_t vector(int fd, char *whole, long number, const void *argument, long count, off_t offset) {
    /* writev and sendmsg take fewer arguments than pwritev, and the kernel does not look at the others. */
    DO(fd, syscall(number, fd, argument, count, offset, 0L), offset, whole);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char *whole = join(parts, (size_t)count);
    ssize_t done = vector(fd, whole, SYS_writev, parts, count, -1);
    free(whole);
    return done;
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    char *whole = join(parts, (size_t)count);
    ssize_t done = vector(fd, whole, SYS_pwritev, parts, count, offset);
    free(whole);
    return done;
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return pwritev(fd, parts, count, offset); }
ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    char *whole = join(message->msg_iov, message->msg_iovlen);
    ssize_t done = vector(fd, whole, SYS_sendmsg, message, flags, -1);
    free(whole);
    return done;
}

int ftruncate(int fd, off_t length) {
    uint64_t inode;
    char space[PATH_MAX];
    const char *name;
    if (look(fd, &inode, space, &name) != 'f')
        return (int)syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int failed = (int)syscall(SYS_ftruncate, fd, length);
    if (!failed)
        record('T', inode, (uint64_t)length, "", NULL, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

/* Syncing. */

static int sync_and_tell(int fd, long number) {
    uint64_t inode, mine;
    char space[PATH_MAX];
    const char *name;
    if (look(fd, &inode, space, &name) != 'f')
        return (int)syscall(number, fd);
    pthread_mutex_lock(&lock);
    mine = ++syncs;
    record('B', inode, mine, "", NULL, 0);
    pthread_mutex_unlock(&lock);
    int failed = (int)syscall(number, fd);
    if (!failed) {
        pthread_mutex_lock(&lock);
        record('E', inode, mine, "", NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return failed;
}
int fsync(int fd) { return sync_and_tell(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_and_tell(fd, SYS_fdatasync); }

/* Names. */

int unlinkat(int dir, const char *path, int flags) {
    char space[PATH_MAX];
    const char *name = log_fd < 0 ? NULL : locate(dir, path, space);
    if (!name)
        return (int)syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&lock);
    int failed = (int)syscall(SYS_unlinkat, dir, path, flags);
    if (!failed)
        record('U', 0, 0, name, NULL, 0);
    pthread_mutex_unlock(&lock);
    return failed;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char from_space[PATH_MAX], to_space[PATH_MAX];
    const char *from_name = log_fd < 0 ? NULL : locate(from_dir, from, from_space);
    const char *to_name = log_fd < 0 ? NULL : locate(to_dir, to, to_space);
    if (!from_name || !to_name)
        return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    int failed = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (!failed)
        record('R', 0, 0, from_name, to_name, strlen(to_name));
    pthread_mutex_unlock(&lock);
    return failed;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
