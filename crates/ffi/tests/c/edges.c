/* What a host may do wrong, and what it may do from inside a callback. */
#include <stdatomic.h>
#include <unistd.h>

#include "host.h"

/* The call answered RET_OK or RET_ERR as expected, and the callback was called once with this. */
#define ANSWERS(returned, code, expected, call)                                                        \
    do {                                                                                               \
        Result result;                                                                                 \
        result_init(&result);                                                                          \
        CHECK((call) == (returned));                                                                   \
        result_wait(&result);                                                                          \
        if (strcmp(result.text, expected) != 0) fprintf(stderr, "got %s\n", result.text);              \
        CHECK(result.calls == 1 && result.ret == (code) && strcmp(result.text, expected) == 0);        \
        result_free(&result);                                                                          \
    } while (0)

static void wrong_arguments(void) {
    void* rm = new_manager();
    char content[] = "content";
    char* ids[] = {"a", NULL};
    ANSWERS(RET_ERR, RET_ERR, "libsds error: message pointer is NULL but length > 0",
            SdsWrapOutgoingMessage(rm, NULL, 1, NULL, NULL, on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: message ID pointer is NULL",
            SdsWrapOutgoingMessage(rm, content, 7, NULL, NULL, on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: channel ID pointer is NULL",
            SdsWrapOutgoingMessage(rm, content, 7, "id", NULL, on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: channel ID is empty string",
            SdsWrapOutgoingMessage(rm, content, 7, "id", "", on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: message pointer is NULL but length > 0",
            SdsUnwrapReceivedMessage(rm, NULL, 1, on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: MessageIDs pointer is NULL but count > 0",
            SdsMarkDependenciesMet(rm, NULL, 1, NULL, on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: message ID pointer is NULL",
            SdsMarkDependenciesMet(rm, ids, 2, "room", on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: channel ID pointer is NULL",
            SdsMarkDependenciesMet(rm, ids, 1, NULL, on_result, &result));
    ANSWERS(RET_ERR, RET_ERR, "libsds error: channel ID is empty string",
            SdsMarkDependenciesMet(rm, ids, 1, "", on_result, &result));
    clean_up(rm);
}

static void failing_operations(void) {
    void* rm = new_manager();
    size_t size = (1 << 20) + 1;
    char* large = calloc(1, size);
    char* ids[] = {"a"};
    ANSWERS(RET_OK, RET_ERR, "error processing WRAP_MESSAGE request: reInvalidArgument",
            SdsWrapOutgoingMessage(rm, NULL, 0, "id", "room", on_result, &result));
    ANSWERS(RET_OK, RET_ERR, "error processing WRAP_MESSAGE request: reInvalidArgument",
            SdsWrapOutgoingMessage(rm, "text", 4, "", "room", on_result, &result));
    ANSWERS(RET_OK, RET_ERR, "error processing WRAP_MESSAGE request: reMessageTooLarge",
            SdsWrapOutgoingMessage(rm, large, size, "id", "room", on_result, &result));
    ANSWERS(RET_OK, RET_ERR, "error processing UNWRAP_MESSAGE request: reDeserializationError",
            SdsUnwrapReceivedMessage(rm, "no message", 10, on_result, &result));
    ANSWERS(RET_OK, RET_ERR, "error processing UNWRAP_MESSAGE request: reDeserializationError",
            SdsUnwrapReceivedMessage(rm, NULL, 0, on_result, &result));
    ANSWERS(RET_OK, RET_ERR, "error processing MARK_DEPENDENCIES_MET request: reInvalidArgument",
            SdsMarkDependenciesMet(rm, ids, 1, "a channel that is not there", on_result, &result));
    /* The largest content there may be goes through. */
    Result result;
    result_init(&result);
    CHECK(SdsWrapOutgoingMessage(rm, large, size - 1, "large", "room", on_result, &result) == RET_OK);
    result_wait(&result);
    CHECK(result.ret == RET_OK);
    Message message = message_of(result.text);
    result_free(&result);
    char* json = unwrap(rm, message);
    CHECK(strlen(json) > 2 * (size - 1));
    free(json);
    free(message.bytes);
    /* No ids: nothing to do, in a channel that is there. */
    ANSWERS(RET_OK, RET_OK, "", SdsMarkDependenciesMet(rm, NULL, 0, "room", on_result, &result));
    free(large);
    clean_up(rm);
}

/* A host that sends again wraps again: the same message comes out, and only that. */
static void wrapped_again(void) {
    void* rm = new_manager();
    void* peer = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(peer, on_event, &events);
    Message before = wrap(rm, "before", "before", "room");
    free(unwrap(peer, before));
    Message first = wrap(rm, "text", "id", "room");
    Message again = wrap(rm, "text", "id", "room");
    CHECK(again.len + 10000 < first.len); /* without the filter */
    CHECK(unwraps_to(peer, again, "text", "room", ""));
    CHECK(unwraps_to(peer, first, "text", "room", ""));
    Message last = wrap(rm, "last", "last", "room");
    free(unwrap(peer, last));
    event_wait(&events, "\"messageId\":\"last\"");
    CHECK(!strstr(strstr(events.lines, "\"messageId\":\"id\"") + 1, "\"messageId\":\"id\""));
    ANSWERS(RET_OK, RET_ERR, "error processing WRAP_MESSAGE request: reInvalidArgument",
            SdsWrapOutgoingMessage(rm, "other", 5, "id", "room", on_result, &result));
    free(before.bytes);
    free(first.bytes);
    free(again.bytes);
    free(last.bytes);
    clean_up(rm);
    clean_up(peer);
    events_free(&events);
}

static void must_not_be_called(int ret, const char* msg, size_t len, void* user) {
    fprintf(stderr, "called with %d %.*s\n", ret, (int)len, msg);
    (void)user;
    abort();
}

static void bad_handles(void) {
    void* freed = new_manager();
    clean_up(freed);
    void* other = new_manager(); /* most likely in the same place of the table */
    CHECK(other != freed);
    int here = 0;
    void* on_the_heap = malloc(64);
    void* bad[] = {NULL, freed, &here, on_the_heap, (void*)must_not_be_called, (void*)1, (void*)-1, (char*)other + 2, (char*)other - 1};
    char* ids[] = {"a"};
    for (size_t number = 0; number < sizeof bad / sizeof *bad; number++) {
        void* ctx = bad[number];
        SdsSetEventCallback(ctx, must_not_be_called, NULL);
        SdsSetRetrievalHintProvider(ctx, NULL, NULL);
        CHECK(SdsWrapOutgoingMessage(ctx, "text", 4, "id", "room", must_not_be_called, NULL) == RET_ERR);
        CHECK(SdsUnwrapReceivedMessage(ctx, "text", 4, must_not_be_called, NULL) == RET_ERR);
        CHECK(SdsMarkDependenciesMet(ctx, ids, 1, "room", must_not_be_called, NULL) == RET_ERR);
        CHECK(SdsResetReliabilityManager(ctx, must_not_be_called, NULL) == RET_ERR);
        CHECK(SdsStartPeriodicTasks(ctx, must_not_be_called, NULL) == RET_ERR);
        CHECK(SdsCleanupReliabilityManager(ctx, must_not_be_called, NULL) == RET_ERR);
    }
    free(on_the_heap);
    Message message = wrap(other, "still here", "id", "room");
    free(message.bytes);
    clean_up(other);
}

static void missing_callbacks(void) {
    char* ids[] = {"a"};
    CHECK(SdsNewReliabilityManager(NULL, NULL) == NULL);
    void* rm = new_manager();
    CHECK(SdsWrapOutgoingMessage(rm, "text", 4, "id", "room", NULL, NULL) == RET_MISSING_CALLBACK);
    CHECK(SdsUnwrapReceivedMessage(rm, "text", 4, NULL, NULL) == RET_MISSING_CALLBACK);
    CHECK(SdsMarkDependenciesMet(rm, ids, 1, "room", NULL, NULL) == RET_MISSING_CALLBACK);
    CHECK(SdsResetReliabilityManager(rm, NULL, NULL) == RET_MISSING_CALLBACK);
    CHECK(SdsStartPeriodicTasks(rm, NULL, NULL) == RET_MISSING_CALLBACK);
    CHECK(SdsCleanupReliabilityManager(rm, NULL, NULL) == RET_MISSING_CALLBACK);
    /* Nothing was done: the channel is not there, and the manager is. */
    CHECK(mark_met(rm, "a", "room") == RET_ERR);
    clean_up(rm);
}

/* Far more than nim-sds has room for, each its own handle. */
static void many_managers(void) {
    enum { COUNT = 200 };
    void* managers[COUNT];
    for (int number = 0; number < COUNT; number++) {
        managers[number] = new_manager();
        for (int other = 0; other < number; other++) CHECK(managers[other] != managers[number]);
    }
    Message message = wrap(managers[0], "to all", "id", "room");
    for (int number = 1; number < COUNT; number++) CHECK(unwraps_to(managers[number], message, "to all", "room", ""));
    for (int number = 0; number < COUNT; number++) clean_up(managers[number]);
    free(message.bytes);
}

/* As bindings do: they note where the text is, and read it after the callback. */
typedef struct {
    const char* msg;
    size_t len;
} Noted;

static void note(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK);
    *(Noted*)user = (Noted){msg, len};
}

static void texts_outlive_callbacks(void) {
    void* rm = new_manager();
    enum { LATER = 256 };
    Noted small = {0}, large = {0};
    Message message = wrap(rm, "text", "id", "room");
    CHECK(SdsUnwrapReceivedMessage(rm, message.bytes, message.len, note, &small) == RET_OK);
    for (int number = 0; number < LATER; number++) {
        char* json = unwrap(rm, message);
        CHECK(strlen(json) == small.len && memcmp(json, small.msg, small.len) == 0 && small.msg[small.len] == 0);
        free(json);
    }
    /* 2 MiB of text each: 16 later ones are promised. */
    size_t size = 1 << 20;
    char* content = calloc(1, size);
    CHECK(SdsWrapOutgoingMessage(rm, content, size, "large", "room", note, &large) == RET_OK);
    for (int number = 0; number < 16; number++) {
        Noted later;
        char id[8];
        sprintf(id, "%d", number);
        CHECK(SdsWrapOutgoingMessage(rm, content, size, id, "room", note, &later) == RET_OK);
        CHECK(large.len == strlen(large.msg));
    }
    free(content);
    free(message.bytes);
    clean_up(rm);
}

/* Results and events of one manager, whose callbacks call it. */
typedef struct {
    void* rm;
    int depth;
    Message answer;
    Events events;
    atomic_int ended;
} Caller;

static void wrap_inside_result(int ret, const char* msg, size_t len, void* user) {
    Caller* caller = user;
    CHECK(ret == RET_OK && len > 0 && msg);
    if (caller->depth == 50) return;
    char id[16];
    sprintf(id, "inside-%d", caller->depth++);
    CHECK(SdsWrapOutgoingMessage(caller->rm, "text", 4, id, "room", wrap_inside_result, caller) == RET_OK);
    CHECK(strlen(msg) == len); /* after all that was called inside */
}

static void result_callbacks_call_in(void) {
    Caller caller = {.rm = new_manager()};
    CHECK(SdsWrapOutgoingMessage(caller.rm, "text", 4, "id", "room", wrap_inside_result, &caller) == RET_OK);
    CHECK(caller.depth == 50);
    clean_up(caller.rm);
}

/* Ends its own manager from inside a result. */
static void clean_up_inside_result(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK && msg && len > 0);
    clean_up(((Caller*)user)->rm);
}

static void a_result_callback_may_clean_up(void) {
    Caller caller = {.rm = new_manager()};
    CHECK(SdsWrapOutgoingMessage(caller.rm, "text", 4, "id", "room", clean_up_inside_result, &caller) == RET_OK);
    CHECK(SdsResetReliabilityManager(caller.rm, must_not_be_called, NULL) == RET_ERR);
}

static void event_that_calls(int ret, const char* msg, size_t len, void* user) {
    Caller* caller = user;
    CHECK(ret == RET_OK);
    if (strstr(msg, "message_ready")) {
        /* Wraps, waits for the result, as synchronous bindings do, and takes it in again. */
        caller->answer = wrap(caller->rm, "answer", "answer", "room");
        CHECK(unwraps_to(caller->rm, caller->answer, "answer", "room", ""));
        /* Others hear from now on. */
        SdsSetEventCallback(caller->rm, on_event, &caller->events);
        caller->ended++;
    }
    (void)len;
}

static void event_callbacks_call_in(void) {
    void* peer = new_manager();
    Caller caller = {.rm = new_manager()};
    events_init(&caller.events);
    SdsSetEventCallback(caller.rm, event_that_calls, &caller);
    Message first = wrap(peer, "one", "first", "room");
    Message second = wrap(peer, "two", "second", "room");
    free(unwrap(caller.rm, first));
    free(unwrap(caller.rm, second));
    event_wait(&caller.events, "\"messageId\":\"second\"");
    CHECK(caller.ended == 1 && !event_was(&caller.events, "first"));
    CHECK(unwraps_to(peer, caller.answer, "answer", "room", ""));
    free(first.bytes);
    free(second.bytes);
    free(caller.answer.bytes);
    clean_up(peer);
    clean_up(caller.rm);
    events_free(&caller.events);
}

static void event_that_cleans_up(int ret, const char* msg, size_t len, void* user) {
    Caller* caller = user;
    CHECK(ret == RET_OK && msg && len > 0);
    CHECK(caller->ended == 0); /* nothing is told after it */
    clean_up(caller->rm);
    caller->ended++;
}

static void an_event_callback_may_clean_up(void) {
    void* peer = new_manager();
    Message messages[20];
    for (int number = 0; number < 20; number++) {
        char id[8];
        sprintf(id, "%d", number);
        messages[number] = wrap(peer, "text", id, "room");
    }
    Caller caller = {.rm = new_manager()};
    SdsSetEventCallback(caller.rm, event_that_cleans_up, &caller);
    /* The last first: all become ready at once, or the manager ends on the way. */
    for (int number = 19; number >= 0; number--) {
        Result result;
        result_init(&result);
        int ret = SdsUnwrapReceivedMessage(caller.rm, messages[number].bytes, messages[number].len, on_result, &result);
        CHECK(ret == RET_ERR ? result.calls == 0 : result.calls == 1);
        result_free(&result);
    }
    while (caller.ended == 0) usleep(1000);
    CHECK(SdsResetReliabilityManager(caller.rm, must_not_be_called, NULL) == RET_ERR);
    usleep(20000);
    for (int number = 0; number < 20; number++) free(messages[number].bytes);
    clean_up(peer);
}

static void slow_event(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK && msg && len > 0);
    atomic_int* state = user;
    *state = 1;
    usleep(200000);
    *state = 2;
}

/* After cleaning up, or another callback, a host may free what its callback uses. */
static void ending_waits_for_a_callback_that_runs(void) {
    for (int way = 0; way < 2; way++) {
        void* peer = new_manager();
        void* rm = new_manager();
        atomic_int* state = calloc(1, sizeof *state);
        SdsSetEventCallback(rm, slow_event, state);
        Message message = wrap(peer, "text", "id", "room");
        Message next = wrap(peer, "text", "next", "room");
        free(unwrap(rm, message));
        free(unwrap(rm, next)); /* the slow callback holds up no call */
        while (*state == 0) usleep(1000);
        if (way == 0) SdsSetEventCallback(rm, NULL, NULL);
        else clean_up(rm);
        CHECK(*state == 2);
        free(state);
        if (way == 0) clean_up(rm);
        clean_up(peer);
        free(message.bytes);
        free(next.bytes);
    }
}

enum { SLOW = 600 };
static atomic_int hanging, let_go;

static void hang(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK && msg && len > 0 && user == &let_go);
    hanging++;
    while (!let_go) usleep(20000);
}

/* However many managers' callbacks hang, another one's is called. */
static void callbacks_that_hang_delay_no_other_manager(void) {
    void* peer = new_manager();
    Message message = wrap(peer, "text", "id", "room");
    void* managers[SLOW];
    for (int number = 0; number < SLOW; number++) {
        managers[number] = new_manager();
        SdsSetEventCallback(managers[number], hang, &let_go);
        free(unwrap(managers[number], message));
    }
    for (int waited = 0; hanging < SLOW && waited < 3000; waited++) usleep(20000);
    if (hanging < SLOW) fprintf(stderr, "%d of %d callbacks run\n", hanging, SLOW);
    CHECK(hanging == SLOW);
    let_go = 1;
    for (int number = 0; number < SLOW; number++) clean_up(managers[number]);
    clean_up(peer);
    free(message.bytes);
}

int main(void) {
    wrong_arguments();
    failing_operations();
    wrapped_again();
    bad_handles();
    missing_callbacks();
    many_managers();
    texts_outlive_callbacks();
    result_callbacks_call_in();
    a_result_callback_may_clean_up();
    event_callbacks_call_in();
    an_event_callback_may_clean_up();
    ending_waits_for_a_callback_that_runs();
    callbacks_that_hang_delay_no_other_manager();
    puts("13 edges");
    return 0;
}
