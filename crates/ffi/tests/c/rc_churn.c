/* Threads that call managers of reliable_channel.h while others close them and open new ones: rc_churn THREADS CALLS
 * Of each three managers one is asked for events, one tells them to a callback, and one has a network, which hands every message
 * to all managers of its kind. Prints what was done. */
#include <dirent.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "rc_host.h"

enum { MANAGERS = 15, MESSAGES = 24 };
enum { POLLED, CALLED, NETWORKED, KINDS };

static _Atomic(rc_manager*) managers[MANAGERS];
static rc_buffer messages[MESSAGES];
static atomic_long answered, failed, refused, told, published, made;
static long calls_each;

static void count_event(const rc_event* event, void* user) {
    CHECK(event && user == &told);
    told++;
}

static int publish(rc_bytes topic, rc_bytes to, rc_bytes bytes, void* user) {
    CHECK(user == &published && topic.len > 0 && bytes.len > 0);
    published++;
    (void)to;
    for (int slot = NETWORKED; slot < MANAGERS; slot += KINDS) {
        rc_code code = rc_receive(managers[slot], topic, rc_str(""), bytes);
        CHECK(code == RC_OK || code == RC_ERR_HANDLE);
    }
    return RC_PUBLISHED;
}

static rc_manager* open_as(int kind) {
    rc_options* options = rc_options_new(rc_str("churner"));
    CHECK(options != NULL);
    if (kind == CALLED) OK(rc_options_on_event(options, count_event, &told));
    rc_transport transport = {4096, publish, NULL, &published};
    if (kind == NETWORKED) OK(rc_options_transport(options, &transport));
    rc_manager* manager;
    OK(rc_open(options, &manager));
    rc_options_free(options);
    /* Whoever has them no more has none: another may have the same place. */
    CHECK(rc_options_set(options, RC_OPTION_CONFIRM_DELIVERIES, 1) == RC_ERR_HANDLE);
    OK(rc_join(manager, rc_str("churn")));
    made++;
    return manager;
}

static unsigned next(unsigned* seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    return *seed ^= *seed << 5;
}

/* One call; what it gives is given back. */
static rc_code call(rc_manager* manager, int slot, unsigned what, rc_buffer message) {
    rc_bytes channel = rc_str("churn"), none = rc_str(""), text = rc_str("some content");
    rc_code code;
    if (what < 300) {
        rc_buffer id = {0}, bytes = {0};
        code = rc_wrap(manager, channel, none, text, &id, &bytes);
        CHECK(code == RC_OK ? id.len > 0 && bytes.len > text.len : id.len == 0 && bytes.len == 0);
        rc_buffer_free(&id);
        rc_buffer_free(&bytes);
    } else if (what < 600) {
        rc_unwrapped* unwrapped = NULL;
        code = rc_unwrap(manager, bytes_of(message), &unwrapped);
        CHECK((code == RC_OK) == (unwrapped != NULL));
        if (unwrapped) CHECK(is(unwrapped->channel, "churn"));
        rc_unwrapped_free(unwrapped);
    } else if (what < 700) {
        code = rc_send(manager, channel, text, NULL);
    } else if (what < 850) {
        rc_event* event = NULL;
        code = rc_next_event(manager, what % 3, &event);
        CHECK((code == RC_OK) == (event != NULL));
        rc_event_free(event);
        if (code == RC_TIMEOUT || code == RC_ENDED) code = RC_OK;
    } else if (what < 870) {
        rc_log* log = NULL;
        code = rc_log_read(manager, channel, &log);
        CHECK((code == RC_OK) == (log != NULL));
        rc_log_free(log);
    } else if (what < 890) {
        rc_sync sync;
        code = rc_sync_status(manager, channel, &sync, NULL, NULL);
    } else if (what < 910) {
        code = rc_mark_met(manager, channel, rc_str("an id"));
    } else if (what < 930) {
        int descriptor = -1;
        code = rc_event_fd(manager, &descriptor);
        CHECK((code == RC_OK) == (descriptor >= 0));
    } else if (what < 950) {
        code = rc_catch_up(manager, channel);
    } else if (what < 960) {
        code = rc_leave(manager, channel);
    } else if (what < 985) {
        code = rc_join(manager, channel);
    } else {
        /* Others may be inside it, or about to call. */
        rc_manager* old = atomic_exchange(&managers[slot], open_as(slot % KINDS));
        code = rc_close(old);
        CHECK(code == RC_OK && rc_close(old) == RC_ERR_HANDLE);
    }
    return code;
}

static void* caller(void* number) {
    unsigned seed = 2463534242u + 7919u * (unsigned)(uintptr_t)number;
    for (long at = 0; at < calls_each; at++) {
        int slot = (int)(next(&seed) % MANAGERS);
        unsigned what = next(&seed) % 1000, message = next(&seed) % MESSAGES;
        rc_code code = call(managers[slot], slot, what, messages[message]);
        if (code == RC_OK) answered++;
        else if (code == RC_ERR_HANDLE) refused++;
        else {
            /* Of another kind, or left meanwhile. */
            int expected = code == RC_ERR_TRANSPORT_MODE || code == RC_ERR_CHANNEL || code == RC_ERR_REFUSED;
            if (!expected) fprintf(stderr, "call %u of manager %d: %s, %s\n", what, slot, rc_code_text(code), rc_last_error());
            CHECK(expected);
            failed++;
        }
    }
    return NULL;
}

static int descriptors(void) {
    int count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count;
}

int main(int argc, char** argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 8;
    calls_each = argc > 2 ? atol(argv[2]) : 1000;
    rc_manager* sender = open_in("sender", "churn", NULL);
    for (int number = 0; number < MESSAGES; number++)
        OK(rc_wrap(sender, rc_str("churn"), rc_str(""), rc_str("some content of a message"), NULL, &messages[number]));
    int before = descriptors();
    for (int slot = 0; slot < MANAGERS; slot++) managers[slot] = open_as(slot % KINDS);
    pthread_t ids[256];
    CHECK(threads > 0 && threads <= 256);
    for (int number = 0; number < threads; number++)
        CHECK(pthread_create(&ids[number], NULL, caller, (void*)(uintptr_t)(number + 1)) == 0);
    for (int number = 0; number < threads; number++) pthread_join(ids[number], NULL);
    for (int slot = 0; slot < MANAGERS; slot++) OK(rc_close(managers[slot]));
    OK(rc_close(sender));
    long last = told, sent = published;
    usleep(100000);
    CHECK(told == last && published == sent); /* nobody is left who calls */
    CHECK(descriptors() == before);
    CHECK(answered > 0 && told > 0 && published > 0 && made > MANAGERS);
    for (int number = 0; number < MESSAGES; number++) rc_buffer_free(&messages[number]);
    printf("at the end: %ld calls, %ld failed, %ld on a manager that had ended, %ld managers, %ld events, %ld published\n",
           (long)(answered + failed + refused), (long)failed, (long)refused, (long)made, (long)told, (long)published);
    return 0;
}
