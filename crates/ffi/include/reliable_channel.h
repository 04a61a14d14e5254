/* reliable-channel: group messaging made reliable over any lossy broadcast. Link with -lsds (pkg-config reliable_channel).
 * Made by cbindgen; crates/ffi/tests/header.rs says how. docs/bindings.md says more.
 *
 * THREADS. Every function may be called from any thread, at the same time as others and from inside callbacks, but where it
 * says otherwise. A call may wait for the store; with a transport, rc_join waits up to two seconds for the network, rc_leave and
 * rc_forget up to one, and rc_close one for each channel. A callback must return: no C++ exception, no longjmp.
 *
 * MEMORY. What a function is given is copied before it returns. What a callback is given is gone when it returns. What a function
 * gives is the caller's, and given back by the function that it names.
 *
 * HANDLES. rc_manager and rc_options are no pointers to anything: one that was given back, NULL or anything else is
 * RC_ERR_HANDLE and no crash.
 *
 * ERRORS. What is not RC_OK has done nothing, but where it says otherwise; rc_last_error has a text for people. */


#ifndef RELIABLE_CHANNEL_H
#define RELIABLE_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

// For `RC_OPTION_DIALECT`: LIP-109 with this library's filters. The default.
#define RC_DIALECT_LIP109 0

// For `RC_OPTION_DIALECT`: what js-waku (@waku/sds) speaks.
#define RC_DIALECT_JS_WAKU 1

// For `RC_OPTION_DIALECT`: what nim-sds speaks.
#define RC_DIALECT_NIM_SDS 2

// What `publish` answers: the network takes it.
#define RC_PUBLISHED 0

// What `publish` answers: not now; it is tried again.
#define RC_PUBLISH_LATER 1

// What `publish` answers: this message never.
#define RC_PUBLISH_NEVER 2

// A flag of a message: it is from before this participant joined, and no news.
#define RC_FLAG_HISTORY 1

// A flag of a message: it sorts below the newest one of the log.
#define RC_FLAG_LATE 2

// A flag of a message: this participant sent it.
#define RC_FLAG_OWN 4

// A flag of an event: after it had been told as failed; of a failure: with some evidence of receipt.
#define RC_FLAG_DOUBTFUL 8

// For `rc_import_nim`: the snapshot is a `ChannelData`, all there is of a channel.
#define RC_NIM_DATA 0

// For `rc_import_nim`: the snapshot is a `ChannelMeta`, without the history.
#define RC_NIM_META 1

// What a call came to. Later versions may add codes.
typedef enum {
    // Done.
    RC_OK = 0,
    // `rc_next_event`: nothing happened in that time.
    RC_TIMEOUT = 1,
    // `rc_next_event`: the manager was closed, and there is nothing more to tell.
    RC_ENDED = 2,
    // The caller's fault: NULL where something must be, or an option or value that does not exist.
    RC_ERR_ARGUMENT = 3,
    // The caller's fault: this is not a manager or not options, or not any more.
    RC_ERR_HANDLE = 4,
    // The caller's fault: the options do not go together.
    RC_ERR_OPTIONS = 5,
    // The caller's fault: this channel is not joined.
    RC_ERR_CHANNEL = 6,
    // The caller's fault: this message is not known.
    RC_ERR_MESSAGE = 7,
    // The caller's fault: more bytes than can be sent.
    RC_ERR_TOO_LARGE = 8,
    // The caller's fault: the manager has a transport, and the call is for those without, or the other way round.
    RC_ERR_TRANSPORT_MODE = 9,
    // The caller's fault: it cannot be done for another reason, which `rc_last_error` says.
    RC_ERR_REFUSED = 10,
    // For now: too much is open already; try again when some of it is acknowledged.
    RC_ERR_FULL = 11,
    // A peer's fault: these bytes are no message that can be taken in. Nothing changed.
    RC_ERR_PEER = 12,
    // The store's fault.
    RC_ERR_STORE = 13,
    // The network's fault.
    RC_ERR_NETWORK = 14,
    // The system's fault: no thread, no descriptor or no random bits.
    RC_ERR_SYSTEM = 15,
    // A defect of this library.
    RC_ERR_DEFECT = 16,
} rc_code;

// What happened. Later versions may tell more: pass over what you do not know.
typedef enum {
    // A message of another participant, once and in causal order: `message`.
    RC_EVENT_MESSAGE = 1,
    // Another participant has an own message: `message.id`; `peer` is who.
    RC_EVENT_DELIVERED = 2,
    // Another participant probably has it: `message.id`, `peer`; `chance` is that of an error.
    RC_EVENT_POSSIBLY_DELIVERED = 3,
    // An own message was given up: `message.id`. It may still be delivered.
    RC_EVENT_FAILED = 4,
    // An own message is not sent again, and is probably there: `message.id`; `chance` is that of an error.
    RC_EVENT_UNCERTAIN = 5,
    // `bytes` must be broadcast to `channel`. Without a transport alone.
    RC_EVENT_TRANSMIT = 6,
    // A message waits for others: `message.id`, `message.missing`.
    RC_EVENT_MISSING = 7,
    // Messages went ahead without `count` that they refer to: `message.id` is the first after the gap.
    RC_EVENT_GAP = 8,
    // What a message refers to was given up: `message.id`.
    RC_EVENT_LOST = 9,
    // The first message of others was heard: `message.id`; up to `count` older ones are fetched.
    RC_EVENT_JOINED = 10,
    // A message that is not kept: `message.id`, `message.sender`, `message.content`.
    RC_EVENT_EPHEMERAL = 11,
    // How far catching up is: `sync`, `count` fetched, `total` known to be missing still.
    RC_EVENT_SYNC_STATUS = 12,
    // The network took an own message for the first time: `message.id`. With a transport alone, as the next four.
    RC_EVENT_SENT = 13,
    // The network took `count` of the `total` segments of an own message: `message.id`.
    RC_EVENT_SENDING = 14,
    // `count` of the `total` segments of a large message of `message.sender` are here.
    RC_EVENT_RECEIVING = 15,
    // The network refused an own message for good: `message.id`; `text` says why.
    RC_EVENT_SEND_ERROR = 16,
    // The network is not there: `text`. It is tried again.
    RC_EVENT_DISCONNECTED = 17,
    // The network is back.
    RC_EVENT_CONNECTED = 18,
    // The host was too slow, and `count` older events were given up; `rc_log_read` has the messages among them.
    RC_EVENT_MISSED = 19,
    // A channel could not be saved, and it is tried again: `text`.
    RC_EVENT_STORE_FAILED = 20,
    // Everything was saved since.
    RC_EVENT_STORE_RECOVERED = 21,
    // A message under our own name was not sent from here: `message.id`. Each device needs a participant id of its own.
    RC_EVENT_SHARED_IDENTITY = 22,
    // Two messages came under one id, and the first stays: `message.id`; `message.sender` is the second one's.
    RC_EVENT_ID_CONFLICT = 23,
    // A message is older than all that is remembered, and was not delivered: `message.id`, `message.sender`.
    RC_EVENT_TOO_OLD = 24,
    // A limit was hit: `text` says which; `message.id` is what gave way, and `peer` whose message led to it.
    RC_EVENT_LIMIT = 25,
    // Something else: `text` says what.
    RC_EVENT_OTHER = 26,
} rc_event_kind;

// How far catching up is.
typedef enum {
    // Nothing is known to be missing.
    RC_SYNC_IN_SYNC = 0,
    // Missing messages are being fetched.
    RC_SYNC_SYNCING = 1,
    // Messages are missing, and nobody gives them now. There will be another try.
    RC_SYNC_BEHIND = 2,
} rc_sync;

// What became of a message that was unwrapped.
typedef enum {
    // Delivered: `RC_EVENT_MESSAGE` tells it.
    RC_FATE_DELIVERED = 0,
    // It waits for `message.missing`.
    RC_FATE_WAITS = 1,
    // Known already, or one's own.
    RC_FATE_KNOWN = 2,
    // Nothing to show: it kept the channel in step.
    RC_FATE_SYNC = 3,
    // Not kept: `RC_EVENT_EPHEMERAL` tells it.
    RC_FATE_EPHEMERAL = 4,
    // Not delivered: too old, or another message has its id. An event tells which.
    RC_FATE_REFUSED = 5,
} rc_fate;

// What became of an own message.
typedef enum {
    // It is not known, or not any more.
    RC_DELIVERY_UNKNOWN = 0,
    // Nobody is known to have it.
    RC_DELIVERY_PENDING = 1,
    // Somebody probably has it; the chance of an error is told.
    RC_DELIVERY_POSSIBLE = 2,
    // Somebody has it.
    RC_DELIVERY_DONE = 3,
    // It was given up. It may still be delivered.
    RC_DELIVERY_FAILED = 4,
} rc_delivery;

// What can be set; what is not set has the default of the dialect. Durations are in milliseconds.
typedef enum {
    // `RC_DIALECT_*`. Set it first: it sets all others, but for the last three, to what its peers expect.
    RC_OPTION_DIALECT = 0,
    // A newcomer is shown what is said from now on, and up to so many older messages, marked as history. Default 100.
    RC_OPTION_JOIN_RECENT = 1,
    // A newcomer is shown nothing before up to so many older messages are there; `UINT64_MAX` for everything.
    RC_OPTION_JOIN_BACKFILL = 2,
    // Messages kept in the log. Default 1,000.
    RC_OPTION_MAX_MESSAGES = 3,
    // Bytes of messages kept in the log. Default 32 MiB.
    RC_OPTION_MAX_LOG_BYTES = 4,
    // Age after which a message leaves the log, in milliseconds; 0 for never, the default.
    RC_OPTION_MAX_LOG_AGE = 5,
    // The wait before an own message is first sent again. Default 5 s.
    RC_OPTION_RESEND_INTERVAL = 6,
    // The longest such wait. Default 60 s.
    RC_OPTION_MAX_RESEND_INTERVAL = 7,
    // How often it is sent again before it is given up. Default 5.
    RC_OPTION_MAX_RESENDS = 8,
    // Between two sync messages while there is something new. Default 30 s.
    RC_OPTION_SYNC_INTERVAL = 9,
    // The same in an idle channel. Default 15 min.
    RC_OPTION_MAX_SYNC_INTERVAL = 10,
    // 1 to compare with others what is held and fetch all that is missing, 0 not to. Default 1, and 0 in other dialects.
    RC_OPTION_CATCH_UP = 11,
    // The largest encoded message in bytes; 0 for no limit, the default. With a transport it gives the limit.
    RC_OPTION_MAX_TRANSMIT_BYTES = 12,
    // The largest content of a message in bytes. Default 1 MiB.
    RC_OPTION_MAX_CONTENT_BYTES = 13,
    // How long a message waits for what it refers to before it goes ahead. Default 60 s.
    RC_OPTION_WAIT_TIMEOUT = 14,
    // Response groups of SDS-R: about one for 128 participants. Default 1.
    RC_OPTION_RESPONSE_GROUPS = 15,
    // 1 to keep every delivery until `rc_confirm`, and to deliver again after a restart what was not confirmed. Default 0.
    RC_OPTION_CONFIRM_DELIVERIES = 16,
    // How far ahead of our clock a message's time may be. Default 24 h.
    RC_OPTION_MAX_CLOCK_DRIFT = 17,
    // 1 to join a channel when a message for it is unwrapped. Strangers can make you join. Default 0. This and the next two
    // are for managers without a transport; with one, `rc_open` refuses other values than the defaults.
    RC_OPTION_AUTO_JOIN = 18,
    // Channels at a time. Default 10,000.
    RC_OPTION_MAX_CHANNELS = 19,
    // Bytes of memory for the logs of all channels. Default 256 MiB.
    RC_OPTION_MAX_MEMORY = 20,
} rc_option;

// A participant in any number of channels. Never followed: a handle, and one that ended is an error and no crash.
typedef struct rc_manager rc_manager;

// Options of a manager in the making. Never followed: a handle.
typedef struct rc_options rc_options;

// So many bytes that the caller owns now, and gives back by `rc_buffer_free`.
typedef struct {
    // The first one; NULL where there are none.
    uint8_t *data;
    // How many.
    size_t len;
} rc_buffer;

// So many bytes that somebody else owns. As an argument they are copied before the call returns. `data` may be NULL where
// `len` is 0.
typedef struct {
    // The first one.
    const uint8_t *data;
    // How many.
    size_t len;
} rc_bytes;

// A network of the host's: a broadcast, which may lose, double and reorder. What it is given belongs to the library and is
// gone when it returns.
typedef struct {
    // The largest message in bytes that it carries.
    size_t max_bytes;
    // Sends these bytes to all who want this topic; where `to` is not empty, to the one who was named so to `rc_receive` at
    // least. Answers `RC_PUBLISHED`, `RC_PUBLISH_LATER` or `RC_PUBLISH_NEVER`. Called from threads of the library, one at a
    // time for each channel; it may call the library, but for `rc_close`, and it may block, which delays that channel alone.
    int (*publish)(rc_bytes topic, rc_bytes to, rc_bytes bytes, void *user_data);
    // From now on this topic is wanted (1), or not any more (0); NULL where that does not matter. It must not call the
    // library, nor block.
    void (*wanted)(rc_bytes topic, int wanted, void *user_data);
    // Passed along.
    void *user_data;
} rc_transport;

// A message that another one refers to.
typedef struct {
    // Its id.
    rc_bytes id;
    // Where an archive has it, where that is known.
    rc_bytes hint;
} rc_dependency;

// A message. All pointers are to what owns it.
typedef struct {
    // Its id.
    rc_bytes id;
    // Who sent it.
    rc_bytes sender;
    // What it says.
    rc_bytes content;
    // Its Lamport time in milliseconds: logs are in the order of this and then of `id`.
    uint64_t lamport;
    // Number of its delivery in the channel, from 1; 0 for one that was not delivered, as an own one.
    uint64_t number;
    // Together with `number`, where to go on from: see `rc_deliveries_since`. 0 where `number` is.
    uint64_t incarnation;
    // `RC_FLAG_*`.
    uint32_t flags;
    // How many there are of `missing`.
    size_t missing_count;
    // What it refers to and is not here.
    const rc_dependency *missing;
} rc_message;

// Something that happened. All pointers are to what the event owns, and good until `rc_event_free`.
typedef struct {
    // What.
    rc_event_kind kind;
    // `RC_FLAG_*`.
    uint32_t flags;
    // Where.
    rc_bytes channel;
    // The message that it is about; its id alone where the kind says so.
    rc_message message;
    // Another participant.
    rc_bytes peer;
    // A message to broadcast.
    rc_bytes bytes;
    // For people: UTF-8.
    rc_bytes text;
    // A number.
    uint64_t count;
    // Of how many.
    uint64_t total;
    // A probability.
    double chance;
    // How far catching up is.
    rc_sync sync;
} rc_event;

// Hears an event, and what the host passed along.
typedef void (*rc_on_event)(const rc_event *event, void *user_data);

// A message that was unwrapped. All pointers are to what it owns.
typedef struct {
    // What became of it.
    rc_fate fate;
    // Its channel.
    rc_bytes channel;
    // The message; `number`, `incarnation` and `flags` are 0.
    rc_message message;
} rc_unwrapped;

// Messages. All pointers are to what it owns, and good until `rc_log_free`.
typedef struct {
    // How many there are of `messages`.
    size_t count;
    // The messages.
    const rc_message *messages;
    // So many more have left the log already.
    uint64_t lost;
} rc_log;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Gives a buffer back, and leaves it empty; nothing for an empty one and for NULL.
//
// `buffer` is NULL, or empty, or as a call filled it.
void rc_buffer_free(rc_buffer *buffer);

// The text of a code: a constant, never NULL.
const char *rc_code_text(int32_t code);

// Why the last call that failed on this thread did, for people: never NULL, empty before the first. It stays until the next
// call fails on this thread.
const char *rc_last_error(void);

// Options for a manager of this participant: one id for each device, the same after every restart, 1 to 128 bytes of UTF-8.
// They are the caller's, until `rc_options_free`. NULL where the id is no bytes, or there is no room.
//
// `participant` is as `rc_bytes` says.
rc_options *rc_options_new(rc_bytes participant);

// Sets one of `rc_option`. `RC_ERR_ARGUMENT` for one that does not exist; whether they go together, `rc_open` says.
rc_code rc_options_set(rc_options *options, uint32_t option, uint64_t value);

// Saves channels in this directory (a path in UTF-8), which is made where it is not there. One manager at a time has it.
// Without a store, nothing is known any more after a restart.
//
// `directory` is as `rc_bytes` says.
rc_code rc_options_store(rc_options *options,
                         rc_bytes directory);

// Gives the manager a network of the host's; the structure is copied.
//
// `transport` is NULL or can be read. Its functions may be called with its `user_data` from any thread, until `rc_close` of
// every manager that was opened with these options has returned.
rc_code rc_options_transport(rc_options *options,
                             const rc_transport *transport);

// Events are told to this callback, in order and one at a time, on threads of the library; with NULL they wait for
// `rc_next_event`. The callback may call the library, also `rc_close`. The event is the library's, and gone when it returns.
//
// `callback` may be called with `user_data` from any thread, until `rc_close` of every manager that was opened with these
// options has returned.
rc_code rc_options_on_event(rc_options *options,
                            rc_on_event callback,
                            void *user_data);

// Gives options back; managers that were opened with them stay. Nothing for NULL.
void rc_options_free(rc_options *options);

// Hands in what the host's network brought for a topic. `from` is where an answer reaches its sender, and comes back as
// `publish`'s `to`; empty where that is not known. What nobody wants any more, or is no message, is passed over: the network is
// not at fault for it. `RC_ERR_TRANSPORT_MODE` without a transport.
//
// The arguments are as `rc_bytes` says.
rc_code rc_receive(rc_manager *manager,
                   rc_bytes topic,
                   rc_bytes from,
                   rc_bytes bytes);

// The host's network carries messages of this size now. A channel cuts messages to the size of when it was joined: leave it and
// join it again to use more. What the network carries no longer is refused, and `RC_EVENT_SEND_ERROR` tells it.
rc_code rc_transport_max_bytes(rc_manager *manager,
                               size_t max_bytes);

// Gives an event back; nothing for NULL.
//
// `event` is NULL, or from `rc_next_event` and not given back yet.
void rc_event_free(rc_event *event);

// Opens a manager with these options, which stay the caller's, and gives it in `*manager`, until `rc_close`. Resending, repair
// and catching up begin at once. `RC_ERR_OPTIONS`, `RC_ERR_STORE`, `RC_ERR_SYSTEM`: `*manager` is NULL then.
//
// `manager` is NULL or may be written.
rc_code rc_open(rc_options *options,
                rc_manager **manager);

// Saves everything, leaves all channels and ends a manager; whatever it answers, the handle is good for nothing any more. When
// it returns, none of the host's functions is running for it or will be. But a callback for events that is in progress is not
// waited for where this is called from inside one, be it of this manager or of another. `RC_ERR_STORE` where not all could be
// saved.
rc_code rc_close(rc_manager *manager);

// Makes a message to broadcast, in a channel that is joined. Its bytes are in `*bytes`, and its id in `*id` where that is not
// NULL; both are the caller's. `with_id` may be empty: then the library makes an id. Without a transport alone.
//
// The arguments are as `rc_bytes` says; `id` and `bytes` are NULL or may be written.
rc_code rc_wrap(rc_manager *manager,
                rc_bytes channel,
                rc_bytes with_id,
                rc_bytes content,
                rc_buffer *id,
                rc_buffer *bytes);

// The same of a message that nobody keeps: it is not repeated, not repaired and not in the log.
//
// The arguments are as `rc_bytes` says; `bytes` is NULL or may be written.
rc_code rc_wrap_ephemeral(rc_manager *manager, rc_bytes channel, rc_bytes content, rc_buffer *bytes);

// Takes in a message that arrived. What it says is in `*unwrapped`, the caller's until `rc_unwrapped_free`, where that is not
// NULL; what may be shown, and when, events tell. `RC_ERR_PEER` for what is no message. Without a transport alone.
//
// `bytes` is as `rc_bytes` says; `unwrapped` is NULL or may be written.
rc_code rc_unwrap(rc_manager *manager,
                  rc_bytes bytes,
                  rc_unwrapped **unwrapped);

// Gives it back; nothing for NULL.
//
// It is NULL, or from `rc_unwrap` and not given back yet.
void rc_unwrapped_free(rc_unwrapped *unwrapped);

// Sends a message over the transport, in a channel that is joined; returns when it is saved and on its way. Its id is in `*id`,
// the caller's, where that is not NULL. What is larger than a message goes in segments. `RC_ERR_TRANSPORT_MODE` without one.
//
// The arguments are as `rc_bytes` says; `id` is NULL or may be written.
rc_code rc_send(rc_manager *manager,
                rc_bytes channel,
                rc_bytes content,
                rc_buffer *id);

// The same of a message that nobody keeps, in one piece.
//
// The arguments are as `rc_bytes` says.
rc_code rc_send_ephemeral(rc_manager *manager, rc_bytes channel, rc_bytes content);

// Joins a channel: what the store has of it is loaded, and its events begin. Nothing where it is joined.
//
// `channel` is as `rc_bytes` says.
rc_code rc_join(rc_manager *manager, rc_bytes channel);

// Leaves a channel. What the store has of it stays. `RC_ERR_STORE` where its last changes cannot be saved: it stays joined.
//
// `channel` is as `rc_bytes` says.
rc_code rc_leave(rc_manager *manager,
                 rc_bytes channel);

// Leaves a channel, and erases it from the store. `RC_ERR_STORE` as of `rc_leave`, and where it cannot be erased.
//
// `channel` is as `rc_bytes` says.
rc_code rc_forget(rc_manager *manager, rc_bytes channel);

// Asks the others now for what was missed; it happens by itself, too.
//
// `channel` is as `rc_bytes` says.
rc_code rc_catch_up(rc_manager *manager, rc_bytes channel);

// Says that the network is back: in all channels, others hear soon what is here, and what is not is asked for.
rc_code rc_online(rc_manager *manager);

// Declares that nothing has to wait for this message, as when the application has it from elsewhere.
//
// `channel` and `id` are as `rc_bytes` says.
rc_code rc_mark_met(rc_manager *manager, rc_bytes channel, rc_bytes id);

// Says where an archive has a message, up to 1 KiB; whoever is told to refer to it is told this too.
//
// The arguments are as `rc_bytes` says.
rc_code rc_set_hint(rc_manager *manager, rc_bytes channel, rc_bytes id, rc_bytes hint);

// Sends an own message again that nobody has acknowledged, also one that failed: it is pending again. Without a transport
// alone: `RC_ERR_TRANSPORT_MODE` with one, where a message may be many segments.
//
// `channel` and `id` are as `rc_bytes` says.
rc_code rc_resend(rc_manager *manager,
                  rc_bytes channel,
                  rc_bytes id);

// Takes an own message back that nobody has acknowledged: it is erased here and goes nowhere any more. Without a transport
// alone, as `rc_resend`.
//
// `channel` and `id` are as `rc_bytes` says.
rc_code rc_withdraw(rc_manager *manager,
                    rc_bytes channel,
                    rc_bytes id);

// Confirms all deliveries up to this number: with `RC_OPTION_CONFIRM_DELIVERIES`, they do not come again after a restart.
//
// `channel` is as `rc_bytes` says.
rc_code rc_confirm(rc_manager *manager,
                   rc_bytes channel,
                   uint64_t number);

// The log of a channel, in the order that all participants share; own messages have `RC_FLAG_OWN`.
//
// `channel` is as `rc_bytes` says; `log` is NULL or may be written.
rc_code rc_log_read(rc_manager *manager, rc_bytes channel, rc_log **log);

// Messages of others that were delivered after this one, in the order of their delivery: `incarnation` and `number` are those
// of the last message that was dealt with, or 0. `RC_ERR_STORE` where the store does not know it, as an older copy does not.
// Without a transport alone.
//
// `channel` is as `rc_bytes` says; `log` is NULL or may be written.
rc_code rc_deliveries_since(rc_manager *manager,
                            rc_bytes channel,
                            uint64_t incarnation,
                            uint64_t number,
                            rc_log **log);

// Gives messages back; nothing for NULL.
//
// `log` is NULL, or as a call gave it and not given back yet.
void rc_log_free(rc_log *log);

// What became of an own message; `chance`, where it is not NULL, is that of an error of `RC_DELIVERY_POSSIBLE`, and 0 else.
//
// `channel` and `id` are as `rc_bytes` says; `state` and `chance` are NULL or may be written.
rc_code rc_delivery_state(rc_manager *manager,
                          rc_bytes channel,
                          rc_bytes id,
                          rc_delivery *state,
                          double *chance);

// How far catching up is, as the last `RC_EVENT_SYNC_STATUS` told it: `received` messages were fetched, and `missing` are known
// to be missing still; both may be NULL.
//
// `channel` is as `rc_bytes` says; the others are NULL or may be written.
rc_code rc_sync_status(rc_manager *manager,
                       rc_bytes channel,
                       rc_sync *status,
                       uint64_t *received,
                       uint64_t *missing);

// Gives the next event, which is the caller's until `rc_event_free`. Waits up to `timeout_ms`; not at all with 0, and for ever
// below 0. `RC_TIMEOUT` when there was none in that time, and `RC_ENDED` when the manager was closed meanwhile: `*event` is NULL
// then. Of several threads that ask, each gets others. `RC_ERR_REFUSED` where events go to a callback.
//
// `event` is NULL or may be written.
rc_code rc_next_event(rc_manager *manager,
                      int64_t timeout_ms,
                      rc_event **event);

// A descriptor that can be read while there are events to ask for, for `poll`, `epoll` and the like. Made by the first call, and
// the manager's: do not read, write or close it. `rc_close` closes it. Linux and Android alone; `RC_ERR_REFUSED` elsewhere, and
// where events go to a callback.
//
// `descriptor` is NULL or may be written.
rc_code rc_event_fd(rc_manager *manager,
                    int *descriptor);

// Writes what nim-sds saved of a channel (`kind` is `RC_NIM_*`) into the store in `directory`, under the dialect nim-sds: open a
// manager of the same participant with that store and `RC_DIALECT_NIM_SDS`, and join the channel. `length` is the
// snapshot's length as you know it, or 0: a snapshot that was cut short cannot be told from a whole one otherwise. `*doubts` is
// how many of its entries were left out, or are doubted for that reason. `RC_ERR_REFUSED` for what is no snapshot, or of another
// channel, and where the store has the channel already; nothing is written then.
//
// The arguments are as `rc_bytes` says; `doubts` is NULL or may be written.
rc_code rc_import_nim(rc_bytes directory,
                      rc_bytes participant,
                      rc_bytes channel,
                      uint32_t kind,
                      rc_bytes snapshot,
                      size_t length,
                      size_t *doubts);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RELIABLE_CHANNEL_H */

/* The bytes of a C string, without its end. */
static inline rc_bytes rc_str(const char *string) {
    rc_bytes bytes = {(const uint8_t *)string, 0};
    while (string && string[bytes.len]) bytes.len++;
    return bytes;
}
