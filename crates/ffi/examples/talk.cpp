// Two participants without a network: what one wraps the other unwraps. crates/ffi/README.md says how to build it.
#include <iostream>
#include <reliable_channel.hpp>

namespace rc = reliable_channel;
using namespace std::chrono_literals;

int main() try {
    rc::Manager alice{rc::Options("alice")}, bob{rc::Options("bob").set(RC_OPTION_JOIN_BACKFILL, UINT64_MAX)};
    for (rc::Manager* manager : {&alice, &bob}) manager->join("lobby");

    const rc::Wrapped first = alice.wrap("lobby", "first"), second = alice.wrap("lobby", "second");
    const rc::Unwrapped waits = bob.unwrap(second.bytes.view());
    std::cout << "the second waits for " << waits->message.missing_count << '\n';
    bob.unwrap(first.bytes.view());

    while (const rc::Event event = bob.next_event(10s)) {
        if (event->kind == RC_EVENT_MESSAGE) std::cout << "bob reads: " << rc::view(event->message.content) << '\n';
        if (event->kind == RC_EVENT_TRANSMIT) { // bob acknowledges, within four seconds
            alice.unwrap(rc::view(event->bytes));
            break;
        }
    }
    while (const rc::Event event = alice.next_event(10s)) {
        if (event->kind != RC_EVENT_DELIVERED) continue;
        std::cout << rc::view(event->peer) << " has it\n";
        break;
    }
    try {
        bob.unwrap("no message");
    } catch (const rc::Error& error) {
        std::cout << "refused: " << error.what() << '\n';
    }
    bob.close();
} catch (const rc::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
