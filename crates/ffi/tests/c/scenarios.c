/* The scenarios of the public Go bindings' own tests, a function each, under the names that they have there. */
#include "host.h"

static void lifecycle(void) {
    void* rm = new_manager();
    Message before = wrap(rm, "before", "same-id", "room");
    Result result;
    result_init(&result);
    CHECK(SdsResetReliabilityManager(rm, on_result, &result) == RET_OK);
    result_wait(&result);
    CHECK(result.ret == RET_OK && result.len == 0);
    result_free(&result);
    /* After it nothing is known: neither the id nor the channel. */
    CHECK(mark_met(rm, "same-id", "room") == RET_ERR);
    Message after = wrap(rm, "after", "same-id", "room");
    free(before.bytes);
    free(after.bytes);
    clean_up(rm);
}

static void wrap_unwrap(void) {
    void* rm = new_manager();
    Message message = wrap(rm, "hello reliability", "msg-wrap-1", "test-wrap-unwrap");
    /* One's own message comes back. */
    CHECK(unwraps_to(rm, message, "hello reliability", "test-wrap-unwrap", ""));
    free(message.bytes);
    clean_up(rm);
}

static void dependencies(void) {
    void* rm = new_manager();
    void* rm2 = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(rm2, on_event, &events);
    Message first = wrap(rm, "message one", "msg-dep-1", "test-deps");
    CHECK(unwraps_to(rm, first, "message one", "test-deps", ""));
    Message second = wrap(rm, "message two", "msg-dep-2", "test-deps");
    CHECK(unwraps_to(rm2, second, "message two", "test-deps", "{\"messageId\":\"msg-dep-1\",\"retrievalHint\":\"\"}"));
    CHECK(mark_met(rm2, "msg-dep-1", "test-deps") == RET_OK);
    event_wait(&events, "{\"eventType\":\"message_ready\",\"messageId\":\"msg-dep-2\",\"channelId\":\"test-deps\"}");
    free(first.bytes);
    free(second.bytes);
    clean_up(rm);
    clean_up(rm2);
    events_free(&events);
}

static void callback_on_message_ready(void) {
    void* sender = new_manager();
    void* receiver = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(receiver, on_event, &events);
    Message message = wrap(sender, "ready test", "cb-ready-1", "test-cb-ready");
    CHECK(unwraps_to(receiver, message, "ready test", "test-cb-ready", ""));
    event_wait(&events, "{\"eventType\":\"message_ready\",\"messageId\":\"cb-ready-1\",\"channelId\":\"test-cb-ready\"}");
    /* A second copy gives the content again and no second event. */
    CHECK(unwraps_to(receiver, message, "ready test", "test-cb-ready", ""));
    Message later = wrap(sender, "later", "cb-ready-2", "test-cb-ready");
    free(unwrap(receiver, later));
    event_wait(&events, "cb-ready-2");
    char* once = strstr(events.lines, "cb-ready-1");
    CHECK(once && !strstr(once + 1, "cb-ready-1"));
    free(message.bytes);
    free(later.bytes);
    clean_up(sender);
    clean_up(receiver);
    events_free(&events);
}

static void callback_on_message_sent(void) {
    void* rm1 = new_manager();
    void* rm2 = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(rm1, on_event, &events);
    Message question = wrap(rm1, "sent test 1", "cb-sent-1", "test-cb-sent");
    free(unwrap(rm2, question));
    Message answer = wrap(rm2, "sent test 2", "cb-sent-2", "test-cb-sent");
    CHECK(!event_was(&events, "message_sent"));
    free(unwrap(rm1, answer));
    event_wait(&events, "{\"eventType\":\"message_sent\",\"messageId\":\"cb-sent-1\",\"channelId\":\"test-cb-sent\"}");
    free(question.bytes);
    free(answer.bytes);
    clean_up(rm1);
    clean_up(rm2);
    events_free(&events);
}

static void callback_on_missing_dependencies(void) {
    void* sender = new_manager();
    void* receiver = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(receiver, on_event, &events);
    Message first = wrap(sender, "missing test 1", "cb-miss-1", "test-cb-missing");
    Message second = wrap(sender, "missing test 2", "cb-miss-2", "test-cb-missing");
    free(unwrap(receiver, second));
    event_wait(&events,
               "{\"eventType\":\"missing_dependencies\",\"messageId\":\"cb-miss-2\",\"channelId\":\"test-cb-missing\","
               "\"missingDeps\":[{\"messageId\":\"cb-miss-1\",\"retrievalHint\":\"\"}]}");
    CHECK(!event_was(&events, "message_ready"));
    /* The dependency is announced before its dependant; nim-sds does it the other way round. */
    free(unwrap(receiver, first));
    size_t dependant = event_wait(&events, "\"message_ready\",\"messageId\":\"cb-miss-2\"");
    CHECK(event_wait(&events, "\"message_ready\",\"messageId\":\"cb-miss-1\"") < dependant);
    free(first.bytes);
    free(second.bytes);
    clean_up(sender);
    clean_up(receiver);
    events_free(&events);
}

static void callback_on_periodic_sync(void) {
    void* rm = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(rm, on_event, &events);
    struct timespec began, now;
    clock_gettime(CLOCK_MONOTONIC, &began);
    /* A second time changes nothing. */
    for (int times = 0; times < 2; times++) {
        Result result;
        result_init(&result);
        CHECK(SdsStartPeriodicTasks(rm, on_result, &result) == RET_OK);
        result_wait(&result);
        CHECK(result.ret == RET_OK && result.len == 0);
        result_free(&result);
    }
    event_wait(&events, "{\"eventType\":\"periodic_sync\"}");
    clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(now.tv_sec - began.tv_sec < 20); /* the first comes at once, the next after 30 seconds */
    clean_up(rm);
    CHECK(strcmp(events.lines, "{\"eventType\":\"periodic_sync\"}\n") == 0);
    events_free(&events);
}

static void callbacks_combined(void) {
    void* sender = new_manager();
    void* receiver = new_manager();
    void* receiver2 = new_manager();
    Events at_sender, at_receiver, at_receiver2;
    events_init(&at_sender);
    events_init(&at_receiver);
    events_init(&at_receiver2);
    SdsSetEventCallback(sender, on_event, &at_sender);
    SdsSetEventCallback(receiver, on_event, &at_receiver);
    SdsSetEventCallback(receiver2, on_event, &at_receiver2);
    const char* channel = "test-cb-combined";
    Message first = wrap(sender, "combined test 1", "cb-comb-1", channel);
    free(unwrap(receiver, first));
    Message second = wrap(receiver, "combined test 2", "cb-comb-2", channel);
    free(unwrap(sender, second));
    Message third = wrap(sender, "combined test 3", "cb-comb-3", channel);
    free(unwrap(receiver2, third));
    event_wait(&at_receiver, "\"message_ready\",\"messageId\":\"cb-comb-1\"");
    event_wait(&at_sender, "\"message_sent\",\"messageId\":\"cb-comb-1\"");
    event_wait(&at_receiver2, "\"missing_dependencies\",\"messageId\":\"cb-comb-3\"");
    CHECK(event_was(&at_receiver2, "{\"messageId\":\"cb-comb-1\",") && event_was(&at_receiver2, "{\"messageId\":\"cb-comb-2\","));
    CHECK(!event_was(&at_receiver, "message_sent"));
    free(first.bytes);
    free(second.bytes);
    free(third.bytes);
    clean_up(sender);
    clean_up(receiver);
    clean_up(receiver2);
    events_free(&at_sender);
    events_free(&at_receiver);
    events_free(&at_receiver2);
}

static void multi_channel_single_rm(void) {
    void* rm = new_manager();
    Message first = wrap(rm, "message for channel 1", "msg1", "test-channel-1");
    Message second = wrap(rm, "message for channel 2", "msg2", "test-channel-2");
    CHECK(unwraps_to(rm, first, "message for channel 1", "test-channel-1", ""));
    CHECK(unwraps_to(rm, second, "message for channel 2", "test-channel-2", ""));
    CHECK(mark_met(rm, "msg1", "test-channel-1") == RET_OK);
    CHECK(mark_met(rm, "msg2", "test-channel-2") == RET_OK);
    free(first.bytes);
    free(second.bytes);
    clean_up(rm);
}

static void multi_channel_callbacks(void) {
    void* rm1 = new_manager();
    void* rm2 = new_manager();
    Events events;
    events_init(&events);
    SdsSetEventCallback(rm1, on_event, &events);
    const char* channels[] = {"callback-channel-1", "callback-channel-2"};
    for (int number = 0; number < 2; number++) {
        char id[32], ack[32], expected[128];
        sprintf(id, "msg-on-ch%d", number + 1);
        sprintf(ack, "ack-on-ch%d", number + 1);
        Message question = wrap(rm1, "payload", id, channels[number]);
        free(unwrap(rm2, question));
        Message answer = wrap(rm2, "ack_payload", ack, channels[number]);
        free(unwrap(rm1, answer));
        sprintf(expected, "\"message_sent\",\"messageId\":\"%s\",\"channelId\":\"%s\"", id, channels[number]);
        event_wait(&events, expected);
        sprintf(expected, "\"message_ready\",\"messageId\":\"%s\",\"channelId\":\"%s\"", ack, channels[number]);
        event_wait(&events, expected);
        free(question.bytes);
        free(answer.bytes);
    }
    clean_up(rm1);
    clean_up(rm2);
    int lines = 0;
    for (char* at = events.lines; *at; at++) lines += *at == '\n';
    CHECK(lines == 4);
    events_free(&events);
}

/* With the newer bindings. */
static void hint_of(const char* id, char** hint, size_t* len, void* user) {
    CHECK(strcmp(user, "user data") == 0);
    if (strcmp(id, "hint-1") != 0) return;
    *len = 12;
    *hint = malloc(*len);
    memcpy(*hint, "where it is\0", *len);
}

static void retrieval_hints(void) {
    void* sender = new_manager();
    void* receiver = new_manager();
    SdsSetRetrievalHintProvider(sender, hint_of, "user data");
    Message first = wrap(sender, "one", "hint-1", "test-hints");
    Message second = wrap(sender, "two", "hint-2", "test-hints");
    CHECK(unwraps_to(receiver, second, "two", "test-hints",
                     "{\"messageId\":\"hint-1\",\"retrievalHint\":\"d2hlcmUgaXQgaXMA\"}"));
    free(first.bytes);
    free(second.bytes);
    clean_up(sender);
    clean_up(receiver);
}

int main(void) {
    lifecycle();
    wrap_unwrap();
    dependencies();
    callback_on_message_ready();
    callback_on_message_sent();
    callback_on_missing_dependencies();
    callback_on_periodic_sync();
    callbacks_combined();
    multi_channel_single_rm();
    multi_channel_callbacks();
    retrieval_hints();
    puts("11 scenarios");
    return 0;
}
