/* What managers take of the process: many MANAGERS KILOBYTES
 * So many managers of either interface, at work, have neither a thread nor a descriptor, and at most so much memory each. */
#include <dirent.h>
#include <unistd.h>

#include "host.h"
#include "reliable_channel.h"

typedef struct {
    long kilobytes, threads, descriptors;
} Taken;

static Taken taken(void) {
    char line[256];
    Taken now = {0, 0, 0};
    FILE* status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status)) {
        sscanf(line, "VmRSS: %ld", &now.kilobytes);
        sscanf(line, "Threads: %ld", &now.threads);
    }
    fclose(status);
    DIR* folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder)) now.descriptors++;
    closedir(folder);
    return now;
}

static void ignore_event(int ret, const char* msg, size_t len, void* user) {
    CHECK(ret == RET_OK && msg && len > 0 && user == NULL);
}

static void* make_sds(Message message) {
    void* ctx = new_manager();
    SdsSetEventCallback(ctx, ignore_event, NULL);
    Result result;
    result_init(&result);
    CHECK(SdsStartPeriodicTasks(ctx, on_result, &result) == RET_OK);
    result_wait(&result);
    result_free(&result);
    free(unwrap(ctx, message));
    return ctx;
}

static rc_manager* make_rc(void) {
    rc_options* options = rc_options_new(rc_str("alice"));
    rc_manager* manager;
    rc_buffer bytes;
    CHECK(rc_open(options, &manager) == RC_OK);
    rc_options_free(options);
    CHECK(rc_join(manager, rc_str("room")) == RC_OK);
    CHECK(rc_wrap(manager, rc_str("room"), rc_str(""), rc_str("text"), NULL, &bytes) == RC_OK);
    rc_buffer_free(&bytes);
    return manager;
}

/* Threads that told the first events end after ten seconds without any. */
static void check(const char* what, long count, long most, Taken before) {
    Taken after = taken();
    for (int second = 0; after.threads > before.threads && second < 60; second++) {
        sleep(1);
        after = taken();
    }
    double each = (double)(after.kilobytes - before.kilobytes) / (double)count;
    long threads = after.threads - before.threads, descriptors = after.descriptors - before.descriptors;
    printf("%ld managers of %s: %.1f KB each, %ld further threads, %ld further descriptors\n", count, what, each, threads, descriptors);
    CHECK(threads <= 0 && descriptors == 0);
    CHECK(most == 0 || each <= (double)most);
}

int main(int argc, char** argv) {
    long count = argc > 1 ? atol(argv[1]) : 1000, most = argc > 2 ? atol(argv[2]) : 0;
    /* The first one starts what the process has once. */
    void* peer = new_manager();
    Message message = wrap(peer, "text", "id", "room");
    CHECK(rc_close(make_rc()) == RC_OK);
    rc_manager** rc = calloc((size_t)count, sizeof *rc);
    void** sds = calloc((size_t)count, sizeof *sds);

    Taken before = taken();
    for (long number = 0; number < count; number++) rc[number] = make_rc();
    check("reliable_channel.h", count, most, before);
    before = taken();
    for (long number = 0; number < count; number++) sds[number] = make_sds(message);
    check("libsds.h", count, most, before);

    for (long number = 0; number < count; number++) {
        CHECK(rc_close(rc[number]) == RC_OK);
        clean_up(sds[number]);
    }
    clean_up(peer);
    free(message.bytes);
    free(rc);
    free(sds);
    return 0;
}
