/* Whether a doubtful hit in a filter counts as sent, by the environment: sent EXPECTED
 * Bob receives 30 messages of alice. His next one names the last ten, and his filter holds them all; here half of its bits are
 * set, as if it held thousands more. The one after that proves all 30. */
#include <stdatomic.h>
#include <unistd.h>

#include "host.h"

enum { MESSAGES = 30 };

static atomic_int sent;

static void count_sent(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK && len > 0 && user == &sent);
    if (strstr(msg, "\"message_sent\"")) sent++;
}

static void say(void* from, void* to, const char* id, int doubtful) {
    Message message = wrap(from, "text", id, "room");
    /* Nearly all of a message is its filter. */
    for (size_t at = 1500; doubtful && at + 100 < message.len; at++) message.bytes[at] |= 0x55;
    free(unwrap(to, message));
    free(message.bytes);
}

static void expect(int number) {
    for (int at = 0; at < 6000 && sent < number; at++) usleep(10000);
    usleep(200000);
    printf("%d of %d told as sent\n", (int)sent, MESSAGES);
    CHECK(sent == number);
}

int main(int count, char** arguments) {
    CHECK(count == 2);
    void *alice = new_manager(), *bob = new_manager();
    SdsSetEventCallback(alice, count_sent, &sent);
    for (int number = 0; number < MESSAGES; number++) {
        char id[16];
        sprintf(id, "message %d", number);
        say(alice, bob, id, 0);
    }
    say(bob, alice, "answer", 1);
    expect(atoi(arguments[1]));
    say(bob, alice, "proof", 0);
    expect(MESSAGES);
    clean_up(alice);
    clean_up(bob);
    return 0;
}
