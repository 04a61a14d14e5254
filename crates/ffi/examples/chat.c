/* Two managers that talk: a message gets lost, what answers it waits, and comes after it in the end.
 * A host has a network in between; here what one wraps the other unwraps. crates/ffi/README.md says how to build it. */
#include <libsds.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A text that a call gave, copied. Calls answer on this thread, before they return. */
struct answer {
    int code;
    char* text;
};

static void keep(int code, const char* msg, size_t len, void* user) {
    struct answer* answer = user;
    answer->code = code;
    answer->text = malloc(len + 1);
    memcpy(answer->text, msg, len);
    answer->text[len] = 0;
}

/* Events come on a thread of the library. */
static void show(int code, const char* msg, size_t len, void* user) {
    printf("%s hears %.*s\n", (const char*)user, (int)len, msg);
    (void)code;
}

static void* participant(const char* name) {
    struct answer answer = {0};
    void* ctx = SdsNewReliabilityManager(keep, &answer);
    if (!ctx) {
        fprintf(stderr, "%s\n", answer.text ? answer.text : "no manager");
        exit(1);
    }
    free(answer.text);
    SdsSetEventCallback(ctx, show, (void*)name);
    return ctx;
}

/* The message's bytes, read from the decimal text. */
static size_t wrap(void* ctx, const char* id, const char* text, unsigned char** message) {
    struct answer answer = {0};
    if (SdsWrapOutgoingMessage(ctx, (void*)text, strlen(text), id, "lobby", keep, &answer) != RET_OK || answer.code != RET_OK) {
        fprintf(stderr, "%s\n", answer.text ? answer.text : "not a manager");
        exit(1);
    }
    size_t len = 0;
    *message = malloc(strlen(answer.text) / 2 + 1);
    for (char* at = answer.text; *at; at += *at == ',') (*message)[len++] = (unsigned char)strtoul(at, &at, 10);
    free(answer.text);
    return len;
}

static void receive(void* ctx, unsigned char* message, size_t len) {
    struct answer answer = {0};
    if (SdsUnwrapReceivedMessage(ctx, message, len, keep, &answer) == RET_OK) printf("unwrapped: %s\n", answer.text);
    free(answer.text);
}

int main(void) {
    void* alice = participant("alice");
    void* bob = participant("bob");
    unsigned char *question, *more;
    size_t question_len = wrap(alice, "question", "how are you?", &question);
    size_t more_len = wrap(alice, "more", "are you there?", &more);
    receive(bob, more, more_len);         /* waits for the question, which got lost on the way ... */
    receive(bob, question, question_len); /* ... and comes now */
    unsigned char* reply;
    size_t reply_len = wrap(bob, "reply", "fine!", &reply);
    receive(alice, reply, reply_len); /* says that bob has both */
    usleep(100000);                   /* the events come meanwhile */
    struct answer answer = {0};
    SdsCleanupReliabilityManager(alice, keep, &answer);
    free(answer.text);
    SdsCleanupReliabilityManager(bob, keep, &answer);
    free(answer.text);
    free(question);
    free(more);
    free(reply);
    return 0;
}
