/* Preloaded into a process: writes below FAULTS_FOLDER fail with EIO after FAULTS_BYTES bytes, and the clock of the day jumps
   by FAULTS_JUMP seconds, back and forth, at every 50th look at it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static long written = 0;

static int is_below(int descriptor) {
    const char *folder = getenv("FAULTS_FOLDER");
    char link[64], path[4096];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0 && !strstr(path, ".log-");
}

static int is_broken(int descriptor, size_t count) {
    if (!is_below(descriptor)) return 0;
    const char *bytes = getenv("FAULTS_BYTES");
    written += (long)count;
    return written > (bytes ? atol(bytes) : 0);
}

ssize_t write(int descriptor, const void *data, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (is_broken(descriptor, count)) { errno = EIO; return -1; }
    return real(descriptor, data, count);
}

ssize_t pwrite64(int descriptor, const void *data, size_t count, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    if (is_broken(descriptor, count)) { errno = EIO; return -1; }
    return real(descriptor, data, count, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    static ssize_t (*real)(int, const struct iovec *, int);
    size_t total = 0;
    for (int i = 0; i < count; i++) total += parts[i].iov_len;
    if (!real) real = dlsym(RTLD_NEXT, "writev");
    if (is_broken(descriptor, total)) { errno = EIO; return -1; }
    return real(descriptor, parts, count);
}

static long jump(void) {
    static long looks = 0;
    const char *seconds = getenv("FAULTS_JUMP");
    return seconds && (looks++ / 50) % 2 ? atol(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, at);
    if (clock == CLOCK_REALTIME) at->tv_sec += jump();
    return code;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
