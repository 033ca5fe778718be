/* An HTTP load generator: every connection sends its next prepared request as soon as its last one
 * is answered, or at a pace.
 *
 *   paywall_load PORT PATH CONNECTIONS [FOLDER [INTERVAL_MS]]
 *
 * FOLDER/0, FOLDER/1, ... hold one PAYMENT-SIGNATURE value per line, one file for each connection;
 * without a folder the requests carry none. It loads the server in turns, one for each line
 * "SECONDS REQUESTS" that it reads, so that several servers can be loaded in turn. Sending ends
 * when the seconds are over, when so many requests are sent (0: any number), or when the first
 * connection has used up its file, so that all connections are busy all the time; then every
 * request still under way is waited for. That is why this is not wrk, which drops those requests
 * at the end: what it counts cannot agree with a ledger to the unit.
 *
 * With an interval each connection sends one request in each, and the connections take turns within
 * it. Latencies then count from when a request was due: one that has to wait for the answer before
 * it is late, and is sent as soon as that has come.
 *
 * Prints one line of JSON for each turn; its first answer other than 200 goes to stderr.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* For how long it looks for answers before it sleeps: longer than from one answer of a burst to the
 * next. To wake a sleeping core is work for the core that sends, and a server's clients are not on
 * its machine. */
enum { LOOK_NS = 100000 };
enum { MAX_CONNECTIONS = 1000, BUFFER = 65536, SILENCE_MS = 30000 };

struct connection {
    int socket;
    const char *next, *end; /* what is left of the prepared file */
    uint64_t sent_at;
    uint64_t due, done; /* at a pace: requests that are due so far, and those that were sent */
    int waiting;
    size_t filled;
    char buffer[BUFFER + 1];
};

static struct connection *connections;
static char head[1024];
static size_t head_length;
static int number;
static int with_payment, outstanding;
static uint64_t interval, started, late, looked;
static uint64_t *latencies;
static size_t sent, answered, capacity;
static unsigned long statuses[600];

static void fail(const char *what) {
    fprintf(stderr, "paywall_load: %s\n", what);
    exit(1);
}

static void fail_with_errno(const char *what) {
    fprintf(stderr, "paywall_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static uint64_t now(void) { return clock_ns(CLOCK_MONOTONIC); }

static void open_file(struct connection *c, const char *folder, int index) {
    char path[4096];
    struct stat info;
    snprintf(path, sizeof path, "%s/%d", folder, index);
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &info) < 0) fail_with_errno(path);
    if (info.st_size == 0) fail("a prepared file is empty");
    /* Populated at once: a page fault in the middle of the run would be taken for latency. */
    c->next = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (c->next == MAP_FAILED) fail_with_errno(path);
    c->end = c->next + info.st_size;
    close(file);
}

/* A request is far smaller than a socket's buffer and the last one was answered, so it is taken
 * whole and a blocking socket does not block. */
static void send_next(struct connection *c) {
    struct iovec parts[3] = {{head, head_length}, {NULL, 0}, {"\r\n\r\n", 4}};
    if (with_payment) {
        const char *stop = memchr(c->next, '\n', (size_t)(c->end - c->next));
        if (!stop) fail("a prepared file does not end with a newline");
        parts[1].iov_base = (void *)c->next;
        parts[1].iov_len = (size_t)(stop - c->next);
        c->next = stop + 1;
    }
    size_t length = head_length + parts[1].iov_len + 4;
    c->sent_at = now();
    if (interval) {
        uint64_t place = (uint64_t)(c - connections) * interval / (uint64_t)number;
        c->sent_at = started + place + c->done++ * interval;
    }
    c->filled = 0;
    c->waiting = 1;
    if (writev(c->socket, parts, 3) != (ssize_t)length) fail("could not send a whole request");
    outstanding++;
    sent++;
}

/* Reads what is there; says whether the answer is complete. */
static int receive(struct connection *c) {
    ssize_t got = recv(c->socket, c->buffer + c->filled, BUFFER - c->filled, 0);
    if (got <= 0) fail("the server closed a connection in the middle of a request");
    c->filled += (size_t)got;
    c->buffer[c->filled] = 0;
    char *body = strstr(c->buffer, "\r\n\r\n");
    if (!body) return 0;
    char *length = strcasestr(c->buffer, "\r\ncontent-length:");
    if (!length || length > body) fail("an answer has no Content-Length");
    size_t whole = (size_t)(body + 4 - c->buffer) + strtoul(length + 17, NULL, 10);
    if (whole > BUFFER) fail("an answer is larger than 64 KiB");
    if (c->filled < whole) return 0;

    if (answered == capacity) {
        capacity = capacity ? 2 * capacity : 1 << 16;
        latencies = realloc(latencies, capacity * sizeof *latencies);
        if (!latencies) fail("out of memory");
    }
    latencies[answered++] = now() - c->sent_at;
    unsigned status = (unsigned)strtoul(c->buffer + 9, NULL, 10) % 600;
    if (status != 200 && statuses[200] + 1 == answered) fprintf(stderr, "%s\n", c->buffer);
    statuses[status]++;
    outstanding--;
    c->waiting = 0;
    return 1;
}

/* Sends what has become due; answers the nanoseconds until the next one is, or 0 at the end. */
static uint64_t send_due(uint64_t *turn, uint64_t turns) {
    for (; *turn < turns; ++*turn) {
        uint64_t due = started + *turn * interval / (uint64_t)number, at = now();
        if (due > at) return due - at;
        struct connection *c = &connections[*turn % (uint64_t)number];
        c->due++;
        if (c->waiting) late++;
        else send_next(c);
    }
    return 0;
}

/* Waits until a connection has something to read, or for `patience`; says how many have. */
static int wait_for_answers(int poll, struct epoll_event *events, const struct timespec *patience) {
    static const struct timespec none;
    uint64_t since = now(), until = since + LOOK_NS;
    uint64_t rest = (uint64_t)patience->tv_sec * 1000000000 + (uint64_t)patience->tv_nsec;
    if (rest < LOOK_NS) until = since + rest;
    int ready;
    do ready = epoll_pwait2(poll, events, number, &none, NULL);
    while (ready == 0 && now() < until);
    looked += now() - since;
    return ready || rest < LOOK_NS ? ready : epoll_pwait2(poll, events, number, patience, NULL);
}

static void take_turn(int poll, double length_s, size_t requests) {
    uint64_t busy = clock_ns(CLOCK_PROCESS_CPUTIME_ID), length = (uint64_t)(length_s * 1e9);
    uint64_t turn = 0, turns = interval ? length / interval * (uint64_t)number : 0, rest = 0;
    int stopping = 0;
    sent = answered = 0;
    late = looked = 0;
    memset(statuses, 0, sizeof statuses);
    started = now();
    uint64_t deadline = started + length;
    for (int i = 0; i < number; i++) {
        struct connection *c = &connections[i];
        c->due = c->done = 0;
        if (with_payment && c->next == c->end) fail("a prepared file is used up");
        if (!interval) send_next(c);
    }
    while ((rest = send_due(&turn, turns)) || outstanding) {
        struct epoll_event events[MAX_CONNECTIONS];
        struct timespec patience = {SILENCE_MS / 1000, 0};
        if (rest) patience = (struct timespec){(time_t)(rest / 1000000000), (long)(rest % 1000000000)};
        int ready = wait_for_answers(poll, events, &patience);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) fail_with_errno("epoll_pwait2");
        if (ready == 0 && !rest) fail("the server answered nothing for 30 seconds");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!receive(c)) continue;
            if (interval) {
                if (c->due > c->done) send_next(c);
                continue;
            }
            int all_sent = requests && sent >= requests;
            if (now() >= deadline || all_sent || (with_payment && c->next == c->end)) stopping = 1;
            if (!stopping) send_next(c);
        }
    }
    double seconds = (double)(now() - started) / 1e9;
    double busy_seconds = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - busy - looked) / 1e9;

    printf("{\"seconds\": %.6f, \"busy\": %.3f, ", seconds, busy_seconds / seconds);
    printf("\"late\": %lu, \"latencies_us\": [", (unsigned long)late);
    for (size_t i = 0; i < answered; i++)
        printf("%s%lu", i ? ", " : "", (unsigned long)(latencies[i] / 1000));
    printf("], \"statuses\": {");
    const char *comma = "";
    for (int status = 0; status < 600; status++)
        if (statuses[status]) {
            printf("%s\"%d\": %lu", comma, status, statuses[status]);
            comma = ", ";
        }
    printf("}}\n");
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count < 4) fail("usage: paywall_load PORT PATH CONNECTIONS [FOLDER [INTERVAL_MS]]");
    int port = atoi(arguments[1]), yes = 1;
    number = atoi(arguments[3]);
    if (number < 1 || number > MAX_CONNECTIONS) fail("CONNECTIONS must be from 1 to 1000");
    with_payment = count > 4;
    interval = count > 5 ? (uint64_t)(atof(arguments[5]) * 1e6) : 0;
    head_length = (size_t)snprintf(
        head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*%s", arguments[2],
        port, with_payment ? "\r\nPAYMENT-SIGNATURE: " : "");
    if (head_length >= sizeof head) fail("PATH is too long");

    connections = calloc((size_t)number, sizeof *connections);
    int poll = epoll_create1(0);
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    for (int i = 0; i < number; i++) {
        struct connection *c = &connections[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (with_payment) open_file(c, arguments[4], i);
        c->socket = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->socket, (struct sockaddr *)&server, sizeof server) < 0) fail_with_errno("connect");
        setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        /* Workers that share a port each take what has queued up: one by one, all get some. */
        usleep(2000);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, c->socket, &event) < 0) fail_with_errno("epoll_ctl");
    }

    double seconds;
    size_t requests;
    while (scanf("%lf %zu", &seconds, &requests) == 2) take_turn(poll, seconds, requests);
    return 0;
}
