/* reliable_channel.h as a host sees it: what each call promises, and what wrong use comes to. */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rc_host.h"

static const char* folder; /* a directory of the test's own */

static char* path(const char* name) {
    static char paths[8][512];
    static int at;
    char* into = paths[at++ % 8];
    snprintf(into, sizeof paths[0], "%s/%s", folder, name);
    return into;
}

static void a_message_goes_from_one_to_the_other_and_is_acknowledged(void) {
    rc_manager *alice = open_in("alice", "lobby", NULL), *bob = open_in("bob", "lobby", NULL);
    rc_buffer id = {0}, bytes = {0};
    /* Content is bytes, zero bytes among them. */
    rc_bytes content = {(const uint8_t*)"a\0b", 3};
    OK(rc_wrap(alice, rc_str("lobby"), rc_str(""), content, &id, &bytes));
    CHECK(id.len > 0 && bytes.len > 3);

    rc_unwrapped* unwrapped;
    OK(rc_unwrap(bob, bytes_of(bytes), &unwrapped));
    CHECK(unwrapped->fate == RC_FATE_DELIVERED && is(unwrapped->channel, "lobby"));
    CHECK(same(unwrapped->message.id, id) && is(unwrapped->message.sender, "alice"));
    CHECK(unwrapped->message.content.len == 3 && memcmp(unwrapped->message.content.data, "a\0b", 3) == 0);
    rc_unwrapped_free(unwrapped);

    rc_event* event = wait_for(bob, RC_EVENT_MESSAGE);
    CHECK(is(event->channel, "lobby") && same(event->message.id, id) && is(event->message.sender, "alice"));
    CHECK(event->message.number == 1 && event->message.lamport > 0 && event->message.missing_count == 0);
    rc_event_free(event);
    OK(rc_unwrap(bob, bytes_of(bytes), &unwrapped));
    CHECK(unwrapped->fate == RC_FATE_KNOWN);
    rc_unwrapped_free(unwrapped);

    rc_delivery state;
    double chance = -1;
    OK(rc_delivery_state(alice, rc_str("lobby"), bytes_of(id), &state, &chance));
    CHECK(state == RC_DELIVERY_PENDING && chance == 0);
    /* Bob acknowledges by himself, within four seconds. */
    event = wait_for(bob, RC_EVENT_TRANSMIT);
    OK(rc_unwrap(alice, event->bytes, NULL));
    rc_event_free(event);
    event = wait_for(alice, RC_EVENT_DELIVERED);
    CHECK(same(event->message.id, id) && is(event->peer, "bob") && event->flags == 0);
    rc_event_free(event);
    OK(rc_delivery_state(alice, rc_str("lobby"), bytes_of(id), &state, NULL));
    CHECK(state == RC_DELIVERY_DONE);
    OK(rc_delivery_state(alice, rc_str("lobby"), rc_str("nobody's"), &state, NULL));
    CHECK(state == RC_DELIVERY_UNKNOWN);

    rc_buffer_free(&id);
    rc_buffer_free(&bytes);
    rc_buffer_free(&bytes);
    OK(rc_close(alice));
    OK(rc_close(bob));
}

static void a_message_waits_for_what_it_refers_to(void) {
    rc_options* options = rc_options_new(rc_str("bob"));
    OK(rc_options_set(options, RC_OPTION_JOIN_BACKFILL, UINT64_MAX));
    rc_manager *alice = open_in("alice", "lobby", NULL), *bob;
    OK(rc_open(options, &bob));
    OK(rc_join(bob, rc_str("lobby")));
    rc_options_free(options);
    rc_buffer first, second;
    OK(rc_wrap(alice, rc_str("lobby"), rc_str("one"), rc_str("1"), NULL, &first));
    OK(rc_set_hint(alice, rc_str("lobby"), rc_str("one"), rc_str("in the archive")));
    OK(rc_wrap(alice, rc_str("lobby"), rc_str("two"), rc_str("2"), NULL, &second));

    rc_unwrapped* unwrapped;
    OK(rc_unwrap(bob, bytes_of(second), &unwrapped));
    CHECK(unwrapped->fate == RC_FATE_WAITS && unwrapped->message.missing_count == 1);
    CHECK(is(unwrapped->message.missing[0].id, "one") && is(unwrapped->message.missing[0].hint, "in the archive"));
    rc_unwrapped_free(unwrapped);
    rc_event* event = wait_for(bob, RC_EVENT_MISSING);
    CHECK(is(event->message.id, "two") && event->message.missing_count == 1 && is(event->message.missing[0].id, "one"));
    rc_event_free(event);
    OK(rc_unwrap(bob, bytes_of(first), NULL));
    uint64_t incarnation = 0;
    for (const char** id = (const char*[]){"one", "two", NULL}; *id; id++) {
        event = wait_for(bob, RC_EVENT_MESSAGE);
        CHECK(is(event->message.id, *id));
        incarnation = event->message.incarnation;
        rc_event_free(event);
    }

    rc_log* log;
    OK(rc_log_read(bob, rc_str("lobby"), &log));
    CHECK(log->count == 2 && is(log->messages[0].content, "1") && is(log->messages[1].content, "2"));
    CHECK(log->messages[0].flags == 0 && log->messages[0].number == 1);
    CHECK(log->messages[0].incarnation == incarnation && incarnation != 0);
    rc_log_free(log);
    OK(rc_log_read(alice, rc_str("lobby"), &log));
    CHECK(log->count == 2 && log->messages[1].flags == RC_FLAG_OWN && log->messages[1].number == 0);
    CHECK(log->messages[1].incarnation == 0);
    rc_log_free(log);
    OK(rc_deliveries_since(bob, rc_str("lobby"), incarnation, 1, &log));
    CHECK(log->count == 1 && is(log->messages[0].id, "two") && log->messages[0].number == 2 && log->lost == 0);
    rc_log_free(log);
    CHECK(rc_deliveries_since(bob, rc_str("lobby"), incarnation + 1, 1, &log) == RC_ERR_STORE && log == NULL);

    rc_sync sync;
    uint64_t received = 9, missing = 9;
    OK(rc_sync_status(bob, rc_str("lobby"), &sync, &received, &missing));
    CHECK(sync == RC_SYNC_IN_SYNC && received == 0 && missing == 0);
    OK(rc_catch_up(bob, rc_str("lobby")));
    OK(rc_online(bob));
    rc_buffer_free(&first);
    rc_buffer_free(&second);
    OK(rc_close(alice));
    OK(rc_close(bob));
}

static void what_was_saved_is_there_after_a_restart(void) {
    char* store = path("store");
    rc_manager* alice = open_in("alice", "lobby", store);
    rc_buffer bytes;
    OK(rc_wrap(alice, rc_str("lobby"), rc_str("one"), rc_str("kept"), NULL, &bytes));
    /* Nobody else has it meanwhile. */
    rc_options* options = rc_options_new(rc_str("alice"));
    OK(rc_options_store(options, rc_str(store)));
    rc_manager* second;
    CHECK(rc_open(options, &second) == RC_ERR_STORE && second == NULL);
    OK(rc_close(alice));

    alice = open_in("alice", "lobby", store);
    rc_log* log;
    OK(rc_log_read(alice, rc_str("lobby"), &log));
    CHECK(log->count == 1 && is(log->messages[0].content, "kept"));
    rc_log_free(log);
    OK(rc_leave(alice, rc_str("lobby")));
    CHECK(rc_log_read(alice, rc_str("lobby"), &log) == RC_ERR_CHANNEL && log == NULL);
    OK(rc_join(alice, rc_str("lobby")));
    OK(rc_withdraw(alice, rc_str("lobby"), rc_str("one")));
    CHECK(rc_withdraw(alice, rc_str("lobby"), rc_str("two")) == RC_ERR_MESSAGE);
    OK(rc_forget(alice, rc_str("lobby")));
    OK(rc_join(alice, rc_str("lobby")));
    OK(rc_log_read(alice, rc_str("lobby"), &log));
    CHECK(log->count == 0 && log->messages == NULL);
    rc_log_free(log);
    rc_buffer_free(&bytes);
    rc_options_free(options);
    OK(rc_close(alice));
}

static void messages_that_nobody_keeps(void) {
    rc_manager *alice = open_in("alice", "lobby", NULL), *bob = open_in("bob", "lobby", NULL);
    rc_buffer bytes;
    OK(rc_wrap_ephemeral(alice, rc_str("lobby"), rc_str("typing"), &bytes));
    rc_unwrapped* unwrapped;
    OK(rc_unwrap(bob, bytes_of(bytes), &unwrapped));
    CHECK(unwrapped->fate == RC_FATE_EPHEMERAL);
    rc_unwrapped_free(unwrapped);
    rc_event* event = wait_for(bob, RC_EVENT_EPHEMERAL);
    CHECK(is(event->message.sender, "alice") && is(event->message.content, "typing"));
    rc_event_free(event);
    rc_buffer_free(&bytes);
    OK(rc_close(alice));
    OK(rc_close(bob));
}

static void a_descriptor_is_readable_while_there_are_events(void) {
    rc_manager *alice = open_in("alice", "lobby", NULL), *bob;
    /* Bob has nothing to say by himself in the first seconds. */
    rc_options* options = rc_options_new(rc_str("bob"));
    OK(rc_options_set(options, RC_OPTION_CATCH_UP, 0));
    OK(rc_open(options, &bob));
    rc_options_free(options);
    OK(rc_join(bob, rc_str("lobby")));
    rc_event* event;
    CHECK(rc_next_event(bob, 0, &event) == RC_TIMEOUT && event == NULL);
    CHECK(rc_next_event(bob, 20, &event) == RC_TIMEOUT);
    struct pollfd watched = {-1, POLLIN, 0};
    OK(rc_event_fd(bob, &watched.fd));
    CHECK(poll(&watched, 1, 0) == 0);
    rc_buffer bytes;
    OK(rc_wrap(alice, rc_str("lobby"), rc_str(""), rc_str("hi"), NULL, &bytes));
    OK(rc_unwrap(bob, bytes_of(bytes), NULL));
    CHECK(poll(&watched, 1, 60000) == 1);
    int messages = 0;
    while (rc_next_event(bob, 0, &event) == RC_OK) {
        messages += event->kind == RC_EVENT_MESSAGE;
        rc_event_free(event);
    }
    CHECK(messages == 1 && poll(&watched, 1, 0) == 0);
    int again;
    OK(rc_event_fd(bob, &again));
    CHECK(again == watched.fd);
    rc_buffer_free(&bytes);
    OK(rc_close(alice));
    OK(rc_close(bob));
}

static void* ask_until_the_end(void* manager) {
    rc_event* event;
    rc_code code;
    while ((code = rc_next_event(manager, -1, &event)) == RC_OK) rc_event_free(event);
    return (void*)(intptr_t)code;
}

static void closing_wakes_whoever_waits_for_events(void) {
    rc_manager* manager = open_in("alice", "lobby", NULL);
    pthread_t thread;
    void* code;
    pthread_create(&thread, NULL, ask_until_the_end, manager);
    usleep(50000);
    OK(rc_close(manager));
    pthread_join(thread, &code);
    CHECK((intptr_t)code == RC_ENDED || (intptr_t)code == RC_ERR_HANDLE);
}

typedef struct {
    rc_manager* manager;
    atomic_int heard, closed;
} Hearing;

static void answer_the_first(const rc_event* event, void* user) {
    Hearing* hearing = user;
    if (event->kind != RC_EVENT_MESSAGE) return;
    rc_buffer bytes;
    OK(rc_wrap(hearing->manager, event->channel, rc_str(""), rc_str("an answer"), NULL, &bytes));
    rc_buffer_free(&bytes);
    rc_event* none;
    CHECK(rc_next_event(hearing->manager, 0, &none) == RC_ERR_REFUSED);
    if (++hearing->heard == 2) hearing->closed = rc_close(hearing->manager) == RC_OK ? 1 : -1;
}

static void a_callback_hears_events_and_may_call_in_and_close(void) {
    Hearing hearing = {NULL, 0, 0};
    rc_options* options = rc_options_new(rc_str("bob"));
    OK(rc_options_on_event(options, answer_the_first, &hearing));
    OK(rc_open(options, &hearing.manager));
    rc_options_free(options);
    OK(rc_join(hearing.manager, rc_str("lobby")));
    rc_manager* alice = open_in("alice", "lobby", NULL);
    for (int at = 0; at < 2; at++) {
        rc_buffer bytes;
        OK(rc_wrap(alice, rc_str("lobby"), rc_str(""), rc_str("hi"), NULL, &bytes));
        OK(rc_unwrap(hearing.manager, bytes_of(bytes), NULL));
        rc_buffer_free(&bytes);
    }
    for (int at = 0; at < 6000 && !hearing.closed; at++) usleep(10000);
    CHECK(hearing.heard == 2 && hearing.closed == 1);
    CHECK(rc_close(hearing.manager) == RC_ERR_HANDLE);
    OK(rc_close(alice));
}

typedef struct {
    atomic_int waits, messages, given_up, after_the_gap;
} Slow;

static void wait_in_the_first(const rc_event* event, void* user) {
    Slow* slow = user;
    if (event->kind == RC_EVENT_MISSED) {
        CHECK(slow->messages == 1);
        slow->given_up += (int)event->count;
        return;
    }
    if (event->kind != RC_EVENT_EPHEMERAL) return;
    if (slow->given_up) slow->after_the_gap++;
    if (slow->messages++ == 0) while (slow->waits) usleep(1000);
}

/* 64 MiB of events wait for a callback, and it is told how many more there were. */
static void a_callback_that_is_too_slow_is_told_so(void) {
    enum { ALL = 80 };
    Slow slow = {1, 0, 0, 0};
    rc_options* options = rc_options_new(rc_str("bob"));
    OK(rc_options_on_event(options, wait_in_the_first, &slow));
    /* Else he has something to say by himself, which may be among what is given up. */
    OK(rc_options_set(options, RC_OPTION_CATCH_UP, 0));
    rc_manager *alice = open_in("alice", "lobby", NULL), *bob;
    OK(rc_open(options, &bob));
    rc_options_free(options);
    OK(rc_join(bob, rc_str("lobby")));
    rc_bytes content = {calloc(1, 1000000), 1000000};
    for (int at = 0; at < ALL; at++) {
        rc_buffer bytes;
        OK(rc_wrap_ephemeral(alice, rc_str("lobby"), content, &bytes));
        OK(rc_unwrap(bob, bytes_of(bytes), NULL));
        rc_buffer_free(&bytes);
        while (slow.messages == 0) usleep(1000);
    }
    slow.waits = 0;
    for (int at = 0; at < 6000 && slow.messages + slow.given_up < ALL; at++) usleep(10000);
    CHECK(slow.messages + slow.given_up >= ALL && slow.given_up > 0 && slow.given_up < ALL - 60 && slow.after_the_gap > 60);
    free((void*)content.data);
    OK(rc_close(alice));
    OK(rc_close(bob));
}

/* A network of two, that carries what one publishes to the other, and loses all of it while it is cut. */
typedef struct Network {
    rc_manager* other;
    const char* name;
    atomic_int cut, wanted, published, slow, inside;
} Network;

static int publish(rc_bytes topic, rc_bytes to, rc_bytes bytes, void* user) {
    Network* network = user;
    (void)to;
    if (network->cut) return RC_PUBLISH_LATER;
    network->published++;
    network->inside++;
    if (network->slow) usleep(1500000);
    network->inside--;
    OK(rc_receive(network->other, topic, rc_str(network->name), bytes));
    return RC_PUBLISHED;
}

static void want(rc_bytes topic, int wanted, void* user) {
    CHECK(is(topic, "lobby"));
    ((Network*)user)->wanted += wanted ? 1 : -1;
}

static rc_manager* open_on(Network* network, const char* store) {
    rc_options* options = rc_options_new(rc_str(network->name));
    rc_transport transport = {1000, publish, want, network};
    OK(rc_options_transport(options, &transport));
    if (store) OK(rc_options_store(options, rc_str(store)));
    rc_manager* manager;
    OK(rc_open(options, &manager));
    rc_options_free(options);
    return manager;
}

static void a_network_of_the_host_carries_it_all(void) {
    Network of_alice = {.name = "alice"}, of_bob = {.name = "bob"};
    rc_manager *alice = open_on(&of_alice, NULL), *bob = open_on(&of_bob, NULL);
    of_alice.other = bob;
    of_bob.other = alice;
    OK(rc_join(alice, rc_str("lobby")));
    OK(rc_join(bob, rc_str("lobby")));
    OK(rc_join(bob, rc_str("lobby")));
    CHECK(of_alice.wanted == 1 && of_bob.wanted == 1);

    rc_buffer id;
    OK(rc_send(alice, rc_str("lobby"), rc_str("hello"), &id));
    rc_event* event = wait_for(bob, RC_EVENT_MESSAGE);
    CHECK(is(event->message.content, "hello") && same(event->message.id, id) && is(event->channel, "lobby"));
    rc_event_free(event);
    event = wait_for(alice, RC_EVENT_DELIVERED);
    CHECK(same(event->message.id, id) && is(event->peer, "bob"));
    rc_event_free(event);
    rc_delivery state;
    OK(rc_delivery_state(alice, rc_str("lobby"), bytes_of(id), &state, NULL));
    CHECK(state == RC_DELIVERY_DONE);
    rc_buffer_free(&id);

    /* Larger than the network carries: in segments, whole at the other end. */
    size_t large = 20000;
    uint8_t* file = malloc(large);
    for (size_t at = 0; at < large; at++) file[at] = (uint8_t)(at * at >> 8);
    rc_bytes content = {file, large};
    int before = of_alice.published;
    OK(rc_send(alice, rc_str("lobby"), content, NULL));
    event = wait_for(bob, RC_EVENT_MESSAGE);
    CHECK(event->message.content.len == large && memcmp(event->message.content.data, file, large) == 0);
    CHECK(of_alice.published - before > 20);
    rc_event_free(event);
    free(file);

    /* What is said while the network is cut arrives when it is back. */
    of_alice.cut = 1;
    OK(rc_send(alice, rc_str("lobby"), rc_str("anybody?"), NULL));
    rc_event_free(wait_for(alice, RC_EVENT_DISCONNECTED));
    of_alice.cut = 0;
    rc_event_free(wait_for(alice, RC_EVENT_CONNECTED));
    event = wait_for(bob, RC_EVENT_MESSAGE);
    CHECK(is(event->message.content, "anybody?"));
    rc_event_free(event);
    OK(rc_send_ephemeral(alice, rc_str("lobby"), rc_str("typing")));
    rc_event_free(wait_for(bob, RC_EVENT_EPHEMERAL));
    rc_log* log;
    OK(rc_log_read(bob, rc_str("lobby"), &log));
    CHECK(log->count == 3 && log->messages[1].content.len == large);
    rc_log_free(log);

    rc_buffer bytes;
    CHECK(rc_wrap(alice, rc_str("lobby"), rc_str(""), rc_str("x"), NULL, &bytes) == RC_ERR_TRANSPORT_MODE);
    CHECK(bytes.data == NULL);
    CHECK(rc_resend(alice, rc_str("lobby"), rc_str("x")) == RC_ERR_TRANSPORT_MODE);
    CHECK(rc_withdraw(alice, rc_str("lobby"), rc_str("x")) == RC_ERR_TRANSPORT_MODE);
    CHECK(rc_send(alice, rc_str("elsewhere"), rc_str("x"), NULL) == RC_ERR_CHANNEL);
    OK(rc_transport_max_bytes(alice, 2000));
    OK(rc_leave(bob, rc_str("lobby")));
    /* The network hears of it a moment later, from another thread. */
    for (int at = 0; at < 6000 && of_bob.wanted; at++) usleep(1000);
    CHECK(of_bob.wanted == 0);

    /* Closing waits for the host's function, however long that takes. */
    of_alice.slow = 1;
    OK(rc_send(alice, rc_str("lobby"), rc_str("slowly"), NULL));
    for (int at = 0; at < 6000 && !of_alice.inside; at++) usleep(1000);
    CHECK(of_alice.inside == 1);
    OK(rc_close(alice));
    CHECK(of_alice.inside == 0);
    OK(rc_close(bob));
}

/* The disk is full for this process: nothing can be written to any file. */
static void fill_the_disk(int full) {
    static struct rlimit before;
    if (full) CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    struct rlimit now = {full ? 0 : before.rlim_cur, before.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &now) == 0);
}

/* What is not saved is not left, and can be left later. */
static void a_channel_that_cannot_be_saved_stays_joined(void) {
    signal(SIGXFSZ, SIG_IGN);
    Network network = {.name = "alice", .cut = 1};
    rc_manager* alice = open_on(&network, path("full"));
    OK(rc_join(alice, rc_str("lobby")));
    fill_the_disk(1);
    OK(rc_send(alice, rc_str("lobby"), rc_str("not saved"), NULL));
    CHECK(rc_leave(alice, rc_str("lobby")) == RC_ERR_STORE);
    CHECK(rc_forget(alice, rc_str("lobby")) == RC_ERR_STORE);
    rc_log* log;
    OK(rc_log_read(alice, rc_str("lobby"), &log));
    CHECK(log->count == 1);
    rc_log_free(log);
    fill_the_disk(0);
    /* The store is opened anew by the first call that finds it well again. */
    rc_code left = RC_ERR_STORE;
    for (int at = 0; at < 600 && left != RC_OK; at++) {
        left = rc_leave(alice, rc_str("lobby"));
        if (left != RC_OK) usleep(100000);
    }
    CHECK(left == RC_OK);
    CHECK(rc_leave(alice, rc_str("lobby")) == RC_ERR_CHANNEL);
    OK(rc_join(alice, rc_str("lobby")));
    OK(rc_log_read(alice, rc_str("lobby"), &log));
    CHECK(log->count == 1);
    rc_log_free(log);
    OK(rc_forget(alice, rc_str("lobby")));
    OK(rc_forget(alice, rc_str("lobby")));
    OK(rc_close(alice));
}

static void wrong_use_is_an_error(void) {
    rc_manager *alice = open_in("alice", "lobby", NULL), *none;
    rc_buffer bytes;
    rc_bytes nowhere = {NULL, 3}, empty = {NULL, 0};
    rc_options* options = rc_options_new(rc_str("bob"));
    CHECK(rc_wrap(alice, rc_str("lobby"), empty, nowhere, NULL, &bytes) == RC_ERR_ARGUMENT && bytes.data == NULL);
    CHECK(rc_wrap(alice, rc_str("lobby"), empty, rc_str("x"), NULL, NULL) == RC_ERR_ARGUMENT);
    CHECK(rc_wrap(alice, rc_str("lobby"), empty, empty, NULL, &bytes) == RC_ERR_REFUSED);
    CHECK(strstr(rc_last_error(), "empty"));
    CHECK(rc_wrap(alice, rc_str("elsewhere"), empty, rc_str("x"), NULL, &bytes) == RC_ERR_CHANNEL);
    CHECK(rc_wrap(alice, empty, empty, rc_str("x"), NULL, &bytes) == RC_ERR_ARGUMENT);
    rc_bytes large = {calloc(2, 1 << 20), 2 << 20};
    CHECK(rc_wrap(alice, rc_str("lobby"), empty, large, NULL, &bytes) == RC_ERR_TOO_LARGE);
    free((void*)large.data);
    CHECK(rc_unwrap(alice, rc_str("no message"), NULL) == RC_ERR_PEER);
    CHECK(rc_send(alice, rc_str("lobby"), rc_str("x"), NULL) == RC_ERR_TRANSPORT_MODE);
    CHECK(rc_receive(alice, rc_str("lobby"), empty, rc_str("x")) == RC_ERR_TRANSPORT_MODE);
    CHECK(rc_join(alice, nowhere) == RC_ERR_ARGUMENT);
    CHECK(rc_next_event(alice, 0, NULL) == RC_ERR_ARGUMENT);
    CHECK(rc_resend(alice, rc_str("lobby"), rc_str("unknown")) == RC_ERR_MESSAGE);

    CHECK(rc_options_set(options, 4711, 1) == RC_ERR_ARGUMENT);
    CHECK(rc_options_set(options, RC_OPTION_DIALECT, 3) == RC_ERR_ARGUMENT);
    OK(rc_options_set(options, RC_OPTION_MAX_MESSAGES, 0));
    CHECK(rc_open(options, &none) == RC_ERR_OPTIONS && none == NULL);
    CHECK(strstr(rc_last_error(), "max_message_history"));
    CHECK(rc_open(options, NULL) == RC_ERR_ARGUMENT);
    rc_transport deaf = {1000, NULL, NULL, NULL};
    CHECK(rc_options_transport(options, &deaf) == RC_ERR_ARGUMENT);
    OK(rc_options_transport(options, NULL));
    rc_options_free(options);
    /* What a manager with a transport does not have is not passed over. */
    for (int option = RC_OPTION_AUTO_JOIN; option <= RC_OPTION_MAX_MEMORY; option++) {
        Network network = {.name = "carol"};
        rc_transport transport = {1000, publish, want, &network};
        options = rc_options_new(rc_str("carol"));
        OK(rc_options_set(options, (uint32_t)option, 1));
        OK(rc_options_transport(options, &transport));
        CHECK(rc_open(options, &none) == RC_ERR_OPTIONS && strstr(rc_last_error(), "RC_OPTION_MAX_CHANNELS"));
        rc_options_free(options);
    }
    rc_options_free(NULL);
    CHECK(rc_options_set(options, RC_OPTION_CATCH_UP, 1) == RC_ERR_HANDLE);
    CHECK(rc_open(options, &none) == RC_ERR_HANDLE);

    OK(rc_close(alice));
    int here;
    rc_manager* foreign[] = {alice, NULL, (rc_manager*)&here, (rc_manager*)4};
    for (int at = 0; at < 4; at++) {
        CHECK(rc_close(foreign[at]) == RC_ERR_HANDLE);
        CHECK(rc_join(foreign[at], rc_str("lobby")) == RC_ERR_HANDLE);
        CHECK(rc_unwrap(foreign[at], rc_str("x"), NULL) == RC_ERR_HANDLE);
        CHECK(rc_online(foreign[at]) == RC_ERR_HANDLE);
    }
    rc_event_free(NULL);
    rc_log_free(NULL);
    rc_unwrapped_free(NULL);
    rc_buffer_free(NULL);
    CHECK(strcmp(rc_code_text(RC_OK), "done") == 0 && strcmp(rc_code_text(99), "no such code") == 0);
}

/* What nim-sds saved: see tests/vectors. Its path is the second argument. */
static void what_nim_sds_saved_is_taken_over(const char* file, const char* channel, const char* participant) {
    FILE* from = fopen(file, "rb");
    CHECK(from != NULL);
    static uint8_t blob[1 << 20];
    size_t len = fread(blob, 1, sizeof blob, from);
    fclose(from);
    rc_bytes snapshot = {blob, len};
    char* store = path("nim");
    size_t doubts = 99;
    CHECK(rc_import_nim(rc_str(store), rc_str(participant), rc_str(channel), 7, snapshot, 0, &doubts) == RC_ERR_ARGUMENT);
    CHECK(rc_import_nim(rc_str(store), rc_str(participant), rc_str(channel), RC_NIM_DATA, snapshot, len + 1, &doubts) ==
          RC_ERR_REFUSED);
    CHECK(rc_import_nim(rc_str(store), rc_str(participant), rc_str("another"), RC_NIM_DATA, snapshot, len, &doubts) ==
          RC_ERR_REFUSED);
    OK(rc_import_nim(rc_str(store), rc_str(participant), rc_str(channel), RC_NIM_DATA, snapshot, len, &doubts));
    CHECK(rc_import_nim(rc_str(store), rc_str(participant), rc_str(channel), RC_NIM_DATA, snapshot, len, &doubts) ==
          RC_ERR_REFUSED);
    rc_options* options = rc_options_new(rc_str(participant));
    OK(rc_options_set(options, RC_OPTION_DIALECT, RC_DIALECT_NIM_SDS));
    OK(rc_options_store(options, rc_str(store)));
    rc_manager* manager;
    OK(rc_open(options, &manager));
    rc_options_free(options);
    OK(rc_join(manager, rc_str(channel)));
    rc_log* log;
    OK(rc_log_read(manager, rc_str(channel), &log));
    CHECK(log->count > 0);
    printf("%zu messages of nim-sds\n", log->count);
    rc_log_free(log);
    OK(rc_close(manager));
}

int main(int count, char** arguments) {
    CHECK(count == 5);
    folder = arguments[1];
    a_message_goes_from_one_to_the_other_and_is_acknowledged();
    a_message_waits_for_what_it_refers_to();
    what_was_saved_is_there_after_a_restart();
    messages_that_nobody_keeps();
    a_descriptor_is_readable_while_there_are_events();
    closing_wakes_whoever_waits_for_events();
    a_callback_hears_events_and_may_call_in_and_close();
    a_callback_that_is_too_slow_is_told_so();
    a_network_of_the_host_carries_it_all();
    a_channel_that_cannot_be_saved_stays_joined();
    wrong_use_is_an_error();
    what_nim_sds_saved_is_taken_over(arguments[2], arguments[3], arguments[4]);
    puts("12 scenarios of rc_*");
    return 0;
}
