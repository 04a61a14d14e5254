/* libsds: the C interface of nim-sds, with reliable-channel behind it. docs/libsds.md says more.
 *
 * Every function may be called from any thread, also from inside a callback.
 *
 * RESULTS. A function that returns RET_OK calls `callback` exactly once, on the calling thread and before it returns, with
 * RET_OK and the result, or with RET_ERR and a text. A function that returns RET_ERR has done nothing; it has called
 * `callback` once with RET_ERR and a text, unless `ctx` is not, or no longer, a manager: then nothing is called. One that
 * returns RET_MISSING_CALLBACK has done nothing.
 *
 * MEMORY. What a function is given is copied before it returns. A callback's `msg` has a zero byte behind its `len` bytes.
 * It outlives the callback, for bindings that read it later: while its `userData` is not passed to a callback again, and
 * then until 256 further texts, or as many as take 8 MiB, but at least 16. (At most 1,024 texts, or 16 MiB, wait for their
 * `userData` to come again.)
 *
 * EVENTS are told on threads of the library, in order and one at a time for each manager.
 */
#ifndef __libsds__
#define __libsds__

#include <stddef.h>
#include <stdint.h>

#define RET_OK                0
#define RET_ERR               1
#define RET_MISSING_CALLBACK  2

#ifdef __cplusplus
extern "C" {
#endif

typedef void (*SdsCallBack) (int callerRet, const char* msg, size_t len, void* userData);

/* Asked for the retrieval hint of a message that is about to be named in another. Puts the start of a buffer from `malloc`
 * into `*hint` and its length into `*hintLen`; the library frees it with `free`. Leaves both alone where there is none. */
typedef void (*SdsRetrievalHintProvider) (const char* messageId, char** hint, size_t* hintLen, void* userData);

/* Makes a manager. Returns NULL where that failed, and then says why by the callback, if there is one. */
void* SdsNewReliabilityManager(SdsCallBack callback, void* userData);

/* Events go to this callback from now on; with NULL to nobody. When it returns, the callback before it is not running and
 * will not be called again (when called from inside an event's callback: will not be called again).
 *
 *   {"eventType":"message_ready","messageId":"..","channelId":".."}
 *   {"eventType":"message_sent","messageId":"..","channelId":".."}
 *   {"eventType":"missing_dependencies","messageId":"..","channelId":"..",
 *    "missingDeps":[{"messageId":"..","retrievalHint":"<base64>"}]}
 *   {"eventType":"periodic_sync"}
 *   {"eventType":"repair_ready","channelId":"..","message":"<base64>"}   broadcast this message
 */
void SdsSetEventCallback(void* ctx, SdsCallBack callback, void* userData);

/* Who is asked for retrieval hints; NULL is nobody. A wrap in progress on another thread may still ask the one before: what
 * it uses must live until such calls have returned. */
void SdsSetRetrievalHintProvider(void* ctx, SdsRetrievalHintProvider callback, void* userData);

/* Ends a manager. When it returns, no callback for its events is running or will be called (from inside a callback
 * for any manager's events: will be called). `ctx` is never given out again, and calls with it fail. */
int SdsCleanupReliabilityManager(void* ctx, SdsCallBack callback, void* userData);

/* Forgets all channels. */
int SdsResetReliabilityManager(void* ctx, SdsCallBack callback, void* userData);

/* Makes a message to broadcast. The result is its bytes in decimal: 10,66,48 */
int SdsWrapOutgoingMessage(void* ctx,
                    void* message,
                    size_t messageLen,
                    const char* messageId,
                    const char* channelId,
                    SdsCallBack callback,
                    void* userData);

/* Takes in a message from the network. The result:
 *   {"message":[104,105],"channelId":"..","missingDeps":[{"messageId":"..","retrievalHint":"<base64>"}]}
 */
int SdsUnwrapReceivedMessage(void* ctx,
                    void* message,
                    size_t messageLen,
                    SdsCallBack callback,
                    void* userData);

/* Nothing waits for these messages any more. */
int SdsMarkDependenciesMet(void* ctx,
                    char** messageIDs,
                    size_t count,
                    const char* channelId,
                    SdsCallBack callback,
                    void* userData);

/* Starts repeating, giving up and repairing, and the event periodic_sync: now, and then every 30 seconds. */
int SdsStartPeriodicTasks(void* ctx, SdsCallBack callback, void* userData);

#ifdef __cplusplus
}
#endif

#endif /* __libsds__ */
