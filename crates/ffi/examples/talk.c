/* Two participants over a network that the host carries: one goes away, what is said meanwhile is there when it comes back.
 * A host has sockets in between; here what one publishes the other receives. crates/ffi/README.md says how to build it. */
#include <reliable_channel.h>
#include <stdio.h>

struct host {
    rc_manager* other; /* who hears what is published */
    int cut;
};

static int publish(rc_bytes topic, rc_bytes to, rc_bytes bytes, void* user_data) {
    struct host* host = user_data;
    rc_bytes nobody = {NULL, 0};
    (void)to; /* a broadcast: everybody hears it */
    if (host->cut) return RC_PUBLISH_LATER;
    rc_receive(host->other, topic, nobody, bytes);
    return RC_PUBLISHED;
}

static rc_manager* participant(const char* name, struct host* host) {
    rc_options* options = rc_options_new(rc_str(name));
    rc_transport transport = {65536, publish, NULL, host};
    rc_manager* manager = NULL;
    rc_options_transport(options, &transport);
    /* rc_options_store(options, rc_str("some/directory")) would keep everything over a restart. */
    if (rc_open(options, &manager) || rc_join(manager, rc_str("lobby"))) printf("%s: %s\n", name, rc_last_error());
    rc_options_free(options);
    return manager;
}

static void say(rc_manager* manager, const char* text) {
    if (rc_send(manager, rc_str("lobby"), rc_str(text), NULL)) printf("not said: %s\n", rc_last_error());
}

/* Tells events until one of this kind; 0 where none comes within a minute. */
static int until(rc_manager* manager, const char* name, rc_event_kind kind) {
    rc_event* event;
    while (rc_next_event(manager, 60000, &event) == RC_OK) {
        rc_event_kind told = event->kind;
        if (told == RC_EVENT_MESSAGE)
            printf("%.*s to %s: %.*s\n", (int)event->message.sender.len, event->message.sender.data, name,
                   (int)event->message.content.len, event->message.content.data);
        if (told == RC_EVENT_DELIVERED) printf("%.*s has what %s said\n", (int)event->peer.len, event->peer.data, name);
        if (told == RC_EVENT_DISCONNECTED) printf("%s has no network\n", name);
        rc_event_free(event);
        if (told == kind) return 1;
    }
    return 0;
}

int main(void) {
    struct host of_alice = {NULL, 0}, of_bob = {NULL, 0};
    rc_manager *alice = participant("alice", &of_alice), *bob = participant("bob", &of_bob);
    of_alice.other = bob;
    of_bob.other = alice;

    say(alice, "hello");
    int well = until(bob, "bob", RC_EVENT_MESSAGE) && until(alice, "alice", RC_EVENT_DELIVERED);
    of_alice.cut = 1;
    say(alice, "are you there?");
    well = well && until(alice, "alice", RC_EVENT_DISCONNECTED);
    of_alice.cut = 0;
    well = well && until(bob, "bob", RC_EVENT_MESSAGE) && until(alice, "alice", RC_EVENT_DELIVERED);

    rc_close(alice);
    rc_close(bob);
    return well ? 0 : 1;
}
