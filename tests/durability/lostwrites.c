/* A disk that keeps its word only for what was fsynced, as an LD_PRELOAD library.
 *
 * Files below LOSTWRITES_DIR are watched. Their images below LOSTWRITES_SHADOW hold what a power cut would leave:
 *   fsync, fdatasync of a file    the file as it is now becomes its image (written aside, then renamed)
 *   fsync of a directory          a name in it that is gone loses its image (a new name lives once its file is synced)
 *   rename of a watched file      its image follows at once (a journalling file system orders it so)
 *   sync_file_range, msync        nothing: they promise nothing
 *   open with O_SYNC or O_DSYNC   aborts: not modelled
 * Everything written and not synced is in the file and not in the image: the harness kills the process and puts the
 * images in the place of the files. Real calls are made through the next library, so a program sees no difference.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *watched(void) { return getenv("LOSTWRITES_DIR"); }
static const char *shadow(void) { return getenv("LOSTWRITES_SHADOW"); }

/* The path below the watched directory with its slash in front, "" for the directory itself, NULL for any other. */
static const char *below(const char *path) {
    const char *dir = watched();
    size_t n = dir ? strlen(dir) : 0;
    if (!n || strncmp(path, dir, n) != 0 || (path[n] != '/' && path[n] != 0)) return NULL;
    return path + n;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return -1;
    path[n] = 0;
    return 0;
}

static void die(const char *what) {
    perror(what);
    abort();
}

static void join(char *to, const char *dir, const char *name) {
    if (snprintf(to, PATH_MAX, "%s%s", dir, name) >= PATH_MAX) die("lostwrites: name");
}

static void make_parents(char *path) {
    for (char *slash = path + strlen(shadow()) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST) die("lostwrites: mkdir");
        *slash = '/';
    }
}

/* Reads through the program's own descriptor where it can: closing another one on the file drops POSIX locks on it. */
static void keep_image(int fd, const char *name) {
    static __thread char buffer[1 << 16];
    char link[64], aside[PATH_MAX + 64], image[PATH_MAX];
    int write_only = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int from = write_only ? open(link, O_RDONLY | O_CLOEXEC) : fd;
    if (from < 0) die("lostwrites: read");
    join(image, shadow(), name);
    make_parents(image);
    snprintf(aside, sizeof aside, "%s.%d.%d.part", image, getpid(), gettid());
    int to = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to < 0) die("lostwrites: image");
    off_t at = 0;
    for (;;) {
        ssize_t n = pread(from, buffer, sizeof buffer, at);
        if (n < 0) die("lostwrites: pread");
        if (n == 0) break;
        if (pwrite(to, buffer, n, at) != n) die("lostwrites: pwrite");
        at += n;
    }
    close(to);
    if (write_only) close(from);
    if (rename(aside, image) != 0) die("lostwrites: rename");
}

static void forget_gone(const char *dir, const char *name) {
    char images[PATH_MAX], image[PATH_MAX], file[PATH_MAX], entry_name[NAME_MAX + 2];
    join(images, shadow(), name);
    DIR *open_dir = opendir(images);
    if (!open_dir) return;
    for (struct dirent *entry; (entry = readdir(open_dir));) {
        struct stat info;
        if (entry->d_type == DT_DIR || strstr(entry->d_name, ".part")) continue;
        snprintf(entry_name, sizeof entry_name, "/%s", entry->d_name);
        join(file, dir, entry_name);
        join(image, images, entry_name);
        if (stat(file, &info) != 0 && errno == ENOENT) unlink(image);
    }
    closedir(open_dir);
}

static void synced(int fd) {
    char path[PATH_MAX];
    struct stat info;
    int before = errno;
    if (watched() && shadow() && path_of(fd, path) == 0 && fstat(fd, &info) == 0) {
        const char *name = below(path);
        if (name && S_ISDIR(info.st_mode)) forget_gone(path, name);
        else if (name && S_ISREG(info.st_mode) && info.st_nlink > 0) keep_image(fd, name);
    }
    errno = before;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) synced(fd);
    return result;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) synced(fd);
    return result;
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int result = real(from, to);
    if (result == 0 && watched() && shadow()) {
        int before = errno;
        char old_image[PATH_MAX], new_image[PATH_MAX];
        const char *old_name = below(from), *new_name = below(to);
        if (old_name && new_name) {
            join(old_image, shadow(), old_name);
            join(new_image, shadow(), new_name);
            if (real(old_image, new_image) != 0) unlink(new_image);
        }
        errno = before;
    }
    return result;
}

static void refuse_sync_flags(const char *path, int flags) {
    if (watched() && (flags & (O_SYNC | O_DSYNC)) && below(path)) {
        fprintf(stderr, "lostwrites: O_SYNC is not modelled: %s\n", path);
        abort();
    }
}

int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    refuse_sync_flags(path, flags);
    return real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    refuse_sync_flags(path, flags);
    return real(path, flags, mode);
}
