/* A load of publishers and durable sessions, fast enough to keep a broker busy: one thread, MQTT 3.1.1, QoS 1.
 *
 * Each message holds its publisher, its number and the time it was sent. Publishers send again what was not acknowledged
 * when they come back, so that a broker may be killed under this load; each session checks that no number is left out. One
 * line of JSON is printed each `--report` seconds and one at the end. SIGTERM ends the publishing early.
 *
 *   load probe FILE SECONDS    how long a bare write with fdatasync takes: appended to the file, and over what is there
 *   load run --port P ...      see `options`
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define READ_BYTES (1 << 18)
#define RETRY_NANOS (30 * 1000000ull)
/* Connections that are being opened at a time. */
#define OPENING_MAX 200
#define HEAD_BYTES 20

static struct {
    int port, publishers, sessions, window, payload, clean_pairs, messages;
    double seconds, warm, rate, clean_rate, away, report, settle;
    bool same, online, alternate, drain, durable_publishers, resume;
    const char *prefix;
} options = {
    .publishers = 1, .sessions = 1, .window = 20, .payload = 256, .seconds = 5, .warm = 1, .clean_rate = 1000,
    .away = 20, .settle = 30, .prefix = "load",
};

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *allocated(size_t count, size_t bytes) {
    void *found = calloc(count ? count : 1, bytes);
    if (!found) fail("memory");
    return found;
}

/* ---- How long things take: steps of an eighth ---- */

#define STEPS 8
#define PLACES (64 * STEPS)

struct times {
    uint64_t counts[PLACES], total, max;
};

static void times_add(struct times *times, uint64_t nanos) {
    if (nanos < 1) nanos = 1;
    unsigned doubling = 63 - (unsigned)__builtin_clzll(nanos);
    uint64_t within = doubling >= 3 ? (nanos >> (doubling - 3)) & 7 : 0;
    times->counts[doubling * STEPS + within]++;
    times->total++;
    if (nanos > times->max) times->max = nanos;
}

/* In microseconds, to an eighth. */
static double times_quantile(const struct times *times, double part) {
    uint64_t wanted = (uint64_t)(part * (double)times->total), seen = 0;
    for (unsigned place = 0; place < PLACES; place++) {
        seen += times->counts[place];
        if (times->counts[place] && seen >= wanted) {
            double low = (double)(1ull << place / STEPS);
            double micros = low * (1.0 + (place % STEPS + 0.5) / STEPS) / 1000.0, most = (double)times->max / 1000.0;
            return micros < most ? micros : most;
        }
    }
    return 0;
}

static void times_print(const char *name, const struct times *times) {
    printf("\"%s\":{\"count\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", name,
           (unsigned long long)times->total, times_quantile(times, 0.5), times_quantile(times, 0.9),
           times_quantile(times, 0.99), times_quantile(times, 0.999), (double)times->max / 1000.0);
}

/* ---- Connections ---- */

enum role { PUBLISHER, SESSION, CLEAN_PUBLISHER, CLEAN_SUBSCRIBER };
enum stage { CLOSED, CONNECTING, SUBSCRIBING, READY };

struct buffer {
    uint8_t *data;
    size_t start, used, room;
};

struct connection {
    enum role role;
    enum stage stage;
    int fd, number;
    bool wanted, subscribed, writing;
    uint64_t retry_at;
    struct buffer in, out;
    /* Publishers. */
    uint64_t sent, base;
    uint64_t *sent_at;
    uint8_t *done;
    uint64_t slots;
    /* Sessions: the highest number of each publisher. */
    uint64_t *high;
};

static struct connection *connections;
static int connection_count, opening;
static int epoll_fd;
static volatile sig_atomic_t ending;
static bool publishing, measuring;
static double budget;
static uint64_t acknowledged, delivered, missing, repeated, lost_connections, sessions_gone, last_acknowledged, longest_silence;
static uint64_t acknowledged_before, delivered_before;
static struct times ack_times, delivery_times, clean_times;

static void reserve(struct buffer *buffer, size_t bytes) {
    if (buffer->start == buffer->used) buffer->start = buffer->used = 0;
    if (buffer->used + bytes <= buffer->room) return;
    if (buffer->start) {
        memmove(buffer->data, buffer->data + buffer->start, buffer->used - buffer->start);
        buffer->used -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->used + bytes > buffer->room) {
        buffer->room = (buffer->used + bytes) * 2;
        buffer->data = realloc(buffer->data, buffer->room);
        if (!buffer->data) fail("memory");
    }
}

static void put(struct buffer *buffer, const void *data, size_t bytes) {
    reserve(buffer, bytes);
    memcpy(buffer->data + buffer->used, data, bytes);
    buffer->used += bytes;
}

static void put_u16(struct buffer *buffer, unsigned value) {
    uint8_t bytes[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    put(buffer, bytes, 2);
}

static void put_text(struct buffer *buffer, const char *text) {
    put_u16(buffer, (unsigned)strlen(text));
    put(buffer, text, strlen(text));
}

static void put_head(struct buffer *buffer, uint8_t first, size_t length) {
    uint8_t bytes[5] = {first};
    size_t used = 1;
    do {
        uint8_t byte = length & 0x7f;
        length >>= 7;
        bytes[used++] = (uint8_t)(byte | (length ? 0x80 : 0));
    } while (length);
    put(buffer, bytes, used);
}

static void watch(struct connection *connection) {
    bool writing = connection->out.used > connection->out.start;
    if (writing == connection->writing) return;
    connection->writing = writing;
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event)) fail("epoll_ctl");
}

static void drop(struct connection *connection) {
    if (connection->stage == CLOSED) return;
    if (connection->stage != READY) opening--;
    close(connection->fd);
    connection->stage = CLOSED;
    connection->writing = false;
    connection->in.start = connection->in.used = connection->out.start = connection->out.used = 0;
    connection->retry_at = now() + RETRY_NANOS;
}

static void lost(struct connection *connection) {
    /* While the broker is down, none was there to be lost. */
    if (connection->wanted && connection->stage != CONNECTING) lost_connections++;
    drop(connection);
}

static void flush(struct connection *connection) {
    struct buffer *out = &connection->out;
    while (out->start < out->used) {
        ssize_t sent = send(connection->fd, out->data + out->start, out->used - out->start, MSG_NOSIGNAL);
        if (sent < 0) {
            /* Not connected yet, or no room: EPOLLOUT says when. */
            if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN) break;
            if (errno == EINTR) continue;
            lost(connection);
            return;
        }
        out->start += (size_t)sent;
    }
    watch(connection);
}

static void name_of(const struct connection *connection, char *name, size_t bytes) {
    static const char *const kinds[] = {"p", "s", "cp", "cs"};
    snprintf(name, bytes, "%s-%s-%d", options.prefix, kinds[connection->role], connection->number);
}

static void open_connection(struct connection *connection) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) fail("socket");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        close(fd);
        connection->retry_at = now() + RETRY_NANOS;
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
    connection->fd = fd;
    connection->stage = CONNECTING;
    opening++;
    char name[64];
    name_of(connection, name, sizeof name);
    bool durable = connection->role == SESSION || (connection->role == PUBLISHER && options.durable_publishers);
    put_head(&connection->out, 0x10, 10 + 2 + strlen(name));
    put_text(&connection->out, "MQTT");
    uint8_t rest[4] = {4, durable ? 0 : 2, 0, 0};
    put(&connection->out, rest, 4);
    put_text(&connection->out, name);
    flush(connection);
}

static void leave(struct connection *connection) {
    connection->wanted = false;
    if (connection->stage == CLOSED) return;
    uint8_t packet[2] = {0xe0, 0};
    put(&connection->out, packet, 2);
    flush(connection);
    drop(connection);
}

/* ---- Publishing ---- */

static void put_publish(struct connection *connection, uint64_t number, bool again) {
    char topic[64];
    bool clean = connection->role == CLEAN_PUBLISHER;
    snprintf(topic, sizeof topic, "%s/%s/%d", options.prefix, clean ? "clean" : "q", connection->number);
    size_t payload = clean ? 64 : (size_t)options.payload;
    put_head(&connection->out, clean ? 0x30 : again ? 0x3a : 0x32, 2 + strlen(topic) + (clean ? 0 : 2) + payload);
    put_text(&connection->out, topic);
    uint64_t at = clean ? now() : connection->sent_at[number % connection->slots];
    if (!clean) put_u16(&connection->out, (unsigned)(number % connection->slots) + 1);
    uint8_t head[HEAD_BYTES];
    uint32_t publisher = (uint32_t)connection->number;
    memcpy(head, &publisher, 4);
    memcpy(head + 4, &number, 8);
    memcpy(head + 12, &at, 8);
    put(&connection->out, head, HEAD_BYTES);
    reserve(&connection->out, payload - HEAD_BYTES);
    memset(connection->out.data + connection->out.used, (int)(number & 0xff), payload - HEAD_BYTES);
    connection->out.used += payload - HEAD_BYTES;
}

static void fill_window(struct connection *connection) {
    if (connection->stage != READY || !publishing) return;
    bool any = false;
    while (connection->sent - connection->base < (uint64_t)options.window && (options.rate <= 0 || budget >= 1)) {
        if (options.messages && connection->sent >= (uint64_t)options.messages) break;
        budget -= 1;
        uint64_t number = ++connection->sent, slot = number % connection->slots;
        connection->sent_at[slot] = now();
        connection->done[slot] = 0;
        put_publish(connection, number, false);
        any = true;
    }
    if (any) flush(connection);
}

static void handle_puback(struct connection *connection, unsigned id) {
    uint64_t slot = id - 1;
    if (slot >= connection->slots || connection->done[slot]) return;
    connection->done[slot] = 1;
    uint64_t at = now();
    if (measuring) times_add(&ack_times, at - connection->sent_at[slot]);
    acknowledged++;
    if (last_acknowledged && at - last_acknowledged > longest_silence) longest_silence = at - last_acknowledged;
    last_acknowledged = at;
    while (connection->base < connection->sent && connection->done[(connection->base + 1) % connection->slots]) connection->base++;
}

/* ---- Receiving ---- */

static void handle_publish(struct connection *connection, uint8_t first, const uint8_t *body, size_t bytes) {
    size_t at = 2u + ((size_t)body[0] << 8 | body[1]);
    unsigned qos = first >> 1 & 3;
    if (qos) {
        uint8_t answer[4] = {0x40, 2, body[at], body[at + 1]};
        put(&connection->out, answer, 4);
        at += 2;
    }
    if (bytes < at + HEAD_BYTES) return;
    uint32_t publisher;
    uint64_t number, sent_at;
    memcpy(&publisher, body + at, 4);
    memcpy(&number, body + at + 4, 8);
    memcpy(&sent_at, body + at + 12, 8);
    if (connection->role == CLEAN_SUBSCRIBER) {
        if (measuring) times_add(&clean_times, now() - sent_at);
        return;
    }
    delivered++;
    if (measuring) times_add(&delivery_times, now() - sent_at);
    uint64_t *high = &connection->high[options.same ? publisher : 0];
    if (number > *high) {
        if (number > *high + 1) {
            if (!missing) fprintf(stderr, "load: session %d: %llu of publisher %u after %llu\n", connection->number,
                                  (unsigned long long)number, publisher, (unsigned long long)*high);
            missing += number - *high - 1;
        }
        *high = number;
    } else {
        repeated++;
    }
}

static void subscribe(struct connection *connection) {
    char filter[64];
    if (connection->role == CLEAN_SUBSCRIBER) snprintf(filter, sizeof filter, "%s/clean/%d", options.prefix, connection->number);
    else if (options.same) snprintf(filter, sizeof filter, "%s/q/+", options.prefix);
    else snprintf(filter, sizeof filter, "%s/q/%d", options.prefix, connection->number / options.sessions);
    put_head(&connection->out, 0x82, 2 + 2 + strlen(filter) + 1);
    put_u16(&connection->out, 1);
    put_text(&connection->out, filter);
    uint8_t qos = connection->role == SESSION ? 1 : 0;
    put(&connection->out, &qos, 1);
}

static void ready(struct connection *connection) {
    connection->stage = READY;
    opening--;
    if (connection->role == PUBLISHER) {
        for (uint64_t number = connection->base + 1; number <= connection->sent; number++)
            if (!connection->done[number % connection->slots]) put_publish(connection, number, true);
        fill_window(connection);
    }
}

/* False if the connection has ended. */
static bool handle(struct connection *connection, uint8_t first, const uint8_t *body, size_t bytes) {
    switch (first >> 4) {
    case 2:
        if (body[1]) {
            fprintf(stderr, "load: CONNACK with %u\n", body[1]);
            return false;
        }
        if (connection->role == SESSION && connection->subscribed && !(body[0] & 1)) {
            /* It was there before. */
            sessions_gone++;
            connection->subscribed = false;
        }
        if ((connection->role == SESSION || connection->role == CLEAN_SUBSCRIBER) &&
            (!connection->subscribed || connection->role == CLEAN_SUBSCRIBER)) {
            connection->stage = SUBSCRIBING;
            subscribe(connection);
        } else {
            ready(connection);
        }
        break;
    case 9:
        connection->subscribed = true;
        ready(connection);
        break;
    case 3: handle_publish(connection, first, body, bytes); break;
    case 4: handle_puback(connection, (unsigned)body[0] << 8 | body[1]); break;
    default: break;
    }
    return true;
}

static void readable(struct connection *connection) {
    struct buffer *in = &connection->in;
    reserve(in, READ_BYTES);
    ssize_t got = recv(connection->fd, in->data + in->used, READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        lost(connection);
        return;
    }
    in->used += (size_t)got;
    for (;;) {
        size_t left = in->used - in->start, length = 0, head = 1;
        const uint8_t *from = in->data + in->start;
        if (left < 2) break;
        unsigned shift = 0;
        bool whole = false;
        while (head < left && head < 5) {
            uint8_t byte = from[head++];
            length |= (size_t)(byte & 0x7f) << shift;
            shift += 7;
            if (byte < 0x80) {
                whole = true;
                break;
            }
        }
        if (!whole || left - head < length) break;
        in->start += head + length;
        if (!handle(connection, from[0], from + head, length)) {
            lost(connection);
            return;
        }
    }
    if (connection->role == PUBLISHER) fill_window(connection);
    if (connection->out.used > connection->out.start) flush(connection);
}

/* ---- The run ---- */

static void pass(int milliseconds) {
    struct epoll_event events[512];
    int count = epoll_wait(epoll_fd, events, 512, milliseconds);
    for (int index = 0; index < count; index++) {
        struct connection *connection = events[index].data.ptr;
        if (connection->stage == CLOSED) continue;
        if (events[index].events & EPOLLOUT) flush(connection);
        if (connection->stage != CLOSED && events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(connection);
    }
    uint64_t time = now();
    static uint64_t looked_at;
    if (time - looked_at < 5 * 1000000ull && opening) return;
    looked_at = time;
    for (int index = 0; index < connection_count && opening < OPENING_MAX; index++) {
        struct connection *connection = &connections[index];
        if (connection->wanted && connection->stage == CLOSED && time >= connection->retry_at) open_connection(connection);
    }
}

static uint64_t unfinished(void) {
    uint64_t waiting = 0;
    for (int index = 0; index < connection_count; index++)
        if (connections[index].role == PUBLISHER) waiting += connections[index].sent - connections[index].base;
    return waiting;
}

static struct connection *publisher(int number) {
    return &connections[number];
}

/* What sessions have not had yet of what was acknowledged. */
static uint64_t behind(void) {
    uint64_t waiting = 0;
    for (int index = 0; index < connection_count; index++) {
        struct connection *session = &connections[index];
        if (session->role != SESSION) continue;
        if (!options.same) {
            uint64_t base = publisher(session->number / options.sessions)->base;
            waiting += base > *session->high ? base - *session->high : 0;
            continue;
        }
        for (int number = 0; number < options.publishers; number++) {
            uint64_t base = publisher(number)->base;
            waiting += base > session->high[number] ? base - session->high[number] : 0;
        }
    }
    return waiting;
}

static void report(double at, bool last) {
    printf("{\"at\":%.1f,\"final\":%s,\"acknowledged\":%llu,\"delivered\":%llu,\"missing\":%llu,\"repeated\":%llu,"
           "\"sessions_gone\":%llu,\"lost_connections\":%llu,\"unfinished\":%llu,\"behind\":%llu,\"silence_ms\":%.0f,",
           at, last ? "true" : "false", (unsigned long long)acknowledged, (unsigned long long)delivered,
           (unsigned long long)missing, (unsigned long long)repeated, (unsigned long long)sessions_gone,
           (unsigned long long)lost_connections, (unsigned long long)unfinished(), (unsigned long long)behind(),
           (double)longest_silence / 1e6);
    times_print("ack", &ack_times);
    printf(",");
    times_print("delivery", &delivery_times);
    printf(",");
    times_print("clean", &clean_times);
    if (!last) printf("}\n");
    fflush(stdout);
    longest_silence = 0;
}

static void refill(void) {
    static uint64_t last;
    static double clean_budget;
    uint64_t time = now();
    double passed = last ? (double)(time - last) / 1e9 : 0;
    last = time;
    if (options.rate > 0) {
        budget += passed * options.rate;
        if (budget > options.rate / 20 + 1) budget = options.rate / 20 + 1;
        static int turn;
        for (int index = 0; index < options.publishers && budget >= 1; index++)
            fill_window(publisher(turn = (turn + 1) % options.publishers));
    }
    if (!options.clean_pairs) return;
    clean_budget += passed * options.clean_rate;
    if (clean_budget > 1000) clean_budget = 1000;
    static int pair;
    while (clean_budget >= 1) {
        clean_budget -= 1;
        pair = (pair + 1) % options.clean_pairs;
        struct connection *sender = &connections[connection_count - 2 * options.clean_pairs + pair];
        if (sender->stage == READY) {
            put_publish(sender, ++sender->sent, false);
            flush(sender);
        }
    }
}

static int poll_milliseconds(void) {
    return options.rate > 0 || options.clean_pairs ? 1 : 20;
}

static bool all_ready(enum role role) {
    for (int index = 0; index < connection_count; index++)
        if (connections[index].role == role && connections[index].wanted && connections[index].stage != READY) return false;
    return true;
}

static void want(enum role role, bool wanted) {
    for (int index = 0; index < connection_count; index++)
        if (connections[index].role == role) {
            if (wanted) connections[index].wanted = true;
            else leave(&connections[index]);
        }
}

/* Until everybody of a role is there; false if that takes too long. */
static bool gather(enum role role) {
    uint64_t until = now() + (uint64_t)(options.settle * 4 * 1e9);
    want(role, true);
    while (!all_ready(role)) {
        if (now() > until) return false;
        pass(20);
    }
    return true;
}

static void make_connections(void) {
    int sessions = options.same ? options.sessions : options.publishers * options.sessions;
    connection_count = options.publishers + sessions + 2 * options.clean_pairs;
    connections = allocated((size_t)connection_count, sizeof *connections);
    int at = 0;
    for (int number = 0; number < options.publishers; number++) {
        struct connection *connection = &connections[at++];
        connection->role = PUBLISHER;
        connection->number = number;
        connection->slots = (uint64_t)options.window * 2;
        connection->sent_at = allocated(connection->slots, sizeof *connection->sent_at);
        connection->done = allocated(connection->slots, 1);
    }
    for (int number = 0; number < sessions; number++) {
        struct connection *connection = &connections[at++];
        connection->role = SESSION;
        connection->number = number;
        connection->high = allocated(options.same ? (size_t)options.publishers : 1, sizeof *connection->high);
    }
    for (int kind = CLEAN_PUBLISHER; kind <= CLEAN_SUBSCRIBER; kind++)
        for (int number = 0; number < options.clean_pairs; number++) {
            connections[at].role = (enum role)kind;
            connections[at++].number = number;
        }
}

static void alternate(uint64_t started) {
    if (!options.alternate) return;
    static int turn = -1;
    int current = (int)((double)(now() - started) / 1e9 / options.away);
    if (current == turn) return;
    turn = current;
    /* A third stays, and the others take turns in being away. */
    for (int index = 0; index < connection_count; index++) {
        struct connection *session = &connections[index];
        if (session->role != SESSION || session->number % 3 == 0) continue;
        if ((session->number % 3 == 1) == (current % 2 == 0)) leave(session);
        else session->wanted = true;
    }
}

/* Everything was published by an earlier run, and waits in the sessions. */
static void resume(void) {
    for (int index = 0; index < connection_count; index++) {
        struct connection *connection = &connections[index];
        connection->subscribed = connection->role == SESSION;
        if (connection->role == PUBLISHER) connection->sent = connection->base = (uint64_t)options.messages;
    }
}

static bool all_published(void) {
    if (!options.messages) return false;
    for (int number = 0; number < options.publishers; number++)
        if (publisher(number)->base < (uint64_t)options.messages) return false;
    return true;
}

static int run(void) {
    make_connections();
    uint64_t started = now();
    if (options.resume) resume();
    else if (!gather(SESSION)) {
        fprintf(stderr, "load: the sessions could not be made\n");
        return 1;
    }
    double setup = (double)(now() - started) / 1e9;
    if (!options.online && !options.alternate) want(SESSION, false);
    if (!gather(PUBLISHER) || !gather(CLEAN_SUBSCRIBER) || !gather(CLEAN_PUBLISHER)) {
        fprintf(stderr, "load: the publishers could not connect\n");
        return 1;
    }
    publishing = true;
    for (int number = 0; number < options.publishers; number++) fill_window(publisher(number));
    started = now();
    uint64_t measured_from = started + (uint64_t)(options.warm * 1e9), reported = started;
    uint64_t until = measured_from + (uint64_t)(options.seconds * 1e9);
    while (now() < until && !ending && !all_published()) {
        if (!measuring && now() >= measured_from) {
            measuring = true;
            measured_from = now();
            acknowledged_before = acknowledged;
            delivered_before = delivered;
        }
        alternate(started);
        refill();
        pass(poll_milliseconds());
        if (options.report > 0 && now() - reported >= (uint64_t)(options.report * 1e9)) {
            reported = now();
            report((double)(reported - started) / 1e9, false);
        }
    }
    double measured = (double)(now() - measured_from) / 1e9;
    uint64_t acknowledged_in = acknowledged - acknowledged_before, delivered_in = delivered - delivered_before;
    measuring = publishing = false;
    uint64_t patience = now() + (uint64_t)(options.settle * 1e9);
    while (unfinished() && now() < patience) pass(20);
    /* Draining: as long as something comes. */
    double drained_in = 0;
    uint64_t drained_from = delivered, backlog = behind();
    if (options.drain || options.online || options.alternate) {
        uint64_t began = now(), last = delivered;
        want(SESSION, true);
        patience = now() + (uint64_t)(options.settle * 1e9);
        while (behind() && now() < patience) {
            for (int turn = 0; turn < 50; turn++) pass(1);
            if (delivered != last) patience = now() + (uint64_t)(options.settle * 1e9);
            last = delivered;
        }
        drained_in = (double)(now() - began) / 1e9;
    }
    report((double)(now() - started) / 1e9, true);
    printf(",\"setup_secs\":%.2f,\"measured_secs\":%.2f,\"ack_rate\":%.0f,\"delivery_rate\":%.0f,\"backlog\":%llu,"
           "\"drained\":%llu,\"drain_secs\":%.2f}\n", setup, measured, (double)acknowledged_in / measured,
           (double)delivered_in / measured, (unsigned long long)backlog, (unsigned long long)(delivered - drained_from), drained_in);
    want(SESSION, false);
    want(PUBLISHER, false);
    return 0;
}

static int probe(const char *path, double seconds) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) fail(path);
    static uint8_t page[4096];
    static struct times append, over;
    for (int round = 0; round < 2; round++) {
        uint64_t until = now() + (uint64_t)(seconds / 2 * 1e9);
        off_t size = round ? lseek(fd, 0, SEEK_END) : 0, at = 0;
        while (now() < until) {
            page[0]++;
            uint64_t from = now();
            if (pwrite(fd, page, sizeof page, at) != (ssize_t)sizeof page || fdatasync(fd)) fail(path);
            times_add(round ? &over : &append, now() - from);
            at += (off_t)sizeof page;
            if (round && at >= size) at = 0;
        }
    }
    printf("{");
    times_print("append", &append);
    printf(",");
    times_print("over", &over);
    printf("}\n");
    close(fd);
    unlink(path);
    return 0;
}

static void on_signal(int number) {
    (void)number;
    ending = 1;
}

static int usage(void) {
    fprintf(stderr, "load probe FILE SECONDS\n"
                    "load run --port P [--publishers N] [--sessions K] [--same] [--window W] [--payload BYTES] [--rate MESSAGES]\n"
                    "         [--online | --alternate [--away SECONDS]] [--durable-publishers] [--clean-pairs N] [--clean-rate R]\n"
                    "         [--warm S] [--seconds S] [--report S] [--settle S] [--drain] [--prefix TEXT] [--messages N [--resume]]\n"
                    "K sessions for each publisher, or with --same K that take what all publish; away unless --online.\n"
                    "With --resume what an earlier run has published, N of each publisher, waits in the sessions.\n");
    return 2;
}

int main(int count, char **words) {
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) fail("epoll_create1");
    if (count == 4 && !strcmp(words[1], "probe")) return probe(words[2], atof(words[3]));
    if (count < 2 || strcmp(words[1], "run")) return usage();
    const struct { const char *name; int *number; double *real; bool *flag; } known[] = {
        {"--port", &options.port, NULL, NULL}, {"--publishers", &options.publishers, NULL, NULL},
        {"--sessions", &options.sessions, NULL, NULL}, {"--window", &options.window, NULL, NULL},
        {"--payload", &options.payload, NULL, NULL}, {"--clean-pairs", &options.clean_pairs, NULL, NULL},
        {"--seconds", NULL, &options.seconds, NULL}, {"--warm", NULL, &options.warm, NULL},
        {"--rate", NULL, &options.rate, NULL}, {"--clean-rate", NULL, &options.clean_rate, NULL},
        {"--away", NULL, &options.away, NULL}, {"--report", NULL, &options.report, NULL},
        {"--settle", NULL, &options.settle, NULL}, {"--same", NULL, NULL, &options.same},
        {"--online", NULL, NULL, &options.online}, {"--alternate", NULL, NULL, &options.alternate},
        {"--drain", NULL, NULL, &options.drain}, {"--resume", NULL, NULL, &options.resume},
        {"--messages", &options.messages, NULL, NULL}, {"--durable-publishers", NULL, NULL, &options.durable_publishers},
    };
    for (int index = 2; index < count; index++) {
        bool found = false;
        if (!strcmp(words[index], "--prefix") && index + 1 < count) {
            options.prefix = words[++index];
            continue;
        }
        for (size_t each = 0; each < sizeof known / sizeof *known && !found; each++) {
            if (strcmp(words[index], known[each].name)) continue;
            found = true;
            if (known[each].flag) *known[each].flag = true;
            else if (index + 1 >= count) return usage();
            else if (known[each].number) *known[each].number = atoi(words[++index]);
            else *known[each].real = atof(words[++index]);
        }
        if (!found) return usage();
    }
    if (!options.port || options.payload < HEAD_BYTES || options.window < 1 || options.window > 30000) return usage();
    return run();
}
