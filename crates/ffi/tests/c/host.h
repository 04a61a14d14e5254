/* A host of libsds for the tests: calls that wait for their result, and events that can be waited for. */
#ifndef HOST_H
#define HOST_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libsds.h"

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);        \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

/* The result of one call. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int calls;
    int ret;
    char* text; /* a copy, with a zero byte at its end */
    size_t len;
} Result;

static inline void on_result(int ret, const char* msg, size_t len, void* user) {
    Result* result = user;
    pthread_mutex_lock(&result->lock);
    result->calls++;
    result->ret = ret;
    free(result->text);
    result->text = malloc(len + 1);
    memcpy(result->text, msg, len);
    result->text[len] = 0;
    result->len = len;
    pthread_cond_signal(&result->changed);
    pthread_mutex_unlock(&result->lock);
}

static inline void result_init(Result* result) {
    memset(result, 0, sizeof *result);
    pthread_mutex_init(&result->lock, NULL);
    pthread_cond_init(&result->changed, NULL);
}

/* Waits until the callback was called, as a host must that does not know on which thread that happens. */
static inline void result_wait(Result* result) {
    pthread_mutex_lock(&result->lock);
    while (result->calls == 0) pthread_cond_wait(&result->changed, &result->lock);
    pthread_mutex_unlock(&result->lock);
}

static inline void result_free(Result* result) {
    free(result->text);
    pthread_mutex_destroy(&result->lock);
    pthread_cond_destroy(&result->changed);
}

/* A message's bytes. */
typedef struct {
    unsigned char* bytes;
    size_t len;
} Message;

static inline Message message_of(const char* decimals) {
    Message message = {malloc(strlen(decimals) / 2 + 1), 0};
    while (*decimals) {
        char* end;
        message.bytes[message.len++] = (unsigned char)strtoul(decimals, &end, 10);
        decimals = *end == ',' ? end + 1 : end;
    }
    return message;
}

static inline void* new_manager(void) {
    Result result;
    result_init(&result);
    void* ctx = SdsNewReliabilityManager(on_result, &result);
    result_wait(&result);
    CHECK(ctx != NULL && result.ret == RET_OK && result.calls == 1);
    result_free(&result);
    return ctx;
}

static inline void clean_up(void* ctx) {
    Result result;
    result_init(&result);
    CHECK(SdsCleanupReliabilityManager(ctx, on_result, &result) == RET_OK);
    result_wait(&result);
    CHECK(result.ret == RET_OK && result.len == 0 && result.calls == 1);
    result_free(&result);
}

static inline Message wrap(void* ctx, const char* content, const char* id, const char* channel) {
    Result result;
    result_init(&result);
    CHECK(SdsWrapOutgoingMessage(ctx, (void*)content, strlen(content), id, channel, on_result, &result) == RET_OK);
    result_wait(&result);
    if (result.ret != RET_OK) fprintf(stderr, "%s\n", result.text);
    CHECK(result.ret == RET_OK && result.calls == 1 && result.len > 0);
    Message message = message_of(result.text);
    result_free(&result);
    return message;
}

/* The JSON of an unwrapped message; the caller frees it. */
static inline char* unwrap(void* ctx, Message message) {
    Result result;
    result_init(&result);
    CHECK(SdsUnwrapReceivedMessage(ctx, message.bytes, message.len, on_result, &result) == RET_OK);
    result_wait(&result);
    if (result.ret != RET_OK) fprintf(stderr, "%s\n", result.text);
    CHECK(result.ret == RET_OK && result.calls == 1);
    char* json = strdup(result.text);
    result_free(&result);
    return json;
}

/* Unwraps and says whether the JSON is this one. */
static inline int unwraps_to(void* ctx, Message message, const char* content, const char* channel, const char* missing) {
    char expected[4096];
    size_t end = (size_t)sprintf(expected, "{\"message\":[");
    for (size_t at = 0; content[at]; at++)
        end += (size_t)sprintf(expected + end, at ? ",%d" : "%d", (unsigned char)content[at]);
    sprintf(expected + end, "],\"channelId\":\"%s\",\"missingDeps\":[%s]}", channel, missing);
    char* json = unwrap(ctx, message);
    int same = strcmp(json, expected) == 0;
    if (!same) fprintf(stderr, "got      %s\nexpected %s\n", json, expected);
    free(json);
    return same;
}

static inline int mark_met(void* ctx, const char* id, const char* channel) {
    Result result;
    result_init(&result);
    char* ids[] = {(char*)id};
    CHECK(SdsMarkDependenciesMet(ctx, ids, 1, channel, on_result, &result) == RET_OK);
    result_wait(&result);
    int ret = result.ret;
    result_free(&result);
    return ret;
}

/* What was told to an event callback, a line each, in order. */
typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char* lines;
    size_t len;
} Events;

static inline void on_event(int ret, const char* msg, size_t len, void* user) {
    Events* events = user;
    CHECK(ret == RET_OK);
    pthread_mutex_lock(&events->lock);
    events->lines = realloc(events->lines, events->len + len + 2);
    memcpy(events->lines + events->len, msg, len);
    events->len += len;
    events->lines[events->len++] = '\n';
    events->lines[events->len] = 0;
    pthread_cond_broadcast(&events->changed);
    pthread_mutex_unlock(&events->lock);
}

static inline void events_init(Events* events) {
    memset(events, 0, sizeof *events);
    pthread_mutex_init(&events->lock, NULL);
    pthread_cond_init(&events->changed, NULL);
    events->lines = calloc(1, 1);
}

static inline void events_free(Events* events) {
    free(events->lines);
    pthread_mutex_destroy(&events->lock);
    pthread_cond_destroy(&events->changed);
}

/* Waits until an event has this text in it; where it begins in `lines`. Ends the test after a minute. */
static inline size_t event_wait(Events* events, const char* text) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&events->lock);
    char* found;
    while (!(found = strstr(events->lines, text))) {
        if (pthread_cond_timedwait(&events->changed, &events->lock, &until)) {
            fprintf(stderr, "no event with %s in:\n%s", text, events->lines);
            exit(1);
        }
    }
    size_t at = (size_t)(found - events->lines);
    pthread_mutex_unlock(&events->lock);
    return at;
}

static inline int event_was(Events* events, const char* text) {
    pthread_mutex_lock(&events->lock);
    int was = strstr(events->lines, text) != NULL;
    pthread_mutex_unlock(&events->lock);
    return was;
}

#endif
