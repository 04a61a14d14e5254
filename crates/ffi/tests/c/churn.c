/* Threads that call managers while others end them and make new ones: churn THREADS CALLS [SECONDS [PAUSE]]
 * Each thread makes so many calls, or calls for so many seconds, with so many microseconds between two. Prints what was done,
 * and what the process takes, after each tenth of the seconds and at the end: kilobytes resident, threads, descriptors. */
#include <dirent.h>
#include <stdatomic.h>
#include <unistd.h>

#include "host.h"

enum { MANAGERS = 16, MESSAGES = 24 };

static _Atomic(void*) managers[MANAGERS];
static Message messages[MESSAGES];
static atomic_long answered, failed, refused, told, made;
static atomic_int running;
static long calls_each;
static time_t ends;
static useconds_t pause_us;

static void count_event(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK && len > 0 && msg[len] == 0 && user == &told);
    told++;
}

/* One call's callback: how often, and with what. */
typedef struct {
    int calls;
    int ret;
    size_t sum;
} Answer;

static void count_answer(int ret, const char* msg, size_t len, void* user) {
    Answer* answer = user;
    answer->calls++;
    answer->ret = ret;
    for (size_t at = 0; at < len; at += 512) answer->sum += (unsigned char)msg[at];
}

static void* make(void) {
    Answer answer = {0};
    void* ctx = SdsNewReliabilityManager(count_answer, &answer);
    CHECK(ctx && answer.calls == 1 && answer.ret == RET_OK);
    SdsSetEventCallback(ctx, count_event, &told);
    made++;
    return ctx;
}

static unsigned next(unsigned* seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    return *seed ^= *seed << 5;
}

static void* caller(void* number) {
    unsigned seed = 2463534242u + 7919u * (unsigned)(uintptr_t)number;
    char id[48];
    char* ids[] = {id};
    for (long call = 0; ends ? time(NULL) < ends : call < calls_each; call++) {
        if (pause_us) usleep(pause_us);
        unsigned slot = next(&seed) % MANAGERS, what = next(&seed) % 1000;
        void* ctx = managers[slot];
        Message* message = &messages[next(&seed) % MESSAGES];
        Answer answer = {0};
        int ret;
        if (what < 400) {
            sprintf(id, "%u-%ld", (unsigned)(uintptr_t)number, call);
            ret = SdsWrapOutgoingMessage(ctx, id, strlen(id), id, "churn", count_answer, &answer);
        } else if (what < 900) {
            ret = SdsUnwrapReceivedMessage(ctx, message->bytes, message->len, count_answer, &answer);
        } else if (what < 940) {
            sprintf(id, "message-%u", what % MESSAGES);
            ret = SdsMarkDependenciesMet(ctx, ids, 1, "churn", count_answer, &answer);
        } else if (what < 960) {
            ret = SdsResetReliabilityManager(ctx, count_answer, &answer);
        } else if (what < 970) {
            ret = SdsStartPeriodicTasks(ctx, count_answer, &answer);
        } else if (what < 980) {
            SdsSetEventCallback(ctx, count_event, &told);
            continue;
        } else {
            ret = SdsCleanupReliabilityManager(ctx, count_answer, &answer);
            /* Of those who end the same manager, one succeeds, and fills its place. */
            if (ret == RET_OK) managers[slot] = make();
        }
        CHECK(ret == RET_OK ? answer.calls == 1 : answer.calls == 0);
        if (ret != RET_OK) refused++;
        else if (answer.ret == RET_OK) answered++;
        else failed++;
    }
    running--;
    return NULL;
}

static void report(const char* when, int number) {
    char line[256];
    long resident = 0, threads = 0, descriptors = -3; /* `.`, `..`, and the one that looks */
    FILE* status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) {
        sscanf(line, "VmRSS: %ld", &resident);
        sscanf(line, "Threads: %ld", &threads);
    }
    if (status) fclose(status);
    DIR* folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) descriptors++;
    if (folder) closedir(folder);
    printf("%s %d: %ld calls, %ld failed, %ld on a manager that had ended, %ld managers, %ld events; "
           "%ld KB, %ld threads, %ld descriptors\n",
           when, number, (long)(answered + failed + refused), (long)failed, (long)refused, (long)made, (long)told, resident, threads,
           descriptors);
    fflush(stdout);
}

int main(int argc, char** argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 8;
    calls_each = argc > 2 ? atol(argv[2]) : 1000;
    int seconds = argc > 3 ? atoi(argv[3]) : 0;
    pause_us = argc > 4 ? (useconds_t)atoi(argv[4]) : 0;
    void* sender = new_manager();
    for (int number = 0; number < MESSAGES; number++) {
        char id[32];
        sprintf(id, "message-%d", number);
        messages[number] = wrap(sender, "some content of a message", id, "churn");
    }
    for (int number = 0; number < MANAGERS; number++) managers[number] = make();
    if (seconds) ends = time(NULL) + seconds;
    pthread_t ids[256];
    CHECK(threads > 0 && threads <= 256);
    running = threads;
    for (int number = 0; number < threads; number++)
        CHECK(pthread_create(&ids[number], NULL, caller, (void*)(uintptr_t)(number + 1)) == 0);
    /* The callers are there in all of these. */
    for (int tenth = 1; seconds && tenth < 10; tenth++) {
        sleep((unsigned)seconds / 10);
        report("tenth", tenth);
    }
    for (int number = 0; number < threads; number++) pthread_join(ids[number], NULL);
    report("at the end, tenth", 10);
    for (int number = 0; number < MANAGERS; number++) clean_up(managers[number]);
    clean_up(sender);
    long last = told;
    usleep(100000);
    CHECK(told == last); /* nobody is left who tells */
    CHECK(answered > 0 && told > 0);
    for (int number = 0; number < MESSAGES; number++) free(messages[number].bytes);
    return 0;
}
