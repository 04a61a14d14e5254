/* A host of reliable_channel.h for the tests. */
#ifndef RC_HOST_H
#define RC_HOST_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reliable_channel.h"

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, rc_last_error()); \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

#define OK(call) CHECK((call) == RC_OK)

static inline int is(rc_bytes bytes, const char* text) {
    return bytes.len == strlen(text) && (bytes.len == 0 || memcmp(bytes.data, text, bytes.len) == 0);
}

static inline int same(rc_bytes a, rc_buffer b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline rc_bytes bytes_of(rc_buffer buffer) {
    rc_bytes bytes = {buffer.data, buffer.len};
    return bytes;
}

/* A manager without a transport, in this channel. */
static inline rc_manager* open_in(const char* name, const char* channel, const char* store) {
    rc_options* options = rc_options_new(rc_str(name));
    CHECK(options != NULL);
    if (store) OK(rc_options_store(options, rc_str(store)));
    rc_manager* manager;
    OK(rc_open(options, &manager));
    rc_options_free(options);
    OK(rc_join(manager, rc_str(channel)));
    return manager;
}

/* The next event of this kind, the others passed over; the test ends where there is none within a minute. */
static inline rc_event* wait_for(rc_manager* manager, rc_event_kind kind) {
    for (int at = 0; at < 10000; at++) {
        rc_event* event;
        rc_code code = rc_next_event(manager, 60000, &event);
        if (code != RC_OK) fprintf(stderr, "no event %d, but %s\n", kind, rc_code_text(code));
        CHECK(code == RC_OK && event != NULL);
        if (event->kind == kind) return event;
        rc_event_free(event);
    }
    CHECK(!"too many events");
    return NULL;
}

#endif
